"""Where the state of a job is kept while it goes on.

Each pass of a job has a file of its own beside the path that is given, one for each process where there are several:
`directions.partial.safetensors` becomes `directions.partial.components.safetensors`, or
`directions.partial.components.rank1-of-3.safetensors`. Files are replaced whole (`hspace.atomic`), so that a process
may be killed at any moment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

from hspace import tensorfile
from hspace.errors import HspaceError
from hspace.jobs.packing import State
from hspace.jobs.world import LostProcess, World, world

__all__ = ["Checkpoint", "difference", "plain"]

_FORMAT = "hspace-job-1"


class Checkpoint:
    """The state of long work, on disk.

    As a context it takes the files away when the block ends well: save the result within the block, and there is no
    moment at which a kill loses more than `every` seconds.

    Args:
        path: Names the files, see above.
        every: Seconds from one saving to the next.
        resume: Go on where the files stand; from the start where there is none.
        about: What else makes the work this and no other, such as the name of a scorer; plain JSON types.

    Example:
        >>> import tempfile, pathlib, hspace
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2)
        >>> with hspace.Checkpoint(folder / "pca.partial.safetensors", resume=True) as checkpoint:
        ...     pcs = hspace.PCA(2).fit(sampler, range(4), checkpoint=checkpoint).directions_
        ...     pcs.save(folder / "pca.safetensors")
        >>> [file.name for file in folder.iterdir()]
        ['pca.safetensors']
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        every: float = 60.0,
        resume: bool = False,
        about: Mapping[str, Any] | None = None,
    ) -> None:
        if not every >= 0:
            raise HspaceError(f"seconds from one saving to the next must not be negative, but are {every}")
        self.path = Path(path)
        self.every = every
        self.resume = resume
        self.about = dict(about or {})
        self.files: list[Path] = []
        """Those that there are of the work so far."""

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            world().arrive()  # process 0 has saved the result
            self.remove()
        elif isinstance(error, (KeyboardInterrupt, LostProcess)) and self.files:
            raise type(error)(f"{str(error) or 'interrupted'}; what was done is kept, resume goes on") from error

    def beside(self, name: str) -> Checkpoint:
        """Of another job within the same work, whose files go when this one's go."""
        path = self.path.with_name(f"{self.path.stem}-{name}{self.path.suffix}")
        other = Checkpoint(path, every=self.every, resume=self.resume, about=self.about)
        other.files = self.files
        return other

    def remove(self) -> None:
        """Take the files away."""
        for file in self.files:
            file.unlink(missing_ok=True)
        self.files.clear()

    def file(self, stage: str, world: World) -> Path:
        """Of one pass and process."""
        rank = f".rank{world.rank}-of-{world.size}" if world.size > 1 else ""
        return self.path.with_name(f"{self.path.stem}.{stage}{rank}{self.path.suffix}")

    def load(self, stage: str, world: World, about: Mapping[str, Any]) -> State | None:
        """What is there of a pass; None for nothing.

        Args:
            stage: Name of the pass.
            world: The processes.
            about: What makes the job this one and no other; plain JSON types.

        Raises:
            HspaceError: The state is of another job, or of other processes; without `resume`, it is of this very job,
                which would begin anew.
        """
        file = self.file(stage, world)
        for orphan in file.parent.glob(f".{file.stem}.????????{file.suffix}"):
            orphan.unlink(missing_ok=True)  # of a kill while it was written
        if not file.exists():
            if self.resume:
                self._check_world(stage, world)
            return None
        if not self.resume:
            try:
                header, _ = tensorfile.read(file, _FORMAT, "the state of a job")
            except HspaceError:
                return None
            if header.get("about") == plain(about):
                raise HspaceError(f"{file}: this job was begun already; resume it, or remove the file")
            return None
        header, tensors = tensorfile.read(file, _FORMAT, "the state of a job")
        if header.get("about") != plain(about):
            raise HspaceError(f"{file} is of another job: its {difference('job', header.get('about'), plain(about))}")
        self._mine(file)
        return State(header["state"], tensors)

    def save(self, stage: str, world: World, about: Mapping[str, Any], state: State) -> None:
        """Keep it, whole or not at all.

        Raises:
            HspaceError: It can't be written; what was there before is untouched.
        """
        file = self.file(stage, world)
        tensorfile.write(file, _FORMAT, {"about": plain(about), "state": state.data}, state.tensors)
        self._mine(file)

    def _mine(self, file: Path) -> None:
        if file not in self.files:
            self.files.append(file)

    def _check_world(self, stage: str, world: World) -> None:
        stem, suffix = f"{self.path.stem}.{stage}", self.path.suffix
        parts = {file: file.stem.rpartition("-of-")[2] for file in self.path.parent.glob(f"{stem}.rank*-of-*{suffix}")}
        others = {file: size for file, size in parts.items() if size != str(world.size)}
        whole = self.path.with_name(f"{stem}{suffix}")
        if world.size > 1 and whole.exists():
            others[whole] = "1"
        for file, size in others.items():
            raise HspaceError(f"{file} is of a job of {_processes(size)}, here {_processes(str(world.size))}")


def _processes(size: str) -> str:
    return "1 process" if size == "1" else f"{size} processes"


def plain(data: Any) -> Any:
    """As it is after a way through JSON."""
    return json.loads(json.dumps(data))


def difference(key: str, found: Any, expected: Any) -> str:
    """In words, the entry that differs and not all of them."""
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        for inner in {**expected, **found}:
            if found.get(inner) != expected.get(inner):
                return difference(inner, found.get(inner), expected.get(inner))
    return f"{key} {found}, here {expected}"
