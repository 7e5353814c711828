"""What takes long, as the page asks for it: searches, and a direction without others. Steps of progress come out."""

from __future__ import annotations

import io
from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image

from hspace.app.brush import painted
from hspace.app.painter import Painter, photo_of
from hspace.app.scene import Scene
from hspace.app.turns import Superseded
from hspace.app.visitor import Visitor
from hspace.app.work.bench import Opening
from hspace.app.work.jobs import AttributeSearch, ComponentSearch, Job, LearnedSearch, PictureSearch, Projection
from hspace.app.work.workshop import Work, Workshop
from hspace.attributes import load_scorer, scored
from hspace.directions import Direction, Directions
from hspace.errors import HspaceError
from hspace.plot import profiles, to_uint8

__all__ = ["Profile", "Step", "Tasks"]

_POLL = 0.25  # seconds between two looks at how far it is
_CANVAS = 256  # pixels of a picture to draw on, at least


class Profile(NamedTuple):
    """What a direction does without others, beside what it did: a picture, and the same in numbers."""

    figure: Image.Image | None
    rows: list[tuple[str, float, float]]


class Step(NamedTuple):
    """How far it is: a fraction, None once it is over; words; whether there are new sliders; what it found out."""

    fraction: float | None
    words: str
    added: bool = False
    profile: Profile | None = None


