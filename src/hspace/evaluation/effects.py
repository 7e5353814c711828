"""What directions do to the attributes that a scorer reads."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from hspace.attributes import Scorer
from hspace.diffusion import Sampler
from hspace.directions import Directions
from hspace.evaluation.response import respond
from hspace.progress import Progress

__all__ = ["Effects", "effects"]


@dataclass(frozen=True, eq=False)
class Effects:
    """Change of every attribute's score along every direction.

    Attributes:
        directions: Names, k of them.
        attributes: Names, a of them.
        change: (k, a) mean over the seeds of score(strength) - score(low), in the scorer's unit.
        error: (k, a) standard error of that mean.
        strength: Of the upper end.
        low: Of the lower end; None: -strength.
    """

    directions: tuple[str, ...]
    attributes: tuple[str, ...]
    change: Float[Tensor, "k a"]
    error: Float[Tensor, "k a"]
    strength: float
    low: float | None = None

    def largest(self, direction: str) -> tuple[str, float]:
        """The attribute that a direction changes most, and by how much.

        Example:
            >>> import torch
            >>> from hspace.evaluation import Effects
            >>> effects = Effects(("pc0",), ("yaw", "age"), torch.tensor([[0.1, -2.0]]), torch.zeros(1, 2), 3.0)
            >>> effects.largest("pc0")
            ('age', -2.0)
        """
        row = self.change[self.directions.index(direction)]
        best = int(row.abs().argmax())
        return self.attributes[best], float(row[best])

    def of(self, direction: str) -> dict[str, float]:
        """All changes of one direction by attribute."""
        row = self.change[self.directions.index(direction)]
        return dict(zip(self.attributes, row.tolist(), strict=True))


def effects(
    sampler: Sampler,
    directions: Directions,
    scorer: Scorer,
    seeds: Iterable[int],
    *,
    strength: float = 3.0,
    progress: Progress = False,
) -> Effects:
    """Score edited samples at both ends of every direction, all in one batched run.

    Args:
        sampler: Draws them.
        directions: k of them.
        scorer: Images to named scores.
        seeds: At least 2, none of those that the directions were found with.
        strength: Ends of the sweep.

    Raises:
        HspaceError: As `hspace.evaluation.respond`.

    Example:
        >>> import hspace
        >>> from hspace.attributes import load_scorer
        >>> from hspace.evaluation import effects
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2)
        >>> control = hspace.random_directions(sampler.setting(), norms=[1.0, 1.0])
        >>> effects(sampler, control, load_scorer(), seeds=range(2)).change.shape
        torch.Size([1, 12])
    """
    response = respond(sampler, directions, scorer, seeds, strengths=(-strength, strength), unit=1.0, progress=progress)
    change = response.change()  # (k, n, a)
    error = change.std(1) / change.shape[1] ** 0.5
    return Effects(directions.names, response.attributes, change.mean(1), error, strength)
