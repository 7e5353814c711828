"""One visitor: sliders, photos, what is wanted now, and a folder that goes when the visitor does."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import Any

from hspace.app.library import Library
from hspace.app.painter import Photo
from hspace.app.scene import Scene
from hspace.app.work.workshop import Work
from hspace.diffusion import Setting
from hspace.errors import HspaceError

__all__ = ["EVERY_SLIDER", "Visitor"]

EVERY_SLIDER = "slider"
"""The beginning of what sliders are called as controls; as a control, all of them."""

_LONGEST = 120  # letters in the name of a file


class Visitor:
    """State of one visit; nothing of it is shared. Several threads may act for it at once.

    Args:
        setting: Of the pictures.
        files: Directions to begin with; or a library, whose tensors visitors then share.

    Attributes:
        folder: Of the visitor's own; it goes with `close`, or with the visitor, or when the program ends.
        library: Sliders.
        photos: By name; replaced as a whole.
        scene: Where the sliders are.
        last: The slider that was moved last.
        work: What is done for the visitor now, or was.

    Example:
        >>> import hspace
        >>> from hspace.app.visitor import Visitor
        >>> visitor = Visitor(hspace.Sampler(hspace.load("faces64"), steps=2).setting())
        >>> first, second = visitor.wanted(), visitor.wanted()
        >>> first(), second()
        (False, True)
        >>> visitor.close()
        >>> second(), visitor.folder.exists()
        (False, False)
    """

    def __init__(self, setting: Setting, files: tuple[Path, ...] | Library = ()) -> None:
        self.library = files.copy() if isinstance(files, Library) else Library(setting)
        if not isinstance(files, Library):
            for file in files:
                self.library.add(file)
        self.photos: dict[str, Photo] = {}
        self.scene = Scene()
        self.last: str | None = None
        self.work: Work | None = None
        self._tickets, self._files = itertools.count(1), itertools.count(1)
        self._newest = 0
        self._closed = False
        self._touched: dict[str, float] = {}  # when, by control
        self._lock = threading.RLock()
        self._writing = threading.RLock()
        self.folder = Path(tempfile.mkdtemp(prefix="hspace-visitor-"))
        self._clear = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def wanted(self) -> Callable[[], bool]:
        """A new request: whether it is still the newest one, of a visitor who is there, can be asked at any time."""
        with self._lock:
            mine = next(self._tickets)
            if not self._closed:
                self._newest = mine
        return lambda: self._newest == mine

    def newest(self) -> Callable[[], bool]:
        """Whether nothing has been requested since now: for what goes with the picture on the screen."""
        with self._lock:
            seen = self._newest
        return lambda: self._newest == seen and not self._closed

    def busy(self, begin: Callable[[], Work]) -> Work:
        """Something else is done for the visitor: one thing at a time.

        Args:
            begin: Begins it.

        Raises:
            HspaceError: The visit is over.
        """
        with self._lock:
            self._check_present()
            self.idle()
            self.work = begin()
            return self.work

    def idle(self) -> None:
        """Nothing is done for the visitor any more."""
        if self.work is not None:
            self.work.cancel()

    def present(self) -> bool:
        """Whether the visitor is still there: for what no newer request supersedes."""
        return not self._closed

    def later(self, control: str, at: float) -> bool:
        """Whether a control was not touched after this, as far as is known.

        Args:
            control: Its name; that of a slider begins with `EVERY_SLIDER`.
            at: By the page's clock, in milliseconds.
        """
        with self._lock:
            before = [self._touched.get(control, at)]
            if control.startswith(EVERY_SLIDER):
                before.append(self._touched.get(EVERY_SLIDER, at))
            if at < max(before):
                return False
            self._touched[control] = at
            return True

    def move(self, slider: str, strength: float) -> None:
        """One slider somewhere else.

        Raises:
            HspaceError: There is no such slider; beyond its ends.
        """
        with self._lock:
            self.library.check(slider)
            self.scene, self.last = self.scene.moved(slider, strength), slider

    def change(self, **fields: Any) -> None:
        """Other fields of the scene, all at once, whatever another thread does to others.

        Raises:
            HspaceError: As `Scene`.
        """
        with self._lock:
            self.scene = replace(self.scene, **fields)

    def rename(self, name: str, new: str) -> None:
        """Another name for a slider, which stays where it is.

        Raises:
            HspaceError: As `Library.rename`.
        """
        with self._lock:
            new = self.library.rename(name, new)
            self.change(strengths={(new if key == name else key): x for key, x in self.scene.strengths.items()})
            self.last = new if self.last == name else self.last

    def remove(self, name: str) -> None:
        """A slider goes; one that comes under its name later is at 0.

        Raises:
            HspaceError: There is none of the name.
        """
        with self._lock:
            self.library.remove(name)
            self.change(strengths={key: x for key, x in self.scene.strengths.items() if key != name})
            self.last = None if self.last == name else self.last

    def path(self, name: str) -> Path:
        """A file of the visitor's own.

        Raises:
            HspaceError: Not the plain name of a file, such as one that leads out of the folder; the visit is over.
        """
        # By Windows' rules, which are the strictest: no slash of either kind, no drive, no stream.
        plain = PureWindowsPath(name).name == name and ":" not in name and name.isprintable() and len(name) <= _LONGEST
        if not plain or name in ("", ".", ".."):
            raise HspaceError(f"{name[:_LONGEST]!r} is no plain name of a file")
        self._check_present()
        return self.folder / name

    @contextmanager
    def staying(self) -> Iterator[None]:
        """Files are written within it: the visitor does not leave before they are, nor is the folder made again after.

        Raises:
            HspaceError: The visit is over.
        """
        with self._writing:
            self._check_present()
            yield

    def new(self, stem: str, suffix: str = ".safetensors") -> Path:
        """A name for a file of the visitor's own that no other has.

        Raises:
            HspaceError: The visit is over.
        """
        return self.path(f"{stem}-{next(self._files)}{suffix}")

    def keep(self, file: Path) -> Path:
        """A copy of an uploaded file in the visitor's folder, under a name of its own.

        Raises:
            HspaceError: The visit is over.
        """
        with self.staying():
            kept = self.new("directions")
            shutil.copyfile(file, kept)
            return kept

    def close(self) -> None:
        """The end of the visit: nothing runs for it any more, nothing is kept."""
        with self._lock:
            self._closed, self._newest = True, 0
            self.photos = {}
            self.idle()
        with self._writing:
            self._clear()

    def __deepcopy__(self, memo: object) -> Visitor:
        """Itself: a visit has one state."""
        return self

    def _check_present(self) -> None:
        if self._closed:
            raise HspaceError("this visit is over: open the page again")
