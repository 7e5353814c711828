"""What the page does when something on it is touched: a visitor and values in, pictures and words out. No Gradio."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import randrange
from typing import NamedTuple

from PIL import Image

from hspace.app import exports
from hspace.app.imports import PHOTO, bring
from hspace.app.library import Library
from hspace.app.painter import Painter, Superseded
from hspace.app.tasks import Tasks
from hspace.app.uploads import read_photo
from hspace.app.visitor import Visitor
from hspace.app.work.bench import Opening
from hspace.diffusion import Injection
from hspace.errors import HspaceError

__all__ = ["AS_FOUND", "Controls", "Handlers", "Home", "Shown"]

AS_FOUND = "as found"
_SEEDS = 10**6  # of the dice


class Shown(NamedTuple):
    """A picture on the page, the unedited one with it, what it is and how long it took, and a strip if one is due."""

    picture: Image.Image
    pair: tuple[Image.Image, Image.Image]
    words: str
    strip: Image.Image | None = None


class Controls(NamedTuple):
    """Where the page's controls are, but for the sliders."""

    seed: int
    first: int
    last: int
    injection: str
    prompt: str


class Home(NamedTuple):
    """What a visitor takes home: files, and the lines that make the picture again."""

    files: list[str]
    shell: str
    python: str


