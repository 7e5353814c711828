"""A sample is its seed: x_T and every z_t come from generators derived from that seed alone.

Sample s draws x_T from the stream (s, 0) and the noise of timestep t from the stream (s, t + 1), each a child of
numpy's `SeedSequence(s)`. No stream touches another, so a sample is the same whatever the batch, the order or the
number of workers, and z_t does not depend on the grid. (Where the seed of one sample's noise is the next sample's
seed, as in the public code of Haas et al., samples share their noise.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hspace.errors import HspaceError

__all__ = ["Latents", "SeedLatents", "as_seeds", "noise"]


@runtime_checkable
class Latents(Protocol):
    """Where trajectories start and the noise they meet: n samples, drawn when asked for."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice | Sequence[int]) -> Latents:
        """Some rows, in any order and any number of times."""

    def x_T(self) -> Float[Tensor, "n c y x"]:
        """Start of every sample, on the CPU."""

    def z(self, timestep: int) -> Float[Tensor, "n c y x"]:
        """Noise that every sample meets at a timestep, on the CPU."""

    def remainder(self) -> Float[Tensor, "n c y x"] | None:
        """What is added to x_0 after the last step, where there is no noise; None for nothing."""


@dataclass(frozen=True)
class SeedLatents:
    """Latents drawn from seeds.

    Example:
        >>> from hspace.diffusion.latents import SeedLatents
        >>> latents = SeedLatents((3, 4, 5), (3, 8, 8))
        >>> bool((latents.x_T()[1:] == latents[1:3].x_T()).all())
        True
    """

    seeds: tuple[int, ...]
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, rows: slice | Sequence[int]) -> SeedLatents:
        chosen = self.seeds[rows] if isinstance(rows, slice) else tuple(self.seeds[row] for row in rows)
        return SeedLatents(chosen, self.shape)

    def x_T(self) -> Float[Tensor, "n c y x"]:
        """Stream 0 of every seed."""
        return noise(self.seeds, 0, self.shape)

    def z(self, timestep: int) -> Float[Tensor, "n c y x"]:
        """Stream timestep + 1 of every seed."""
        return noise(self.seeds, timestep + 1, self.shape)

    def remainder(self) -> None:
        """Nothing."""


def noise(seeds: Sequence[int], stream: int, shape: tuple[int, ...]) -> Float[Tensor, "n ..."]:
    """Standard normal numbers, one independent generator for each (seed, stream); float32 on the CPU.

    Always drawn on the CPU in float32, so that a seed is the same sample on every device and in every precision; by
    numpy, for torch's generator on the CPU keeps 32 bits of its seed only, too few for streams not to meet.

    Example:
        >>> from hspace.diffusion.latents import noise
        >>> noise([1, 2], 0, (3, 8, 8)).shape
        torch.Size([2, 3, 8, 8])
    """
    drawn = np.empty((len(seeds), *shape), np.float32)
    for row, seed in zip(drawn, seeds, strict=True):
        child = np.random.SeedSequence(seed, spawn_key=(stream,))
        np.random.Generator(np.random.PCG64(child)).standard_normal(dtype=np.float32, out=row)
    return torch.from_numpy(drawn)


def as_seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    """Seeds as a tuple of non-negative integers.

    Raises:
        HspaceError: There are none, or one is negative or no integer.

    Example:
        >>> from hspace.diffusion.latents import as_seeds
        >>> as_seeds(range(3))
        (0, 1, 2)
    """
    given = tuple(seeds)
    if not given:
        raise HspaceError("no seeds: at least 1 sample is needed")
    for seed in given:
        if not isinstance(seed, (int, np.integer)) or seed < 0:
            raise HspaceError(f"seeds must be non-negative integers, not {seed!r}")
    return tuple(int(seed) for seed in given)
