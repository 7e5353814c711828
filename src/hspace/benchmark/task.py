"""What every method gets: the sampler, a scorer, labelled pictures, and no more calls of the network than any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from hspace.attributes import Scorer
from hspace.diffusion import Sampler, Space
from hspace.directions import Directions
from hspace.errors import HspaceError
from hspace.faces import FACTORS, factor_table, render_seeds

__all__ = ["Found", "Pictures", "Task", "portraits"]

_RENDERED = 3_000_000  # seeds of the portraits that are shown with their labels

Pictures = Callable[[int], tuple[Float[Tensor, "n c y x"], Mapping[str, NDArray[np.float64]]]]
"""n -> n pictures in [-1, 1], and the true value of every factor in each."""


class Found(NamedTuple):
    """What a method found.

    Attributes:
        directions: K of them; fewer where it has no more.
        samples: Number of different samples or pictures that it saw.
        words: How, for people.
        options: Constructor parameters and the like, plain JSON types.
    """

    directions: Directions
    samples: int
    words: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """One contest.

    Args:
        sampler: Its model, tap and grid are everybody's.
        scorer: Reads the factors.
        pictures: With true labels, for methods that learn from real pictures.
        factors: What there is to find.
        calls: Of the network, at most about so many for every method, see `hspace.benchmark.meter`.
        k: Number of directions of an unsupervised method.
        unit_samples: The unit of strength is measured with so many, out of the calls.
        seed: Of random directions and of what is trained.
    """

    sampler: Sampler
    scorer: Scorer
    pictures: Pictures
    factors: tuple[str, ...] = FACTORS
    calls: int = 4000
    k: int = len(FACTORS)
    unit_samples: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        least = 2 * len(self.sampler.timesteps) * (self.unit_samples + 2 * self.k)
        if self.calls < least:
            raise HspaceError(
                f"{self.calls} calls are too few for {self.k} directions on a grid of {len(self.sampler.timesteps)} "
                f"steps: take {least} at least"
            )

    def affordable(self, space: Space, passes: int) -> int:
        """Samples that a supervised method can look at.

        Args:
            space: In h each goes through the sampler several times, and the unit of strength is measured; in x_T once.
            passes: How many times in h.
        """
        n = self.calls // len(self.sampler.timesteps)
        return n if space == "noise" else (n - self.unit_samples) // passes


def portraits(n: int) -> tuple[Float[Tensor, "n c y x"], dict[str, NDArray[np.float64]]]:
    """Rendered portraits with the factors that they were drawn from.

    Example:
        >>> from hspace.benchmark import portraits
        >>> pictures, factors = portraits(2)
        >>> pictures.shape, factors["smile"].shape
        (torch.Size([2, 3, 64, 64]), (2,))
    """
    seeds = range(_RENDERED, _RENDERED + n)
    pictures = torch.from_numpy(render_seeds(seeds)).permute(0, 3, 1, 2) / 127.5 - 1
    table = factor_table(seeds)
    return pictures, {name: table[:, FACTORS.index(name)] for name in FACTORS}
