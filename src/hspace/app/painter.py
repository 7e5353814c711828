"""Draws scenes: a preview on few steps, then the picture. One at a time, and none that nobody waits for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.app.originals import Originals
from hspace.app.scene import Scene
from hspace.app.turns import Superseded, Turns
from hspace.diffusion import Inversion, Prefixes, Sampler
from hspace.directions import Direction
from hspace.errors import HspaceError
from hspace.models import Denoiser

__all__ = ["Painter", "Photo", "Superseded", "photo_of"]

_PREVIEW_STEPS = 5
_PROMPTS = 64  # that need not be encoded again


@dataclass(frozen=True, eq=False)
class Photo:
    """A visitor's photo on both grids."""

    full: Inversion
    quick: Inversion


def photo_of(scene: Scene, photos: Mapping[str, Photo] | None) -> Photo | None:
    """The photo that a scene edits; None for a sample.

    Raises:
        HspaceError: It is gone.
    """
    if scene.photo is None:
        return None
    if scene.photo not in (photos or {}):
        raise HspaceError(f"there is no photo {scene.photo!r} any more: upload it again")
    return (photos or {})[scene.photo]


class Painter:
    """Draws for all visitors with one model.

    A network with hooks in it serves one run at a time: visitors wait for each other, previews before pictures and
    otherwise in the order in which they came (see `Turns`), and a run ends at its next step once its visitor has moved
    on.

    Args:
        sampler: Of the pictures; its grid is that of recipes.
        preview_steps: Of previews; as many as the sampler's where it has no more.

    Example:
        >>> import hspace
        >>> from hspace.app.painter import Painter
        >>> from hspace.app.scene import Scene
        >>> painter = Painter(hspace.Sampler(hspace.load("faces64"), steps=3, eta=0.0), preview_steps=2)
        >>> painter.draw(Scene(seed=1), {}, quick=True).shape
        torch.Size([1, 3, 64, 64])
    """

    def __init__(self, sampler: Sampler, preview_steps: int = _PREVIEW_STEPS) -> None:
        schedule = sampler.schedule
        self.full = sampler
        steps = min(preview_steps, len(schedule))
        self.quick = Sampler(
            sampler.model, steps, schedule.etas[0], start=schedule.timesteps[0], batch_size=sampler.batch_size
        )
        sampler.setting()  # the shape of h takes a run of the network, once: now, while nobody else has hooks in it
        self._asking = threading.Lock()  # text encoders, too, serve one at a time
        self._asked: OrderedDict[str, Denoiser] = OrderedDict()  # by prompt
        self._turns = Turns()
        self._originals = Originals()
        self._prefixes = Prefixes(2**26)  # with a window, a slider starts from the x_t where it opens
        # One thread for all runs: OpenMP keeps a team of threads, and malloc an arena, for every thread that computes.
        self._hand = ThreadPoolExecutor(1, "hspace-painter")

    def sampler(self, scene: Scene, *, quick: bool = False) -> Sampler:
        """That of pictures or of previews, under the prompt of a scene.

        Raises:
            HspaceError: A prompt for a model that takes none.
        """
        own = self.quick if quick else self.full
        if scene.prompt is None:
            return own
        with self._asking:
            if scene.prompt not in self._asked:
                self._asked[scene.prompt] = own.model.conditioned(scene.prompt)
            self._asked.move_to_end(scene.prompt)
            while len(self._asked) > _PROMPTS:
                self._asked.popitem(last=False)
            model = self._asked[scene.prompt]
        return Sampler.on(model, own.setting(), batch_size=own.batch_size)

    def draw(
        self,
        scene: Scene,
        directions: Mapping[str, Direction],
        *,
        photos: Mapping[str, Photo] | None = None,
        quick: bool = False,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Float[Tensor, "1 c y x"]:
        """The picture of a scene.

        Args:
            scene: What to draw.
            directions: By slider.
            photos: By name.
            quick: A preview.
            wanted: Asked while it waits, at every step of the run and in the end.

        Raises:
            Superseded: It is no longer wanted.
            HspaceError: A photo that there is not; directions that do not fit the model.
        """
        sampler = self.sampler(scene, quick=quick)
        photo, edit = photo_of(scene, photos), scene.edit(directions)
        inversion = None if photo is None else photo.quick if quick else photo.full
        key = (quick, scene.seed, scene.prompt) if inversion is None else inversion
        kept = edit is None and (inversion is None or scene.prompt is None)

        def check(*_: object) -> None:
            if not wanted():
                raise Superseded

        check()
        found = self._originals.get(key) if kept else None
        if found is None:
            with self._turns.taken(first=quick, wanted=wanted):
                found = self._originals.get(key) if kept else None  # drawn for somebody else meanwhile?
                if found is None:
                    latents = [scene.seed] if inversion is None else inversion
                    found = self._hand.submit(sampler.run, latents, edit, visit=check, prefixes=self._prefixes).result()
                    if kept:
                        self._originals.put(key, found)
        check()  # or an old picture would come after a new one
        return found

    def along(
        self,
        scene: Scene,
        directions: Mapping[str, Direction],
        slider: str,
        strengths: Sequence[float],
        *,
        photos: Mapping[str, Photo] | None = None,
        quick: bool = False,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Float[Tensor, "n c y x"]:
        """The scene with one slider at several places; a turn for each, so that others come in between.

        Raises:
            Superseded: It is no longer wanted.
            HspaceError: As `draw`; a place beyond the slider's ends.
        """
        scenes = [scene.moved(slider, strength) for strength in strengths]
        drawn = [self.draw(each, directions, photos=photos, quick=quick, wanted=wanted) for each in scenes]
        return torch.cat(drawn)

    def invert(self, image: Float[Tensor, "1 c y x"], name: str, *, wanted: Callable[[], bool] = lambda: True) -> Photo:
        """A photo on both grids, a turn for each.

        Args:
            image: In [-1, 1], of the model's `picture_shape`.
            name: Of the photo.
            wanted: Asked while it waits and at every step.

        Raises:
            Superseded: It is no longer wanted.
            HspaceError: No picture of that shape.
        """
        full = self._inverted(self.full, image, name, wanted)
        return Photo(full, self._inverted(self.quick, image, name, wanted))

    def again(self, full: Inversion, *, wanted: Callable[[], bool] = lambda: True) -> Photo:
        """A photo that was inverted before, for previews too.

        Args:
            full: On the grid of the pictures, of one picture.
            wanted: As in `invert`.

        Raises:
            Superseded: It is no longer wanted.
            HspaceError: An inversion of another model or on another grid.
        """
        self.full.check(full)
        return Photo(full, self._inverted(self.quick, full.images, full.names[0], wanted))

    def _inverted(
        self, sampler: Sampler, image: Float[Tensor, "1 c y x"], name: str, wanted: Callable[[], bool]
    ) -> Inversion:
        def check(*_: object) -> None:
            if not wanted():
                raise Superseded

        with self._turns.taken(wanted=wanted):
            return self._hand.submit(sampler.invert, image, names=[name], progress=check).result()
