r"""The singular triplets of one Jacobian under a mask, from what is known of the timestep before.

With M a mask and Vbar the leading right singular vectors of (1 - M) J, those of M J (I - Vbar Vbar^T). Nothing is
formed: mask and projection are factors of the products.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.discovery.krylov import Triplets, leading_triplets
from hspace.models.products import Products

__all__ = ["Known", "decompose"]

_NOISE = 0.3  # of a random vector in a warm start, so that nothing new at a timestep is orthogonal to it


class Known(NamedTuple):
    """Right singular vectors of a similar Jacobian, (n, k, d), inside and outside of the mask; None: nothing yet."""

    inside: Tensor | None = None
    outside: Tensor | None = None


def decompose(
    jacobian: Products,
    h: Float[Tensor, "n ..."],
    k: int,
    *,
    mask: Float[Tensor, "n o"] | None = None,
    outside_rank: int = 0,
    known: Known = Known(),  # noqa: B008 (immutable)
    tol: float = 1e-3,
    max_products: int = 200,
    seed: int = 0,
) -> tuple[Triplets, Known]:
    """The k leading triplets of n Jacobians, and what is known for the next ones.

    Args:
        jacobian: Products with them.
        h: Where they were taken; gives their size, precision and device.
        k: Number of triplets.
        mask: Weight of each output, in [0, 1].
        outside_rank: Number of modes outside the mask that are left alone.
        known: Of the timestep before.
        tol: Largest relative residual.
        max_products: Of each decomposition, for each image.
        seed: Of the first random vectors; one and the same for all images, so that none depends on its batch.

    Example:
        >>> import hspace, torch
        >>> from hspace.discovery.decomposition import decompose
        >>> from hspace.models.products import Products
        >>> model = hspace.load("faces64")
        >>> encoding = model.encode(torch.randn(1, 3, 64, 64), 500)
        >>> found, known = decompose(Products(model, encoding), encoding.h, 2)
        >>> found.values.shape, known.inside.shape
        (torch.Size([1, 2]), torch.Size([1, 2, 8192]))
    """
    n, d = len(h), h[0].numel()
    random = torch.randn(jacobian.block, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    random = (random / random.norm(dim=1, keepdim=True)).to(h).expand(n, jacobian.block, d)

    def leading(k: int, weight: Tensor | None, kept: Tensor | None, previous: Tensor | None) -> Triplets:
        def normal(v: Tensor) -> tuple[Tensor, Tensor]:
            moved = jacobian.forward(_outside_of(kept, v))
            return moved, _outside_of(kept, jacobian.transposed(moved if weight is None else moved * weight))

        start = _outside_of(kept, _start(previous, random))
        return leading_triplets(normal, start, k, tol=tol, max_products=max_products, seed=seed)

    if mask is None:
        found = leading(k, None, None, known.inside)
        return found, Known(found.right)
    weight = mask[:, None]
    if not outside_rank:
        found = leading(k, weight.square(), None, known.inside)
        return found, Known(found.right)
    rest = leading(outside_rank, (1 - weight).square(), None, known.outside)
    found = leading(k, weight.square(), rest.right, known.inside)
    return found.after(rest), Known(found.right, rest.right)


def _start(previous: Tensor | None, random: Float[Tensor, "n b d"]) -> Float[Tensor, "n b d"]:
    """A first block: random, or the vectors of the timestep before summed into it, with a little noise.

    Later vectors weigh more: they converge last.
    """
    if previous is None:
        return random
    block, k = random.shape[1], previous.shape[1]
    weighted = previous * torch.arange(1, k + 1).to(previous)[:, None]
    return torch.stack([weighted[:, i % k :: block].sum(1) for i in range(block)], 1) + _NOISE * random


def _outside_of(kept: Tensor | None, v: Float[Tensor, "n b d"]) -> Float[Tensor, "n b d"]:
    """(I - Vbar Vbar^T) v."""
    return v if kept is None else v - (v @ kept.mT) @ kept
