"""Everything about a set of directions: what each moves, how purely, against which controls, at what price."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.attributes import Scorer
from hspace.diffusion import Sampler
from hspace.diffusion.latents import as_seeds
from hspace.directions import Directions
from hspace.errors import HspaceError
from hspace.evaluation.content import Content, content
from hspace.evaluation.controls import Verdict, check_number, verdicts
from hspace.evaluation.distances import frechet_distance
from hspace.evaluation.response import Response, respond, spread
from hspace.evaluation.scores import Score, scores
from hspace.progress import Progress

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured.

    Attributes:
        response: All scores.
        scores: One for each direction.
        content: By direction, of its two ends together.
        damage: By direction, Frechet distance of the scores of both ends from those of the unedited samples, in
            standard deviations of the population; what is meant to change counts too.
        verdicts: Against random directions; empty without controls.
        seeds: Of the samples.
    """

    response: Response
    scores: list[Score]
    content: dict[str, Content]
    damage: dict[str, float]
    verdicts: list[Verdict]
    seeds: tuple[int, ...]

    def matrix(self) -> tuple[Float[Tensor, "k a"], Float[Tensor, "k a"]]:
        """Change of every attribute along every direction from the lowest strength to the highest, and its error."""
        change = self.response.change()
        return change.mean(1), change.std(1) / change.shape[1] ** 0.5

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        mean, error = self.matrix()
        against = {verdict.direction: asdict(verdict) for verdict in self.verdicts}
        return {
            "strengths": list(self.response.strengths),
            "attributes": list(self.response.attributes),
            "samples": len(self.seeds),
            "unit": dict(zip(self.response.attributes, self.response.unit.tolist(), strict=True)),
            "directions": [
                {
                    **asdict(score),
                    "content": self.content[score.direction]._asdict(),
                    "damage": self.damage[score.direction],
                    "control": against.get(score.direction),
                    "effects": dict(zip(self.response.attributes, mean[j].tolist(), strict=True)),
                    "errors": dict(zip(self.response.attributes, error[j].tolist(), strict=True)),
                }
                for j, score in enumerate(self.scores)
            ],
        }


def evaluate(
    sampler: Sampler,
    directions: Directions,
    scorer: Scorer,
    seeds: Iterable[int],
    *,
    strengths: Sequence[float] = (-3.0, -1.5, 0.0, 1.5, 3.0),
    controls: Directions | None = None,
    unit: Mapping[str, float] | None = None,
    unit_seeds: Iterable[int] | None = None,
    level: float = 0.05,
    progress: Progress = False,
) -> Evaluation:
    """Measure directions on fresh samples.

    Args:
        sampler: Draws them.
        directions: k of them.
        scorer: Images to named scores.
        seeds: At least 2, none of those that the directions were found with.
        strengths: At least one besides 0.
        controls: k m random directions, the first m of the first direction's length, and so on; see
            `hspace.random_directions`. Their effects are measured between the two ends.
        unit: Standard deviation of each attribute over the population, where it is known.
        unit_seeds: More unedited samples, which with those of the run give the unit; 100 are a good number.
        level: Of significance.
        progress: True for bars, or a function of (done, total) image-steps.

    Raises:
        HspaceError: What `respond` and `verdicts` refuse; a number of controls that is no multiple of k.

    Example:
        >>> import hspace
        >>> from hspace.attributes import load_scorer
        >>> from hspace.evaluation import evaluate
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2)
        >>> pcs = hspace.PCA(n_components=1).fit(sampler, seeds=range(4)).directions_
        >>> found = evaluate(sampler, pcs, load_scorer(), seeds=range(10, 12), strengths=(-3, 3))
        >>> found.scores[0].direction, len(found.verdicts)
        ('pc0', 0)
    """
    seeds = as_seeds(seeds)
    k = len(directions)
    if controls is not None:
        if len(controls) % k:
            raise HspaceError(f"{len(controls)} controls can't be shared equally by {k} directions")
        check_number(k, len(controls) // k, level)
    if unit is None and unit_seeds is not None:
        unedited = sampler.stream((*seeds, *as_seeds(unit_seeds)), progress=progress)
        unit = spread(scorer, (images for _, images in unedited))
    plain = torch.empty(0)
    left: dict[str, list[Content]] = {name: [] for name in directions.names}
    ends = (min((0.0, *strengths)), max((0.0, *strengths)))

    def look(j: int, strength: float, images: Tensor) -> None:
        nonlocal plain
        if j < 0:
            plain = images
        elif strength in ends:
            left[directions.names[j]] += [content(plain, images)] * len(images)

    options: dict[str, Any] = {"unit": unit, "progress": progress}
    response = respond(sampler, directions, scorer, seeds, strengths=strengths, on_images=look, **options)
    found: list[Verdict] = []
    if controls is not None:
        against = respond(sampler, controls, scorer, seeds, strengths=ends, **options)
        effects = against.change().mean(1).reshape(k, len(controls) // k, -1)
        change = response.change().mean(1)
        found = verdicts(directions.names, response.attributes, change, effects, level=level)
    return Evaluation(
        response,
        scores(response),
        {name: Content(*(sum(x) / len(x) for x in zip(*both, strict=True))) for name, both in left.items()},
        _damage(response),
        found,
        seeds,
    )


def _damage(response: Response) -> dict[str, float]:
    zero = response.strengths.index(0.0)
    table = response.scores / response.unit  # (k, s, n, a)
    ends = [end for end in {0, len(response.strengths) - 1} if end != zero]
    both = torch.cat([table[:, end] for end in ends], 1)
    return {name: frechet_distance(both[j], table[j, zero]) for j, name in enumerate(response.directions)}
