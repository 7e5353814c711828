"""How scores answer to strengths: the table that all measures of a direction come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from hspace.progress import Progress

__all__ = ["Response", "respond", "spread"]


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
    on_images: Callable[[int, float, Tensor], None] | None = None,
    progress: Progress = False,
) -> Response:
    """Score samples at every strength of every direction, all in one batched run.

    A batch of seeds goes through all edits before the next one: no more pictures are kept than two of its batches.

    Args:
        sampler: Draws them.
        directions: k of them.
        scorer: Images to named scores.
        seeds: At least 2, none of those that the directions were found with.
        strengths: At least one besides 0, which is added where it is missing.
        unit: Standard deviation of each attribute over the population, or 1.0 for scores as they are. Default: over the
            unedited samples of this run, which takes many of them to be worth anything.
        on_images: Sees the pictures of a batch of seeds for a direction (by its number, -1 for the unedited ones, which
            come first) and strength.
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
    seeds = as_seeds(seeds)
    if len(seeds) < 2:
        raise HspaceError("a response needs at least 2 seeds")
    ends = sorted({check_strength(strength) for strength in strengths} - {0.0})
    if not ends:
        raise HspaceError("a response needs at least 1 strength besides 0")
    cells = [(-1, 0.0), *((j, strength) for j in range(len(directions)) for strength in ends)]
    edits = [None if j < 0 else Edit.of(directions[j], strength) for j, strength in cells]
    size = sampler.batch_size
    blocks = [range(first, min(first + size, len(seeds))) for first in range(0, len(seeds), size)]
    order = [(cell, row) for block in blocks for cell in range(len(cells)) for row in block]
    latents, changes = [seeds[row] for _, row in order], [edits[cell] for cell, _ in order]
    pending = [(cell, len(block)) for block in blocks for cell in range(len(cells))]
    names: tuple[str, ...] = ()
    parts: list[Tensor] = []
    waiting: list[Tensor] = []
    for _, images in sampler.stream(latents, changes, progress=progress):
        found = scored(scorer, images.float())
        if names and tuple(found) != names:
            raise HspaceError(f"the scorer changed its attributes from {', '.join(names)} to {', '.join(found)}")
        names = tuple(found)
        parts.append(torch.stack([found[name] for name in names], 1).cpu().double())
        if on_images is not None:
            waiting += images.float().cpu().unbind(0)
            while pending and len(waiting) >= pending[0][1]:
                cell, n = pending.pop(0)
                on_images(*cells[cell], torch.stack(waiting[:n]))
                del waiting[:n]
    table = torch.empty(len(cells), len(seeds), len(names), dtype=torch.float64)
    which, rows = torch.tensor(order).unbind(1)
    table[which, rows] = torch.cat(parts)
    plain, edited = table[0], table[1:].reshape(len(directions), len(ends), len(seeds), -1)
    zero = sum(strength < 0 for strength in ends)
    whole = torch.cat([edited[:, :zero], plain.expand(len(directions), 1, -1, -1), edited[:, zero:]], 1)
    return Response(directions.names, names, (*ends[:zero], 0.0, *ends[zero:]), whole, _deviations(plain, names, unit))


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