class Handlers:
    """Of one app, for all visitors.

    Args:
        painter: Draws.
        files: Directions that every visitor begins with.
        name: That the model was opened by.
        scorer: Of attributes, by name; None: none are known.
        regions: That find parts of pictures, by name; None: none are known.

    Attributes:
        painter: Draws.
        name: Of the model.
        tasks: What takes long.

    Example:
        >>> import hspace
        >>> from hspace.app.handlers import Handlers
        >>> from hspace.app.painter import Painter
        >>> handlers = Handlers(Painter(hspace.Sampler(hspace.load("faces64"), steps=3, eta=0.0), preview_steps=2))
        >>> visitor = handlers.arrive()
        >>> [shown.words.split(" in ")[0] for shown in handlers.draw(visitor)]
        ['seed 0: preview', 'seed 0: preview']
        >>> visitor.close()
    """

    def __init__(
        self,
        painter: Painter,
        files: tuple[Path, ...] = (),
        name: str = "faces64",
        *,
        scorer: str | None = None,
        regions: str | None = None,
    ) -> None:
        self.painter, self.name = painter, name
        self._setting = painter.full.setting()
        self._library = Library(self._setting)  # read once: visitors share the tensors
        for file in files:
            self._library.add(file)
        model = painter.full.model
        modes = [each.setting.injection for each in self._library.directions().values() if each.setting.space == "h"]
        setting = painter.full.setting(modes[0] if modes else "symmetric")
        precision = str(model.dtype).removeprefix("torch.")
        self.tasks = Tasks(painter, Opening(name, str(model.device), precision, setting, scorer, regions))

    def arrive(self) -> Visitor:
        """Somebody opens the page."""
        return Visitor(self._setting, self._library)

    def close(self) -> None:
        """The end of the app."""
        self.tasks.close()

    def draw(self, visitor: Visitor, strip: bool = False) -> Iterator[Shown]:
        """A preview, then the picture.

        Args:
            visitor: For whom.
            strip: Whether one is looked at, of the slider moved last: it is drawn, too, quickly and then well.

        Raises:
            Superseded: Something newer is wanted.
        """
        wanted, began, scene = visitor.wanted(), time.monotonic(), visitor.scene
        directions, said = visitor.library.directions(), []
        edit = scene.edit(directions)
        what = (scene.photo or f"seed {scene.seed}") + (f", {edit.name}" if edit else "")
        for quick in (True, False):
            after, before = (
                exports.picture(self.painter.draw(each, directions, photos=visitor.photos, quick=quick, wanted=wanted))
                for each in (scene, scene.reset())
            )
            said.append(f"{'preview' if quick else 'picture'} in {time.monotonic() - began:.2f} s")
            shown = Shown(after, (before, after), f"{what}: {', '.join(said)}")
            yield shown
        if strip and visitor.last is not None:
            for quick in (True, False):
                found = exports.strip(visitor, self.painter, scene, quick=quick, wanted=wanted)
                yield shown._replace(strip=found)
        if not wanted():
            raise Superseded

    def moving(self, slider: str) -> Callable[[Visitor, float | None], None]:
        """What moving a slider does."""
        return lambda visitor, strength: visitor.move(slider, strength or 0.0)  # None: its box was cleared

    def roll(self, locked: bool, seed: float | None) -> int:
        """The dice, unless the seed is locked."""
        return int(seed or 0) if locked else randrange(_SEEDS)

    def sow(self, visitor: Visitor, seed: float | None) -> None:
        """Another seed."""
        visitor.change(seed=int(seed or 0), photo=None)

    def reset(self, visitor: Visitor) -> None:
        """All sliders at 0."""
        visitor.change(strengths={})

    def advanced(self, visitor: Visitor, first: float, last: float, injection: str) -> None:
        """When edits act, and how they go in."""
        modes: dict[str, Injection | None] = {AS_FOUND: None, "symmetric": "symmetric", "asymmetric": "asymmetric"}
        whole = first >= self.painter.full.timesteps[0] and last <= 0
        window = None if whole else (int(first), int(last))
        visitor.change(window=window, injection=modes[injection])

    def controls(self, visitor: Visitor) -> Controls:
        """Where the controls are, after a recipe."""
        scene = visitor.scene
        first, last = scene.window or (self.painter.full.timesteps[0], 0)
        return Controls(scene.seed, first, last, scene.injection or AS_FOUND, scene.prompt or "")

    @property
    def prompt(self) -> str | None:
        """The app's own; None for a model that takes none."""
        condition = self.painter.full.model.condition
        return None if condition is None else condition.prompt

    def ask(self, visitor: Visitor, prompt: str | None) -> None:
        """Another prompt; nothing for the app's own.

        Raises:
            HspaceError: One that is too long.
        """
        visitor.change(prompt=(prompt or "").strip() or None)

    def photo(self, visitor: Visitor, path: str | None) -> str:
        """A photo instead of a sample; how well the model draws it.

        Raises:
            HspaceError: No readable picture, or one that is too large.
        """
        if path is None:
            raise HspaceError("choose a picture first")
        image = read_photo(Path(path), self.painter.full.model.picture_shape)
        photo = self.painter.invert(image, PHOTO, wanted=visitor.present)
        visitor.photos = {PHOTO: photo}
        visitor.change(photo=PHOTO)
        words = photo.full.described(0)
        return f"{words[0].upper()}{words[1:]}."

    def samples(self, visitor: Visitor) -> None:
        """Back from the photo to samples."""
        visitor.change(photo=None)

    def strip(self, visitor: Visitor) -> Iterator[Image.Image]:
        """That of the slider moved last, quickly and then well.

        Raises:
            HspaceError: None was moved.
            Superseded: Something newer is wanted.
        """
        wanted = visitor.newest()
        for quick in (True, False):
            yield exports.strip(visitor, self.painter, quick=quick, wanted=wanted)

    def bring(self, visitor: Visitor, paths: Sequence[str] | None) -> str:
        """Directions, or a recipe with its files.

        Raises:
            HspaceError: As `hspace.app.imports.bring`.
        """
        found = bring(visitor, self.painter, [Path(path) for path in paths or []])
        said = [f"New sliders: {', '.join(found.sliders)}."] if found.sliders else []
        return " ".join([*said, *(["The sliders are where the recipe has them."] if found.scene else [])])

    def sliders(self, visitor: Visitor) -> list[str]:
        """All sliders as files of directions.

        Raises:
            HspaceError: There is none.
        """
        return [str(path) for path in exports.sliders(visitor)]

    def rename(self, visitor: Visitor, name: str | None, other: str) -> None:
        """Another name for a slider, which stays where it is.

        Raises:
            HspaceError: None chosen; as `Library.rename`.
        """
        visitor.rename(_chosen(name), other)

    def remove(self, visitor: Visitor, name: str | None) -> None:
        """A slider goes.

        Raises:
            HspaceError: None chosen; there is none of the name.
        """
        visitor.remove(_chosen(name))

    def take_home(self, visitor: Visitor) -> Home:
        """Picture, recipe, strip, sweeps, the files of directions, and the lines that make the picture again.

        Raises:
            HspaceError: No slider was moved.
        """
        scene = visitor.scene  # one state for all of it
        made = [exports.recipe(visitor, self.painter, scene)]
        directions, photos = visitor.library.directions(), visitor.photos
        x_0 = self.painter.draw(scene, directions, photos=photos, wanted=visitor.present)
        strip = exports.strip(visitor, self.painter, scene)
        with visitor.staying():
            for file, image in {"picture.png": exports.picture(x_0), "strip.png": strip}.items():
                image.save(visitor.path(file))
                made.append(visitor.path(file))
        made += exports.sweep(visitor, self.painter, scene)
        made += exports.files(visitor, scene)
        return Home([str(path) for path in made], *exports.lines(visitor, self.painter.full.model, self.name))


def _chosen(name: str | None) -> str:
    if not name:
        raise HspaceError("choose a slider first")
    return name
