r"""Shift control modules: what becomes of h for type k and strength s (after Zhang et al., arXiv 2310.09912).

    global:  h_t + s d_{k,t},       one vector for each type and timestep
    block:   h_t + s d_k(h_t, t),   a small network of h and the time for each type

d is one standard deviation long (`hspace.learning.span`), so s is in the common unit. The vectors of the K types at one
timestep are orthonormal in whitened coordinates (ortho, a matrix in Householder form), free but for their length
(linear), or random and never trained (fixed, the control), as in the parent technique (Voynov and Babenko, arXiv
2002.03754). What the block is made of is ours: 1x1 convolution, time embedding, group norm, SiLU, 1x1 convolution, like
the block of Kwon et al., arXiv 2210.10960.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from diffusers.models.embeddings import get_timestep_embedding
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from hspace.errors import HspaceError
from hspace.learning.span import Span

__all__ = ["BlockShift", "GlobalShift", "Kind", "Parametrisation", "Shift", "check_shift", "make_shift"]

Kind = Literal["global", "block"]
Parametrisation = Literal["ortho", "linear", "fixed"]

_TIME = 32  # numbers that a time is embedded in


class Shift(nn.Module):
    """What both modules share.

    Args:
        span: Where shifts lie and how long they are.
        timesteps: (S,) of the grid, descending.
        n: Number of types K.
    """

    def __init__(self, span: Span, timesteps: Sequence[int], n: int) -> None:
        super().__init__()
        self.span, self.timesteps, self.n = span, tuple(timesteps), n
        self.rows = {t: row for row, t in enumerate(self.timesteps)}

    def unit(self, timestep: int, h: Float[Tensor, " b *h"], kinds: Int[Tensor, " b"]) -> Float[Tensor, " b *h"]:
        """Shifts of strength 1 of the h of b samples."""
        raise NotImplementedError

    def forward(
        self, timestep: int, h: Float[Tensor, " b *h"], kinds: Int[Tensor, " b"], strengths: Float[Tensor, " b"]
    ) -> Float[Tensor, " b *h"]:
        """What becomes of h."""
        s = strengths.reshape(-1, *[1] * (h.ndim - 1))
        return h + (s * self.unit(timestep, h, kinds)).to(h)


class GlobalShift(Shift):
    """A vector for every type and timestep.

    Args:
        span: Where shifts lie and how long they are.
        timesteps: (S,) of the grid.
        n: Number of types K, at most the size of the span for ortho.
        parametrisation: ortho, linear or fixed.
        generator: Of the start: the same coordinates at every timestep, which PCA has aligned along t.
    """

    def __init__(
        self,
        span: Span,
        timesteps: Sequence[int],
        n: int,
        parametrisation: Parametrisation = "ortho",
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__(span, timesteps, n)
        start = torch.linalg.qr(torch.randn(span.size, n, generator=generator, dtype=torch.float64)).Q
        self.weight = nn.Parameter(start.to(span.mean.dtype).expand(len(self.timesteps), -1, -1).contiguous())
        if parametrisation == "ortho":
            parametrizations.orthogonal(self, "weight", orthogonal_map="householder", use_trivialization=False)
        self.requires_grad_(parametrisation != "fixed")

    def vectors(self) -> Float[Tensor, "s k d"]:
        """Shifts of strength 1."""
        weight = self.weight  # (S, r, K); made anew by every access
        return torch.stack([self.span.shifts(weight[row].T, row) for row in range(len(self.timesteps))])

    def unit(self, timestep: int, h: Float[Tensor, " b *h"], kinds: Int[Tensor, " b"]) -> Float[Tensor, " b *h"]:
        """The vectors of the types, whatever h is."""
        row = self.rows[timestep]
        return self.span.shifts(self.weight[row].T, row)[kinds].reshape(h.shape)


class BlockShift(Shift):
    """A small network of h and the time for every type; its output is brought into the span and to its unit.

    Args:
        span: Where shifts lie and how long they are.
        timesteps: (S,) of the grid.
        n: Number of types K.
        h_shape: (c, y, x), or (tokens, d): each token goes through the same layers, its numbers as channels.
        generator: Seeds the start.
    """

    def __init__(
        self,
        span: Span,
        timesteps: Sequence[int],
        n: int,
        h_shape: Sequence[int],
        *,
        generator: torch.Generator,
    ) -> None:
        super().__init__(span, timesteps, n)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(torch.randint(2**31, (), generator=generator)))
            self.blocks = nn.ModuleList(_Block(h_shape[0] if len(h_shape) == 3 else h_shape[1]) for _ in range(n))
        self.to(span.mean.dtype)

    def unit(self, timestep: int, h: Float[Tensor, " b *h"], kinds: Int[Tensor, " b"]) -> Float[Tensor, " b *h"]:
        """The output of each sample's block."""
        row = self.rows[timestep]
        centred = ((h.flatten(1).to(self.span.mean) - self.span.mean[row]) / self.span.rms[row]).reshape(h.shape)
        out = torch.zeros_like(centred).flatten(1)
        for k in kinds.unique().tolist():
            chosen = kinds == k
            field = self._field(k, centred[chosen], timestep).flatten(1)
            shifts = self.span.shifts(self.span.coordinates(field, row), row)
            out = out.index_put((chosen,), shifts.to(out))
        return out.reshape(h.shape)

    def _field(self, k: int, h: Tensor, timestep: int) -> Tensor:
        """Of h's shape; tokens pass as a picture that is one cell wide."""
        if h.ndim == 4:
            out: Tensor = self.blocks[k](h, timestep)
            return out
        tokens: Tensor = self.blocks[k](h.transpose(1, 2)[..., None], timestep)
        return tokens[..., 0].transpose(1, 2)


