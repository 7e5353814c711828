"""Everything about a set of directions: what each moves, how purely, against which controls, at what price."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.attributes import Scorer, scored
from hspace.diffusion import Sampler
from hspace.diffusion.identity import about_run
from hspace.diffusion.latents import as_seeds
from hspace.directions import Directions
from hspace.errors import HspaceError
from hspace.evaluation.content import DISTANCES, Distance, of_features
from hspace.evaluation.controls import Verdict, check_number, verdicts
from hspace.evaluation.distances import frechet_distance
from hspace.evaluation.effects import Effects
from hspace.evaluation.response import Response, answers
from hspace.evaluation.scores import Score, scores
from hspace.jobs import Checkpoint, Job, Table
from hspace.jobs.job import digest
from hspace.progress import Progress

__all__ = ["Evaluation", "damage", "evaluate"]

UNNAMED = "unnamed"


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured.

    Attributes:
        response: All scores.
        scores: One for each direction.
        content: By direction and distance, how far its two ends are from the originals; see
            `hspace.evaluation.content`. "scorer" is the root mean square change over all attributes, in standard
            deviations of the population.
        damage: By direction, see `damage`.
        verdicts: Against controls, one for each kind of control and direction; empty without.
        meant: By direction the attribute that it is for, where that is known.
        repeats: Number of groups of as many seeds each, in their order.
    """

    response: Response
    scores: list[Score]
    content: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    damage: Mapping[str, float] = field(default_factory=dict)
    verdicts: Sequence[Verdict] = ()
    meant: Mapping[str, str] = field(default_factory=dict)
    repeats: int = 1

    def matrix(self) -> tuple[Float[Tensor, "k a"], Float[Tensor, "k a"]]:
        """Change of every attribute along every direction from the lowest strength to the highest, and its error."""
        change = self.response.change()
        return change.mean(1), change.std(1) / change.shape[1] ** 0.5

    def by_repeat(self) -> Float[Tensor, "r k a"]:
        """The same change of each repeat."""
        k, n, a = (change := self.response.change()).shape
        return change.reshape(k, self.repeats, n // self.repeats, a).mean(2).transpose(0, 1)

    def effects(self) -> Effects:
        """The matrix as `Effects`, in standard deviations: what `hspace.evaluation.named` takes."""
        change, error = self.matrix()
        low, high = self.response.strengths[0], self.response.strengths[-1]
        return Effects(self.response.directions, self.response.attributes, change, error, high, low)

    def real(self, direction: str) -> bool | None:
        """Whether a direction beats all its controls; None without controls."""
        own = [verdict.real for verdict in self.verdicts if verdict.direction == direction]
        return all(own) if own else None

    def names(self, least: float = 1.0) -> dict[str, str]:
        """By direction the attribute that it is for, or else moves most; or "unnamed".

        A name takes an effect of at least `least` and of two standard errors, more than that of all controls; one that
        is meant for an attribute has to raise it.

        Args:
            least: Change from one end to the other, in standard deviations.
        """
        return {score.direction: score.attribute if self._earns(score, least) else UNNAMED for score in self.scores}

    def _earns(self, score: Score, least: float) -> bool:
        if abs(score.effect) < max(least, 2 * score.error) or (score.direction in self.meant and score.effect < 0):
            return False
        return all(verdict.own for verdict in self.verdicts if verdict.direction == score.direction)

    def ranking(self) -> list[str]:
        """Directions: those that beat their controls first, then by their effect in size."""
        order = sorted(self.scores, key=lambda score: (self.real(score.direction) is False, -abs(score.effect)))
        return [score.direction for score in order]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        mean, error = self.matrix()
        by_repeat = self.by_repeat()
        attributes, names, ranking = self.response.attributes, self.names(), self.ranking()
        rows: list[dict[str, Any]] = []
        for j, score in enumerate(self.scores):
            rows.append(
                {
                    **asdict(score),
                    "name": names[score.direction],
                    "rank": ranking.index(score.direction) + 1,
                    "content": dict(self.content.get(score.direction, {})),
                    "damage": self.damage.get(score.direction),
                    "real": self.real(score.direction),
                    "controls": {v.kind: asdict(v) for v in self.verdicts if v.direction == score.direction},
                    "effects": dict(zip(attributes, mean[j].tolist(), strict=True)),
                    "errors": dict(zip(attributes, error[j].tolist(), strict=True)),
                }
            )
            if self.repeats > 1:
                rows[-1]["repeats"] = [dict(zip(attributes, row.tolist(), strict=True)) for row in by_repeat[:, j]]
        return {
            "strengths": list(self.response.strengths),
            "attributes": list(attributes),
            "samples": self.response.scores.shape[2],
            "repeats": self.repeats,
            "unit": dict(zip(attributes, self.response.unit.tolist(), strict=True)),
            "directions": rows,
        }


def evaluate(
    sampler: Sampler,
    directions: Directions,
    scorer: Scorer,
    seeds: Iterable[int],
    *,
    strengths: Sequence[float] = (-3.0, -1.5, 0.0, 1.5, 3.0),
    repeats: int = 1,
    controls: Directions | Mapping[str, Directions] | None = None,
    attributes: Mapping[str, str] | None = None,
    distances: Mapping[str, Distance] | None = None,
    unit: Mapping[str, float] | None = None,
    unit_seeds: Iterable[int] | None = None,
    level: float = 0.05,
    progress: Progress = False,
    checkpoint: Checkpoint | None = None,
) -> Evaluation:
    """Measure directions on fresh samples.

    Args:
        sampler: Draws them.
        directions: k of them.
        scorer: Images to named scores. Where it has a method `features`, that is a distance, too.
        seeds: At least 2, none of those that the directions were found with.
        strengths: At least one besides 0, which is added where it is missing: (-3, 3) is from one end to the other,
            (0, 3) from the unedited sample on.
        repeats: Number of groups that the seeds are split into, so that figures can be seen to repeat.
        controls: k m of them, the first m of the first direction's length, and so on; by kind ("gaussian", "span",
            "shuffled"), or Gaussian ones. See `hspace.discovery.random_controls` and `shuffled_controls`. Their effects
            are measured between the two ends.
        attributes: By direction what it is meant to move. Default: the attribute that a supervised direction remembers,
            where the scorer has it; scores of all others are of what they move most.
        distances: More of them by name, see `hspace.evaluation.load_distance`.
        unit: Standard deviation of each attribute over the population, where it is known.
        unit_seeds: Of unedited samples that give the unit; 100 are a good number.
        level: Of significance.
        progress: True for bars, or a function of (done, total) image-steps.
        checkpoint: Where the state is kept, to go on from; see `hspace.Checkpoint`. That scorer and distances are still
            the same is not checked.

    Raises:
        HspaceError: What `respond`, `scores` and `verdicts` refuse; a number of controls that is no multiple of k; a
            number of seeds that is none of the repeats.

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
    if repeats < 1 or len(seeds) % repeats:
        raise HspaceError(f"{len(seeds)} seeds can't be split into {repeats} repeats")
    against = {"gaussian": controls} if isinstance(controls, Directions) else dict(controls or {})
    for kind, chance in against.items():
        if len(chance) % k:
            raise HspaceError(f"{len(chance)} controls ({kind}) can't be shared equally by {k} directions")
        check_number(k, len(chance) // k, level)
    measures = {**DISTANCES, **_features(scorer)}
    for name, distance in (distances or {}).items():
        if name in (*measures, "scorer"):
            raise HspaceError(f"there is a distance {name!r} already: give yours another name")
        measures[name] = distance
    ends = (min((0.0, *strengths)), max((0.0, *strengths)))
    more_seeds = None if unit_seeds is None else as_seeds(unit_seeds)
    about = {
        "job": "evaluate",
        "strengths": list(strengths),
        "unit": None if unit is None else dict(unit),
        "unit_seeds": None if more_seeds is None else digest(more_seeds),
        "distances": list(measures),
        "directions": _identity(directions),
        "controls": {kind: _identity(chance) for kind, chance in against.items()},
        **about_run(sampler, seeds, directions.setting.injection),
    }
    job = Job(about, checkpoint, device=sampler.model.device)
    if unit is None and more_seeds is not None:
        unit = _spread(job, sampler, scorer, more_seeds, progress)
    measured = (sampler, directions, scorer, seeds, strengths, measures, unit, progress)
    response, left = answers(job, "response", *measured)
    if attributes is None:
        remembered = {item.name: item.origin.get("attribute") for item in directions}
        attributes = {name: each for name, each in remembered.items() if each in response.attributes}
    each_score = scores(response, dict(attributes))
    found: list[Verdict] = []
    for kind, chance in against.items():
        at_ends, _ = answers(job, f"response-{kind}", sampler, chance, scorer, seeds, ends, {}, unit, progress)
        table = at_ends.change().mean(1).reshape(k, len(chance) // k, -1)
        change, own = response.change().mean(1), [score.attribute for score in each_score]
        found += verdicts(directions.names, response.attributes, change, table, own=own, level=level, kind=kind)
    whole = _scorer_distance(response)
    means = {
        name: {each: float(left[each][j].mean()) for each in measures} | {"scorer": whole[name]}
        for j, name in enumerate(directions.names)
    }
    return Evaluation(response, each_score, means, damage(response), found, dict(attributes), repeats)


def _spread(job: Job, sampler: Sampler, scorer: Scorer, seeds: tuple[int, ...], progress: Progress) -> dict[str, float]:
    """`spread` of samples, as a pass of the job."""
    table = Table()
    with job.stage("unit", len(seeds), table) as stage:
        left = stage.of(seeds)
        for _, images in sampler.stream(left, progress=stage.shows(progress)) if left else ():
            stage.add({name: values.double() for name, values in scored(scorer, images.float()).items()})
    return {name: float(table[name].std()) for name in table.names}


def _identity(directions: Directions) -> str:
    """Of the vectors and their names."""
    found = hashlib.sha256(",".join(directions.names).encode())
    for item in directions:
        found.update(item.vectors.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def damage(response: Response) -> dict[str, float]:
    """By direction, Frechet distance of the scores at both ends from those of the unedited samples.

    In standard deviations of the population, squared. What is meant to change counts too: a direction with a large
    effect has a large damage, and only those of equal effect are to be compared. It grows as samples get fewer.
    """
    zero, table = response.strengths.index(0.0), response.scores / response.unit  # (k, s, n, a)
    both = torch.cat([table[:, end] for end in _ends(response)], 1)
    return {name: frechet_distance(both[j], table[j, zero]) for j, name in enumerate(response.directions)}


def _ends(response: Response) -> list[int]:
    """The outermost strengths that are not 0."""
    zero = response.strengths.index(0.0)
    return [end for end in (0, len(response.strengths) - 1) if end != zero]


def _scorer_distance(response: Response) -> dict[str, float]:
    zero, table = response.strengths.index(0.0), response.scores / response.unit
    moved = torch.stack([table[:, end] - table[:, zero] for end in _ends(response)])  # (e, k, n, a)
    return dict(zip(response.directions, moved.square().mean(3).sqrt().mean((0, 2)).tolist(), strict=True))


def _features(scorer: Scorer) -> dict[str, Distance]:
    features = getattr(scorer, "features", None)
    return {} if features is None else {"features": of_features(features)}