class Tasks:
    """Of one app, for all visitors; each has one thing done at a time.

    Args:
        painter: Of the pictures.
        opening: What the process that works opens.
    """

    def __init__(self, painter: Painter, opening: Opening) -> None:
        self.painter, self.opening = painter, opening
        self._workshop = Workshop(opening)

    def timesteps(self) -> dict[str, int]:
        """Where a Jacobian can look, by what is drawn there."""
        grid = self.painter.full.timesteps
        words = ("early (shape)", "middle (parts)", "late (detail)")
        places = [grid[int(share * len(grid))] for share in (0.25, 0.5, 0.75)]
        return {f"{word}, t = {t}": t for word, t in zip(words, places, strict=True)}

    def attributes(self) -> list[str]:
        """Those that the scorer reads, in a picture; none without one.

        Raises:
            HspaceError: What `load_scorer` refuses; a scorer that does not read pictures of the model.
        """
        if self.opening.scorer is None:
            return []
        scorer = load_scorer(self.opening.scorer, device=self.opening.device)
        return list(scored(scorer, self.painter.draw(Scene(), {}, quick=True).float()))

    def canvas(self, visitor: Visitor) -> Image.Image:
        """The picture without an edit, to paint on: it is there that a Jacobian looks."""
        x_0 = self.painter.draw(visitor.scene.reset(), {}, photos=visitor.photos, wanted=visitor.present)
        picture = Image.fromarray(to_uint8(x_0)[0])  # without a margin: what is painted is where it is seen
        factor = max(1, -(-_CANVAS // min(picture.size)))
        return picture.resize((factor * picture.width, factor * picture.height), Image.Resampling.NEAREST)

    def components(self, visitor: Visitor, components: float, samples: float) -> Iterator[Step]:
        """Principal components.

        Raises:
            HspaceError: A number out of range.
        """
        return self._search(visitor, ComponentSearch(int(components), int(samples)), "components")

    def picture(
        self, visitor: Visitor, timestep: int, components: float, paint: str | None, part: str, still: bool
    ) -> Iterator[Step]:
        """What changes this picture, or what was painted on it, or a part of it by name or box.

        Raises:
            HspaceError: A number out of range; both something painted and a part; no such part.
        """
        shape = self.painter.full.model.picture_shape
        painted_on = painted(paint, (shape[1], shape[2]))
        if painted_on is not None and part:
            raise HspaceError(f"either paint on the picture or name a part ({part}), not both")
        if part and "," not in part and self.opening.regions is None:
            raise HspaceError(f"no parts are known by name here: paint {part!r}, or give a box x0,y0,x1,y1")
        scene, mask, photo = visitor.scene, None, None
        with visitor.staying():
            if painted_on is not None:
                mask = visitor.new("mask", ".png")
                painted_on.save(mask)
            if (shown := photo_of(scene, visitor.photos)) is not None:
                photo = visitor.new("inversion")
                shown.full.save(photo)
        files = {name: str(path) for name, path in {"painted": mask, "photo": photo}.items() if path is not None}
        job = PictureSearch(scene.seed, timestep, int(components), part=part or None, still=still, **files)
        yield from self._search(visitor, job, "picture")

    def attribute(self, visitor: Visitor, attribute: str | None, samples: float) -> Iterator[Step]:
        """What a scorer reads.

        Raises:
            HspaceError: A number out of range, no attribute.
        """
        return self._search(visitor, AttributeSearch(attribute or "", int(samples)), "annotated")

    def learned(self, visitor: Visitor, directions: float, iterations: float) -> Iterator[Step]:
        """What a network learns to tell apart.

        Raises:
            HspaceError: A number out of range.
        """
        return self._search(visitor, LearnedSearch(int(directions), int(iterations)), "learned")

    def disentangle(
        self, visitor: Visitor, slider: str | None, others: Sequence[str], samples: float, per_timestep: bool
    ) -> Iterator[Step]:
        """One slider without others, as a new one, and what both do to attributes.

        Raises:
            HspaceError: None chosen; the slider itself among them; directions that can't be projected.
        """
        if not slider or not others:
            raise HspaceError("choose a slider, and at least one that it must not change")
        if slider in others:
            raise HspaceError(f"{slider!r} can't be without itself")
        chosen = [self._on_grid(visitor, name) for name in (slider, *others)]
        chosen[0].without(*chosen[1:], per_timestep=per_timestep)  # says now what the work would say
        with visitor.staying():
            file = visitor.new("projection")
            Directions(chosen).save(file)
        found = yield from self._worked(visitor, Projection(str(file), int(samples), per_timestep), "disentangled")
        if found is not None:
            names, told, work = found
            yield Step(None, _said(names, told, work), True, _profile(told, slider, names[0]))

    def cancel(self, visitor: Visitor) -> None:
        """Whatever is done for the visitor ends."""
        visitor.idle()

    def close(self) -> None:
        """The end of the app."""
        self._workshop.close()

    def _on_grid(self, visitor: Visitor, name: str) -> Direction:
        visitor.library.check(name)
        direction = visitor.library[name].direction
        if direction.setting.space != "h":
            raise HspaceError(f"{name!r} is a direction of x_T: only those of h are projected here")
        return direction.retimed(self.opening.setting).renamed(name)

    def _search(self, visitor: Visitor, job: Job, stem: str) -> Iterator[Step]:
        found = yield from self._worked(visitor, job, stem)
        if found is not None:
            yield Step(None, _said(*found), True)

    def _worked(
        self, visitor: Visitor, job: Job, stem: str
    ) -> Generator[Step, None, tuple[tuple[str, ...], dict[str, Any], Work] | None]:
        """Does a job; what it found are sliders then: their names, what else it told, and the work."""
        out = visitor.new(stem)
        work = visitor.busy(lambda: self._workshop.begin(job, out))
        yield Step(0.0, _words(work))
        while not work.wait(_POLL):
            yield Step(work.fraction, _words(work))
        try:
            told = work.result()
        except Superseded:
            if visitor.work is not work:  # something else was begun, and speaks now
                raise
            yield Step(None, "Cancelled.")
            return None
        return visitor.library.add(out), told, work


def _words(work: Work) -> str:
    if not work.begun:
        return "Waiting for its turn, or for the model to open ..."
    left = "" if work.left is None else f", about {_duration(work.left)} left"
    return f"{work.fraction:.0%}{left}"


def _said(names: Sequence[str], told: dict[str, Any], work: Work) -> str:
    accuracy = f" A network tells them apart with an accuracy of {told['accuracy']:.0%}." if "accuracy" in told else ""
    return f"Found in {_duration(work.seconds)}, and a slider now: {', '.join(names)}.{accuracy}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _profile(told: dict[str, Any], before: str, after: str) -> Profile:
    """Effects where a scorer told them, else cosines with what was projected out."""
    if "effects" not in told:
        rows = [(f"cosine with {x['name']}", x["cosine_before"], x["cosine_after"]) for x in told["without"]]
        return Profile(None, rows)
    effects, errors = torch.tensor(told["effects"]), torch.tensor(told["errors"])
    figure = profiles(effects, told["attributes"], (before, after), errors=errors)
    pixels = io.BytesIO()
    figure.savefig(pixels, format="png", dpi=110)
    order = effects[0].abs().argsort(descending=True).tolist()
    rows = [(told["attributes"][i], float(effects[0, i]), float(effects[1, i])) for i in order]
    return Profile(Image.open(pixels), rows)
