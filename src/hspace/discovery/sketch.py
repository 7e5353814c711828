r"""A streaming, mergeable summary of a cloud of vectors: mean, variance, leading principal axes.

n vectors of dimension d are summarised by their mean, their total variance and the `rank` leading singular vectors
and values of the centred data. Summaries merge exactly as long as no more than `rank` directions have been seen:
with W_i = S_i V_i the scaled axes of part i,

    (sum of both)^T (sum of both) = W_1^T W_1 + W_2^T W_2 + n_1 n_2 / (n_1 + n_2) (m_1 - m_2)(m_1 - m_2)^T

(Ross et al. 2008, incremental PCA; the batches of a stream are parts too). Beyond that the axes behind the `rank`-th
are dropped at every merge, and with some oversampling the leading ones stay right. Memory is rank x d, whatever n.

The sketch also carries the coordinates of the first few samples along its axes, turned with them at every merge, so
that the scores of one sample at different timesteps can be compared without keeping its h.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.jobs import State

__all__ = ["Sketch", "Sketches", "principal"]


@dataclass(frozen=True, eq=False)
class Sketch:
    """Summary of n vectors; `Sketch.of` makes one, `merged` joins two.

    Attributes:
        n: Number of vectors seen.
        mean: (d,).
        axes: (r, d) orthonormal rows, r <= rank.
        values: (r,) singular values of the centred data along them, descending.
        squares: (d,) sum of squared distances from the mean in each dimension; exact, whatever the rank.
        coordinates: (m, r) centred coordinates of the first m samples along the axes.
    """

    n: int
    mean: Float[Tensor, " d"]
    axes: Float[Tensor, "r d"]
    values: Float[Tensor, " r"]
    squares: Float[Tensor, " d"]
    coordinates: Float[Tensor, "m r"]

    @classmethod
    def of(cls, samples: Float[Tensor, "n d"], rank: int, witnesses: int) -> Sketch:
        """Summary of a batch.

        Args:
            samples: At least one.
            rank: Number of axes kept.
            witnesses: Number of samples whose coordinates are kept.

        Example:
            >>> import torch
            >>> from hspace.discovery.sketch import Sketch
            >>> whole = torch.randn(50, 20, dtype=torch.float64)
            >>> a, b = (Sketch.of(part, rank=20, witnesses=8) for part in whole.split([20, 30]))
            >>> merged, exact = a.merged(b, 20, 8), torch.linalg.svdvals(whole - whole.mean(0))
            >>> bool((merged.values - exact).abs().max() < 1e-6)
            True
        """
        mean = samples.mean(0)
        centred = samples - mean
        turned, values, axes = principal(centred, rank)
        return cls(len(samples), mean, axes, values, centred.square().sum(0), turned[:witnesses])

    def merged(self, other: Sketch, rank: int, witnesses: int) -> Sketch:
        """Summary of both parts together."""
        n = self.n + other.n
        gap = other.mean - self.mean
        weight = (self.n * other.n / n) ** 0.5
        mean = self.mean + gap * (other.n / n)
        rows = [self.values[:, None] * self.axes, other.values[:, None] * other.axes, weight * gap[None]]
        left, values, axes = principal(torch.cat(rows), rank)
        # How each part's axes, and the gap, look in the merged axes: row i of `left` is that row's coordinates.
        mine, theirs = left[: len(self.values)], left[len(self.values) : -1]
        shift = left[-1] / weight
        coordinates = torch.cat(
            [
                (self.coordinates / _safe(self.values)) @ mine - shift * (other.n / n),
                (other.coordinates / _safe(other.values)) @ theirs + shift * (self.n / n),
            ]
        )
        squares = self.squares + other.squares + weight**2 * gap.square()
        return Sketch(n, mean, axes, values, squares, coordinates[:witnesses])

    def variances(self) -> Float[Tensor, " r"]:
        """Variance along each axis (divisor n - 1, as scikit-learn has it)."""
        return self.values.square() / max(self.n - 1, 1)

    def variance_by_dimension(self) -> Float[Tensor, " d"]:
        """Variance in each dimension."""
        return self.squares / max(self.n - 1, 1)


_TENSORS = ("mean", "axes", "values", "squares", "coordinates")


class Sketches:
    """Sketches of several clouds of the same samples, one for each timestep: a `Fold`.

    Args:
        rank: Number of axes kept.
        witnesses: Samples whose coordinates are kept; None: all.
        device: Where they are.
    """

    def __init__(self, rank: int, witnesses: int | None, device: torch.device | str = "cpu") -> None:
        self.rank, self.witnesses, self.device = rank, witnesses, device
        self.parts: list[Sketch] = []

    @property
    def rows(self) -> int:
        """Number of samples."""
        return self.parts[0].n if self.parts else 0

    def add(self, clouds: Sequence[Float[Tensor, "b _"]]) -> int:
        """The next samples in every cloud, in float32, or in float64 where they are."""
        found = []
        for samples in clouds:
            wide = samples.to(torch.float64 if samples.dtype == torch.float64 else torch.float32)
            found.append(Sketch.of(wide, self.rank, self._kept(len(samples))))
        self.merge(found)
        return len(clouds[0])

    def merge(self, others: Sequence[Sketch]) -> None:
        """Take in those of other samples."""
        if self.parts and others:
            pairs = zip(self.parts, others, strict=True)
            self.parts = [a.merged(b, self.rank, self._kept(a.n + b.n)) for a, b in pairs]
        self.parts = self.parts or list(others)

    def state(self) -> State:
        """See `hspace.jobs.Fold`."""
        tensors = {f"{i}.{name}": getattr(part, name) for i, part in enumerate(self.parts) for name in _TENSORS}
        return State({"n": [part.n for part in self.parts]}, tensors)

    def restore(self, state: State) -> None:
        """See `hspace.jobs.Fold`."""
        self.parts = self._read(state)

    def absorb(self, state: State) -> None:
        """See `hspace.jobs.Fold`."""
        self.merge(self._read(state))

    def _read(self, state: State) -> list[Sketch]:
        return [
            Sketch(n, *(state.tensors[f"{i}.{name}"].to(self.device) for name in _TENSORS))
            for i, n in enumerate(state.data["n"])
        ]

    def _kept(self, n: int) -> int:
        return n if self.witnesses is None else self.witnesses


def principal(rows: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """Coordinates of the rows along their leading axes, singular values, axes: by the eigenvectors of rows rows^T.

    There are far fewer rows than dimensions, so this is much cheaper than an SVD; the small problem is solved in
    float64, on the CPU. Axes whose value is below the rounding of the largest are dropped.
    """
    gram = rows @ rows.T
    eigenvalues, vectors = torch.linalg.eigh(gram.cpu().double())
    eigenvalues, vectors = eigenvalues.flip(0)[:rank].clamp_min(0), vectors.flip(1)[:, :rank]
    floor = eigenvalues[0] * torch.finfo(rows.dtype).eps * len(rows)
    keep = int((eigenvalues > floor).sum())
    values = eigenvalues[:keep].sqrt()
    vectors = vectors[:, :keep]
    axes = (vectors / values).T.to(rows) @ rows
    # Row by row in memory, whatever `eigh` gave: last bits of what is computed with them are then those of a saved one.
    return (vectors * values).to(rows).contiguous(), values.to(rows), axes


def _safe(values: Tensor) -> Tensor:
    return values.clamp_min(torch.finfo(values.dtype).tiny)
