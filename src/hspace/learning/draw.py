"""What iteration i draws, from the seed and i alone: an interrupted training goes on as if it never stopped.

Types are uniform; strengths follow the parent technique (Voynov and Babenko, arXiv 2002.03754), s = max U(-1, 1), and
one nearer to 0 than min is moved out to it: 6 and 0.5 there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["Draw", "draw"]


@dataclass(frozen=True, eq=False)
class Draw:
    """Of one iteration.

    Attributes:
        rows: (b,) numbers of samples of the population, different ones.
        kinds: (b,) types of shift.
        strengths: (b,).
        generator: For what else is random in the iteration.
    """

    rows: Int[Tensor, " b"]
    kinds: Int[Tensor, " b"]
    strengths: Float[Tensor, " b"]
    generator: torch.Generator


def draw(
    seed: int, iteration: int, batch: int, *, population: int, n: int, min_strength: float, max_strength: float
) -> Draw:
    """Samples, types and strengths of an iteration.

    Example:
        >>> from hspace.learning.draw import draw
        >>> options = {"population": 100, "n": 10, "min_strength": 0.5, "max_strength": 6.0}
        >>> a, b = (draw(0, 7, 4, **options) for _ in range(2))
        >>> bool((a.rows == b.rows).all()), bool(a.strengths.abs().min() >= 0.5)
        (True, True)
    """
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(iteration,)))
    rows = random.choice(population, batch, replace=batch > population)
    kinds = random.integers(n, size=batch)
    s = max_strength * random.uniform(-1, 1, batch)
    s = np.where(s < 0, -1.0, 1.0) * np.maximum(np.abs(s), min_strength)
    generator = torch.Generator().manual_seed(int(random.integers(2**62)))
    return Draw(torch.from_numpy(rows), torch.from_numpy(kinds), torch.from_numpy(s).float(), generator)