class _Block(nn.Module):
    """h (b, c, y, x), centred, and a timestep -> a field of the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(channels, channels, 1), nn.Conv2d(channels, channels, 1)
        self.time = nn.Linear(_TIME, channels)
        # groups of 4 channels at least: the norm of a single one would take away the time, which is constant in it
        groups = next((n for n in (32, 16, 8, 4, 2) if channels % n == 0 and channels >= 4 * n), 1)
        self.norm = nn.GroupNorm(groups, channels)

    def forward(self, h: Tensor, timestep: int) -> Tensor:
        embedding = get_timestep_embedding(torch.tensor([timestep], device=h.device), _TIME).to(h)
        time = self.time(embedding)[..., None, None]
        out: Tensor = self.after(nn.functional.silu(self.norm(self.before(h) + time)))
        return out


def check_shift(kind: str, parametrisation: str, size: int, n: int, h_shape: Sequence[int]) -> None:
    """Whether there is such a module, before any work is done for it.

    Args:
        kind: Of the module.
        parametrisation: Of its vectors.
        size: Of the span.
        n: Number of types K.
        h_shape: Of one sample.

    Raises:
        HspaceError: An unknown kind or parametrisation; fewer than 2 types; more vectors than the span has room for; a
            block for h that is neither (c, y, x) nor tokens (y x, d).
    """
    if kind not in get_args(Kind):
        raise HspaceError(f"kind must be one of {', '.join(get_args(Kind))}, not {kind!r}")
    if parametrisation not in get_args(Parametrisation):
        raise HspaceError(
            f"parametrisation must be one of {', '.join(get_args(Parametrisation))}, not {parametrisation!r}"
        )
    if n < 2:
        raise HspaceError(f"at least 2 directions are learned together, not {n}")
    if kind == "block" and len(h_shape) not in (2, 3):
        raise HspaceError(f"a block needs h of shape (c, y, x) or (tokens, d), not {tuple(h_shape)}: learn global ones")
    if kind == "global" and n > size:
        raise HspaceError(f"{n} directions don't fit into a span of {size}")


def make_shift(
    kind: Kind,
    parametrisation: Parametrisation,
    span: Span,
    timesteps: Sequence[int],
    n: int,
    h_shape: Sequence[int],
    *,
    seed: int,
) -> Shift:
    """A module at its start.

    A block is trained, whatever the parametrisation, unless that is fixed.

    Raises:
        HspaceError: As `check_shift`.

    Example:
        >>> import torch
        >>> from hspace.learning import Span, make_shift
        >>> span = Span(torch.zeros(2, 5), torch.ones(2))
        >>> shift = make_shift("global", "ortho", span, (9, 4), 3, (5, 1, 1), seed=0)
        >>> vectors = shift.vectors()
        >>> bool((vectors[0] @ vectors[0].T - torch.eye(3)).abs().max() < 1e-6)
        True
    """
    check_shift(kind, parametrisation, span.size, n, h_shape)
    generator = torch.Generator().manual_seed(seed)
    if kind == "block":
        shift: Shift = BlockShift(span, timesteps, n, h_shape, generator=generator)
        return shift.requires_grad_(parametrisation != "fixed")
    return GlobalShift(span, timesteps, n, parametrisation, generator=generator)
