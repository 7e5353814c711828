"""How scores answer to strengths: the table that all measures of a direction come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.attributes import Scorer, scored
from hspace.diffusion import Sampler
from hspace.diffusion.latents import as_seeds
from hspace.directions import Directions, Edit
from hspace.directions.direction import check_strength
from hspace.errors import HspaceError
from hspace.evaluation.content import Distance, of_pairs
from hspace.jobs import Job, State, Table, World
from hspace.jobs.shares import share
from hspace.progress import Progress

__all__ = ["Response", "answers", "respond", "spread"]


@dataclass(frozen=True, eq=False)
class Response:
    """Scores of the same samples at every strength of every direction.

    Attributes:
        directions: Names, k of them.
        attributes: Names, a of them.
        strengths: (s,) ascending, 0 among them.
        scores: (k, s, n, a) float64; at strength 0 those of the unedited samples, the same for all directions.
        unit: (a,) standard deviation of each attribute over unedited samples.
    """

    directions: tuple[str, ...]
    attributes: tuple[str, ...]
    strengths: tuple[float, ...]
    scores: Float[Tensor, "k s n a"]
    unit: Float[Tensor, " a"]

    def change(self) -> Float[Tensor, "k n a"]:
        """Of each sample from the lowest strength to the highest, in standard deviations of the population."""
        return (self.scores[:, -1] - self.scores[:, 0]) / self.unit

    def curve(self) -> Float[Tensor, "k s a"]:
        """Mean over the samples of the change from the unedited sample, in the same unit."""
        zero = self.strengths.index(0.0)
        return ((self.scores - self.scores[:, zero : zero + 1]) / self.unit).mean(2)


def respond(
    sampler: Sampler,
    directions: Directions,
    scorer: Scorer,
    seeds: Iterable[int],
    *,
    strengths: Sequence[float] = (-3.0, -1.5, 0.0, 1.5, 3.0),
    unit: Mapping[str, float] | float | None = None,
    progress: Progress = False,
) -> Response:
    """Score samples at every strength of every direction, all in one batched run.

    A batch of seeds goes through all edits before the next one: no more pictures are kept than its unedited ones.

    Args:
        sampler: Draws them.
        directions: k of them.
        scorer: Images to named scores.
        seeds: At least 2, none of those that the directions were found with.
        strengths: At least one besides 0, which is added where it is missing.
        unit: Standard deviation of each attribute over the population, or 1.0 for scores as they are. Default: over the
            unedited samples of this run, which takes many of them to be worth anything.
        progress: True for a bar, or a function of (done, total) image-steps.

    Raises:
        HspaceError: Fewer than 2 seeds, no strength but 0; a score that does not vary over the unedited samples, or of
            which there is no unit; a scorer that changes its attributes.

    Example:
        >>> import hspace
        >>> from hspace.attributes import load_scorer
        >>> from hspace.evaluation.response import respond
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2)
        >>> control = hspace.random_directions(sampler.setting(), norms=[1.0, 1.0])
        >>> respond(sampler, control, load_scorer(), seeds=range(2), strengths=(-1, 1)).scores.shape
        torch.Size([1, 3, 2, 12])
    """
    job, seeds = Job({}, processes=World()), as_seeds(seeds)
    return answers(job, "response", sampler, directions, scorer, seeds, strengths, {}, unit, progress)[0]


def answers(
    job: Job,
    name: str,
    sampler: Sampler,
    directions: Directions,
    scorer: Scorer,
    seeds: tuple[int, ...],
    strengths: Sequence[float],
    distances: Mapping[str, Distance],
    unit: Mapping[str, float] | float | None,
    progress: Progress,
) -> tuple[Response, dict[str, Float[Tensor, "k e n"]]]:
    """As `respond`, as a pass of a job, with distances of the outermost strengths from the unedited samples.

    Args:
        job: The job.
        name: Of the pass.
        sampler: As the next ones in `respond`.
        directions: k of them.
        scorer: Images to named scores.
        seeds: n of them, of all processes.
        strengths: At least one besides 0.
        distances: By name, between pairs of pictures.
        unit: Standard deviation of each attribute.
        progress: True for a bar.

    Returns:
        The response, and by name the distances at the e outermost strengths but 0, ascending.
    """
    if len(seeds) < 2:
        raise HspaceError("a response needs at least 2 seeds")
    ends = sorted({check_strength(strength) for strength in strengths} - {0.0})
    if not ends:
        raise HspaceError("a response needs at least 1 strength besides 0")
    cells = [(-1, 0.0), *((j, strength) for j in range(len(directions)) for strength in ends)]
    edits = [None if j < 0 else Edit.of(directions[j], strength) for j, strength in cells]
    size, world = sampler.batch_size, job.world
    shares = [share(len(seeds), rank, world.size) for rank in range(world.size)]
    order = [pair for rows in shares for pair in _order(rows, size, len(cells))]  # of all processes
    outer = (min(0.0, *ends), max(0.0, *ends))
    outermost = [cell for cell, (j, strength) in enumerate(cells) if j >= 0 and strength in outer]
    table = _Answers(distances, set(outermost), size)
    with job.stage(name, len(seeds), table, each=len(cells)) as stage:
        left = stage.of(order)
        latents, changes = [seeds[row] for _, row in left], [edits[cell] for cell, _ in left]
        for where, images in sampler.stream(latents, changes, progress=stage.shows(progress)) if left else ():
            stage.add(left[where], images.float(), scored(scorer, images.float()))
    names = table.scores.names
    values = torch.empty(len(cells), len(seeds), len(names), dtype=torch.float64)
    which, rows = torch.tensor(order).unbind(1)
    values[which, rows] = torch.stack([table.scores[name] for name in names], 1)
    plain, edited = values[0], values[1:].reshape(len(directions), len(ends), len(seeds), -1)
    zero = sum(strength < 0 for strength in ends)
    whole = torch.cat([edited[:, :zero], plain.expand(len(directions), 1, -1, -1), edited[:, zero:]], 1)
    strengths = (*ends[:zero], 0.0, *ends[zero:])
    left_by = {}
    for each in distances:
        by_cell = torch.empty(len(cells), len(seeds), dtype=torch.float64)
        by_cell[which, rows] = table.distances[each]
        left_by[each] = by_cell[outermost].reshape(len(directions), -1, len(seeds))
    return Response(directions.names, names, strengths, whole, _deviations(plain, names, unit)), left_by


def _order(rows: range, size: int, cells: int) -> list[tuple[int, int]]:
    """(cell, row), a batch of rows through all cells before the next."""
    blocks = [rows[first : first + size] for first in range(0, len(rows), size)]
    return [(cell, row) for block in blocks for cell in range(cells) for row in block]


class _Answers:
    """Scores of pictures and their distances from the unedited ones, which come first in a block and are kept for it.

    Args:
        distances: By name.
        cells: Numbers of those whose distances are measured; NaN elsewhere.
        size: Rows in a block at most.
    """

    def __init__(self, distances: Mapping[str, Distance], cells: set[int], size: int) -> None:
        self.scores, self.distances = Table(), Table()
        self._measures, self._cells, self._size = distances, cells, size
        self._plain: dict[int, Tensor] = {}

    @property
    def rows(self) -> int:
        """Pictures so far."""
        return self.scores.rows

    def add(self, order: Sequence[tuple[int, int]], images: Tensor, scores: Mapping[str, Tensor]) -> int:
        """The next pictures, their cells and rows, and their scores."""
        if self._measures:
            images = images.cpu()
            new = {row: image for (cell, row), image in zip(order, images, strict=True) if cell == 0}
            plain = {**self._plain, **new}
            columns = {name: torch.full((len(order),), torch.nan, dtype=torch.float64) for name in self._measures}
            chosen = [i for i, (cell, _) in enumerate(order) if cell in self._cells]
            if chosen:
                originals = torch.stack([plain[order[i][1]] for i in chosen])
                for name, values in of_pairs(originals, images[chosen], self._measures).items():
                    columns[name][chosen] = values.cpu().double()
            self.distances.add(columns)
            self._plain = dict(list(plain.items())[-self._size :])  # of the block that goes on
        return self.scores.add({name: values.cpu().double() for name, values in scores.items()})

    def state(self) -> State:
        """See `Fold`."""
        rows = list(self._plain)
        plain = State({"rows": rows}, {"images": torch.stack([self._plain[row] for row in rows])} if rows else {})
        return State.joined({"scores": self.scores.state(), "distances": self.distances.state(), "plain": plain})

    def restore(self, state: State) -> None:
        """See `Fold`."""
        self.scores.restore(state.under("scores"))
        self.distances.restore(state.under("distances"))
        plain = state.under("plain")
        self._plain = dict(zip(plain.data["rows"], plain.tensors.get("images", ()), strict=True))

    def absorb(self, state: State) -> None:
        """See `Fold`."""
        self.scores.absorb(state.under("scores"))
        self.distances.absorb(state.under("distances"))


def _deviations(
    plain: Float[Tensor, "n a"], names: tuple[str, ...], unit: Mapping[str, float] | float | None
) -> Float[Tensor, " a"]:
    if isinstance(unit, float):
        return torch.full((len(names),), unit, dtype=torch.float64)
    if unit is not None:
        if missing := [name for name in names if name not in unit]:
            raise HspaceError(f"no unit of {', '.join(missing)}")
        found = torch.tensor([unit[name] for name in names]).double()
    else:
        found = plain.std(0)
    if not bool((found > 0).all()):
        constant = names[int((found <= 0).nonzero()[0])]
        raise HspaceError(f"the score {constant!r} is the same for all unedited samples: it has no unit")
    return found


def spread(scorer: Scorer, batches: Iterable[Float[Tensor, "_ c y x"]]) -> dict[str, float]:
    """Standard deviation of every score over unedited samples, the unit of effects.

    Args:
        scorer: Images to named scores.
        batches: Pictures, at least 2 in all; 100 give the standard deviations to about 7 %.

    Example:
        >>> import torch
        >>> from hspace.evaluation.response import spread
        >>> found = spread(lambda x: {"first": x[:, 0, 0, 0]}, [torch.zeros(1, 3, 2, 2), torch.ones(2, 3, 2, 2)])
        >>> round(found["first"], 4)
        0.5774
    """
    parts = [scored(scorer, images.float()) for images in batches]
    return {name: float(torch.cat([part[name].cpu().double() for part in parts]).std()) for name in parts[0]}
