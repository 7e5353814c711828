"""What visitors have done for them. Plain values, which go to another process as JSON; numbers are bounded.

A job writes directions to a file and may have something to tell. `passes` says how much work each pass over the
samples is, in image-steps of an unedited run, for `Meter`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from PIL import Image
from torch import Tensor

from hspace.app.work.bench import Bench
from hspace.diffusion import Inversion, Sampler
from hspace.directions import Directions
from hspace.discovery import PCA, Annotated, Jacobian, Learned, calibrate
from hspace.errors import HspaceError
from hspace.evaluation.response import respond, spread
from hspace.masks import Mask
from hspace.progress import Progress

__all__ = [
    "AttributeSearch",
    "ComponentSearch",
    "Done",
    "Job",
    "LearnedSearch",
    "PictureSearch",
    "Projection",
    "job_of",
    "json_of",
]

_UNIT = 32  # samples that the unit of strength is measured with: to about 12 %
_EDITED = 2.0  # image-steps of an asymmetric run, in those of a plain one
_TRAINED = 6.0  # the same of one that is differentiated
_LEARNED_STEPS = 5  # of the samples that directions are learned from
_LEARNED_BATCH = 8
_ENDS = (-3.0, 3.0)


class Done(NamedTuple):
    """What came out: directions, and more, as plain JSON types."""

    directions: Directions
    told: dict[str, Any]


@runtime_checkable
class Job(Protocol):
    """Something to do at a bench."""

    def passes(self, steps: int) -> tuple[float, ...]:
        """What each pass costs, on a grid of so many steps."""
        ...

    def run(self, bench: Bench, progress: Progress) -> Done:
        """Do it."""
        ...


@dataclass(frozen=True)
class ComponentSearch:
    """Principal components of h over fresh samples (`hspace.PCA`).

    Args:
        components: 1 to 20.
        samples: More than components, at most 4,000.

    Raises:
        HspaceError: A number out of range.
    """

    components: int = 6
    samples: int = 100

    def __post_init__(self) -> None:
        _check("components", self.components, 1, 20)
        _check("samples", self.samples, self.components + 1, 4000)

    def passes(self, steps: int) -> tuple[float, ...]:
        """See `Job`."""
        return (float(self.samples * steps),)

    def run(self, bench: Bench, progress: Progress) -> Done:
        """See `Job`."""
        pca = PCA(self.components, injection=bench.injection)
        return Done(pca.fit(bench.sampler, range(self.samples), progress=progress).directions_, {})


@dataclass(frozen=True)
class PictureSearch:
    """What changes one picture most, or one part of it (`hspace.Jacobian`).

    Args:
        seed: Of the sample.
        timestep: Where to look.
        components: 1 to 6.
        painted: File of a mask: grey, at the size of the picture.
        part: A box "x0,y0,x1,y1" or the name of a region instead; neither: the whole picture.
        photo: File of an inversion, instead of a sample.
        still: Whether to leave the rest of the picture alone: five modes of it (`outside_rank`).

    Raises:
        HspaceError: A number out of range; still without a mask.
    """

    seed: int = 0
    timestep: int = 0
    components: int = 3
    painted: str | None = None
    part: str | None = None
    photo: str | None = None
    still: bool = False

    def __post_init__(self) -> None:
        _check("components", self.components, 1, 6)
        if self.still and not self.painted and not self.part:
            raise HspaceError("to leave the rest of the picture alone, say first what the rest is: paint on it")

    def passes(self, steps: int) -> tuple[float, ...]:
        """See `Job`."""
        return float(2 * steps), float(_UNIT * steps)

    def run(self, bench: Bench, progress: Progress) -> Done:
        """See `Job`."""
        mask: Mask | None = self.part
        if self.painted is not None:  # as numbers: directions remember a text, and this one names a visitor's folder
            with Image.open(self.painted) as grey:
                mask = np.array(grey) > 127
        jacobian = Jacobian(
            self.components,
            timesteps=self.timestep,
            mask=mask,
            regions=bench.regions,
            outside_rank=5 if self.still else 0,
            unit_seeds=range(_UNIT),
            injection=bench.injection,
        )
        latents = [self.seed] if self.photo is None else Inversion.load(self.photo)
        found = jacobian.fit(bench.sampler, latents, progress=progress).directions_
        where = "picture" if mask is None else "part"
        return Done(found.renamed({item.name: f"{where} {item.name}" for item in found}), {})


@dataclass(frozen=True)
class AttributeSearch:
    """What a scorer reads in samples (`hspace.Annotated`).

    Args:
        attribute: Of the scorer.
        samples: 20 to 4,000; a tenth of them, 5 at the least, is at each end.

    Raises:
        HspaceError: A number out of range, no attribute.
    """

    attribute: str
    samples: int = 200

    def __post_init__(self) -> None:
        _check("samples", self.samples, 20, 4000)
        if not self.attribute:
            raise HspaceError("choose an attribute first")

    @property
    def extremes(self) -> int:
        """At each end."""
        return max(5, self.samples // 10)

    def passes(self, steps: int) -> tuple[float, ...]:
        """See `Job`."""
        return float(self.samples * steps), float(2 * self.extremes * steps), float(_UNIT * steps)

    def run(self, bench: Bench, progress: Progress) -> Done:
        """See `Job`."""
        annotated = Annotated(
            [self.attribute],
            n_extremes=self.extremes,
            sketch_size=0,
            unit_seeds=range(_UNIT),
            injection=bench.injection,
        )
        found = annotated.fit(bench.sampler, bench.scorer, range(self.samples), progress=progress)
        return Done(found.directions_, {})


@dataclass(frozen=True)
class LearnedSearch:
    """What a network learns to tell apart (`hspace.Learned`), in few steps and small batches.

    Args:
        directions: 2 to 10.
        iterations: 1 to 2,000.
        samples: More than the span of 16 components, at most 1,000.

    Raises:
        HspaceError: A number out of range.
    """

    directions: int = 4
    iterations: int = 60
    samples: int = 64

    def __post_init__(self) -> None:
        _check("directions", self.directions, 2, 10)
        _check("iterations", self.iterations, 1, 2000)
        _check("samples", self.samples, 2 * self.directions + 1, 1000)

    @property
    def checked(self) -> int:
        """Samples that the result is ranked by."""
        return 12 * self.directions

    def passes(self, steps: int) -> tuple[float, ...]:
        """See `Job`."""
        few = min(_LEARNED_STEPS, steps)
        learning = self.iterations * _LEARNED_BATCH * few * _TRAINED
        return float(self.samples * few), learning, float(self.checked * few), self.checked * few * _EDITED

    def run(self, bench: Bench, progress: Progress) -> Done:
        """See `Job`."""
        learned = Learned(
            self.directions,
            span=min(16, self.samples - 1),
            reconstructor="lenet",
            iterations=self.iterations,
            batch_size=_LEARNED_BATCH,
            checked=self.checked,
            injection=bench.injection,
        )
        schedule = bench.sampler.schedule
        few = Sampler(
            bench.sampler.model, min(_LEARNED_STEPS, len(schedule)), schedule.etas[0], start=schedule.timesteps[0]
        )
        learned.fit(few, range(self.samples), progress=progress)
        return Done(learned.directions_, {"accuracy": round(float(learned.told_.accuracy), 2)})


@dataclass(frozen=True)
class Projection:
    """One direction without others (Haas et al., section 5), and what both do to attributes.

    Args:
        file: Of the direction, which comes first, and the others.
        samples: Fresh ones that the effects are measured on, 2 to 64.
        per_timestep: Whether it is projected at every timestep apart.

    Raises:
        HspaceError: A number out of range.
    """

    file: str
    samples: int = 8
    per_timestep: bool = False

    def __post_init__(self) -> None:
        _check("samples", self.samples, 2, 64)

    def passes(self, steps: int) -> tuple[float, ...]:
        """See `Job`."""
        return float(_UNIT * steps), float(_UNIT * steps), self.samples * steps * (1 + 4 * _EDITED)

    def run(self, bench: Bench, progress: Progress) -> Done:
        """See `Job`."""
        direction, *others = Directions.load(self.file)
        sampler = bench.sampler
        clean = direction.without(*others, per_timestep=self.per_timestep)
        clean = calibrate(clean, sampler, range(_UNIT), progress=progress)[0]
        told: dict[str, Any] = {"without": clean.origin["without"]}
        if bench.opening.scorer is not None:
            unedited = sampler.stream(range(_UNIT), progress=progress)
            unit = spread(bench.scorer, (images for _, images in unedited))
            unit = {name: deviation for name, deviation in unit.items() if deviation > 0}
            fresh = range(_UNIT, _UNIT + self.samples)

            def varying(images: Tensor, /) -> dict[str, Tensor]:
                return {name: score for name, score in bench.scorer(images).items() if name in unit}

            both = Directions([direction, clean])
            found = respond(sampler, both, varying, fresh, strengths=_ENDS, unit=unit, progress=progress)
            change = found.change()  # (2, n, a)
            told["attributes"] = list(found.attributes)
            told["effects"] = change.mean(1).tolist()
            told["errors"] = (change.std(1) / self.samples**0.5).tolist()
        return Done(Directions([clean]), told)


_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (ComponentSearch, PictureSearch, AttributeSearch, LearnedSearch, Projection)
}


def job_of(data: Any) -> Job:
    """The inverse of `json_of`."""
    job: Job = _KINDS[data["job"]](**data["values"])
    return job


def json_of(job: Job) -> dict[str, Any]:
    """A job as plain JSON types."""
    return {"job": type(job).__name__, "values": asdict(job)}  # type: ignore[call-overload]


def _check(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise HspaceError(f"{name} go from {least} to {most}, not {value}")
