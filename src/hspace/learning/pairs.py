"""x_0 before and after a shift, and what a reconstructor tells of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hspace.learning.reconstructor import Reconstructor

__all__ = ["Pairs", "Told", "told"]


@dataclass(frozen=True, eq=False)
class Pairs:
    """x_0 before and after a shift: pictures, or latents of a latent model.

    Attributes:
        plain: (n, c, y, x), pictures in [-1, 1]; on the CPU, as all else.
        shifted: (n, c, y, x).
        kinds: (n,) types.
        strengths: (n,).
    """

    plain: Float[Tensor, "n c y x"]
    shifted: Float[Tensor, "n c y x"]
    kinds: Int[Tensor, " n"]
    strengths: Float[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.kinds)


class Told(NamedTuple):
    """What the reconstructor tells of fresh samples.

    Attributes:
        accuracy: Share of the right types, of all samples.
        by_type: (K,) the same for each type.
        confusion: (K, K) number of samples by true (row) and told (column) type.
        strength_error: Mean absolute error of the strength.
    """

    accuracy: float
    by_type: Float[Tensor, " k"]
    confusion: Int[Tensor, "k k"]
    strength_error: float


@torch.no_grad()
def told(reconstructor: Reconstructor, pairs: Pairs, n: int, device: torch.device) -> Told:
    """Ask a reconstructor about pairs.

    Args:
        reconstructor: On the device.
        pairs: Any number of them.
        n: Number of types K.
        device: Where it is.
    """
    answers = [
        reconstructor(plain.to(device), shifted.to(device))
        for plain, shifted in zip(pairs.plain.split(64), pairs.shifted.split(64), strict=True)
    ]
    kinds = torch.cat([answer.kinds.argmax(1) for answer in answers]).cpu()
    strengths = torch.cat([answer.strengths for answer in answers]).cpu()
    confusion = torch.zeros(n, n, dtype=torch.int64)
    confusion.index_put_((pairs.kinds, kinds), torch.ones_like(kinds), accumulate=True)
    right = confusion.diagonal().float()
    return Told(
        float(right.sum() / confusion.sum()),
        right / confusion.sum(1).clamp_min(1),
        confusion,
        float((strengths - pairs.strengths).abs().mean()),
    )
