"""The sliders of one visitor: directions by name, each from a file, so that recipes can tell where it is."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hspace.diffusion import Setting
from hspace.directions import Direction, Directions
from hspace.errors import HspaceError

__all__ = ["MOST", "Library", "Slider"]

MOST = 64
"""Sliders that a visitor can have."""
_LONGEST = 80


@dataclass(frozen=True, eq=False)
class Slider:
    """A direction with its name on the screen, and the file that it is in."""

    name: str
    direction: Direction
    file: Path


class Library(Mapping[str, Slider]):
    """Sliders by name, in order. Several threads may read and change it: who reads sees all of a change or nothing.

    Args:
        setting: Directions have to be of its model and tap (or of x_T), and to reach as far as its grid.

    Example:
        >>> import tempfile, pathlib, hspace
        >>> from hspace.app.library import Library
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2)
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "two.safetensors"
        >>> hspace.random_directions(sampler.setting(), [1.0, 1.0], n=2).save(file)
        >>> library = Library(sampler.setting())
        >>> library.add(file)
        ('random0', 'random1')
        >>> library.rename("random0", "smile"), tuple(library), library.search("SMI")
        ('smile', ('smile', 'random1'), ('smile',))
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._lock = threading.Lock()
        self._sliders: dict[str, Slider] = {}  # replaced by another when it changes, for those who are going through it

    def __getitem__(self, name: str) -> Slider:
        return self._sliders[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sliders)

    def __len__(self) -> int:
        return len(self._sliders)

    def copy(self) -> Library:
        """Another with the same sliders, which share their tensors."""
        other = Library(self._setting)
        other._sliders = self._sliders
        return other

    def add(self, file: Path) -> tuple[str, ...]:
        """All directions of a file; their names as sliders, numbered where one is taken.

        Raises:
            HspaceError: No file of directions, another model, a grid from which they can't be brought to this one, more
                sliders than there can be. Nothing is added then.
        """
        try:
            found = Directions.load(file)
        except HspaceError as error:  # a visitor knows the file by its name, and not the folders of this machine
            raise HspaceError(str(error).replace(str(file), file.name)) from error
        for item in found:
            if item.setting.space == "h":
                item.retimed(self._setting)  # says now what the first picture would say
            else:
                self._setting.in_noise(item.setting.h_shape).check_same_space(item.setting)
        with self._lock:
            sliders = dict(self._sliders)
            if len(sliders) + len(found) > MOST:
                free = MOST - len(sliders)
                raise HspaceError(f"{file.name} has {len(found)} directions, and {free} sliders are free")
            before = len(sliders)
            for item in found:
                name = _free(" ".join(item.name.split())[:_LONGEST] or "direction", sliders)
                sliders[name] = Slider(name, item, file)
            self._sliders = sliders
            return tuple(sliders)[before:]

    def remove(self, name: str) -> None:
        """Take a slider away.

        Raises:
            HspaceError: There is none of that name.
        """
        with self._lock:
            self.check(name)
            self._sliders = {key: slider for key, slider in self._sliders.items() if key != name}

    def rename(self, name: str, new: str) -> str:
        """Another name for a slider, in its place.

        Returns:
            The new name, without superfluous spaces.

        Raises:
            HspaceError: There is none of the name, the new one is empty, too long or taken.
        """
        new = " ".join(new.split())
        with self._lock:
            self.check(name)
            if not new or len(new) > _LONGEST:
                raise HspaceError(f"a name has 1 to {_LONGEST} letters")
            if new != name and new in self._sliders:
                raise HspaceError(f"there is a slider {new!r} already")
            self._sliders = {
                (new if key == name else key): (replace(slider, name=new) if key == name else slider)
                for key, slider in self._sliders.items()
            }
            return new

    def search(self, text: str) -> tuple[str, ...]:
        """Names that have all the words, in any case."""
        words = text.casefold().split()
        return tuple(name for name in self._sliders if all(word in name.casefold() for word in words))

    def directions(self) -> dict[str, Direction]:
        """By name."""
        return {name: slider.direction for name, slider in self._sliders.items()}

    def check(self, name: str) -> None:
        """Whether there is a slider.

        Raises:
            HspaceError: There is none of that name.
        """
        if name not in self._sliders:
            raise HspaceError(f"there is no slider {name!r}")


def _free(name: str, taken: Mapping[str, object]) -> str:
    if name not in taken:
        return name
    return next(other for i in range(2, MOST + 2) if (other := f"{name[: _LONGEST - 5]} ({i})") not in taken)
