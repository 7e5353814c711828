"""A long job: passes over rows, shared by processes, saved from time to time."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from hspace.errors import HspaceError
from hspace.jobs.folds import Fold
from hspace.jobs.saving import Checkpoint
from hspace.jobs.uninterrupted import uninterrupted
from hspace.jobs.world import World, world
from hspace.progress import Progress

__all__ = ["Job", "Stage", "digest"]

_Row = TypeVar("_Row")


class Job:
    """Passes over rows, one after the other.

    Args:
        about: What makes this job this one and no other, plain JSON types: a state of another is refused.
        checkpoint: Where the state is kept; None: nowhere.
        device: Where the network computes.
        processes: That share it. Default: those of the launcher.

    Example:
        >>> import torch
        >>> from hspace.jobs import Job, Table
        >>> table = Table()
        >>> with Job({"job": "squares"}).stage("numbers", 5, table) as stage:
        ...     for row in stage.of(range(5)):
        ...         stage.add({"square": torch.tensor([row**2])})
        >>> table["square"]
        tensor([ 0,  1,  4,  9, 16])
    """

    def __init__(
        self,
        about: Mapping[str, Any],
        checkpoint: Checkpoint | None = None,
        *,
        device: torch.device | str | None = None,
        processes: World | None = None,
    ) -> None:
        self.about = {**about, **({} if checkpoint is None else checkpoint.about)}
        self.checkpoint = checkpoint
        self.world = world(device) if processes is None else processes

    @contextmanager
    def stage(self, name: str, n: int, fold: Fold, *, each: int = 1, everyone: bool = True) -> Iterator[Stage]:
        """One pass; when the context ends, the fold is that of all rows.

        Args:
            name: Of the pass, in the names of files.
            n: Number of rows, or of groups of rows.
            fold: Empty; what a state on disk has is put into it.
            each: Rows in a group, which stay with one process.
            everyone: Whether all processes get the whole. Otherwise only process 0 does.

        Raises:
            HspaceError: A state of another job; another process is lost.
        """
        try:
            stage = Stage(self, name, n, fold, each)
            try:
                yield stage
                if len(stage.rows):
                    raise HspaceError(f"{len(stage.rows)} rows of pass {name!r} were left out")
            finally:  # after Ctrl-C and errors too: what was done is kept
                stage.save()
            self.world.merge(fold, everyone=everyone)
        except BaseException as error:
            self.world.fail(str(error) or type(error).__name__)
            raise


class Stage:
    """The share of one process of one pass.

    Attributes:
        share: Rows of this process.
    """

    def __init__(self, job: Job, name: str, n: int, fold: Fold, each: int) -> None:
        self.job, self.name, self.fold = job, name, fold
        groups = job.world.share(n)
        self.share = range(each * groups.start, each * groups.stop)
        self._about = {**job.about, "pass": name, "rows": n * each, "rank": job.world.rank, "processes": job.world.size}
        if job.checkpoint is not None:
            state = job.checkpoint.load(name, job.world, self._about)
            if state is not None:
                fold.restore(state)
        self._saved, self._saved_rows = time.monotonic(), fold.rows

    @property
    def rows(self) -> range:
        """Those of them that are left to do."""
        return self.share[self.fold.rows :]

    def of(self, rows: Sequence[_Row]) -> Sequence[_Row]:
        """Of all rows those that are left to do."""
        return rows[self.rows.start : self.rows.stop]

    def shows(self, progress: Progress) -> Progress:
        """The progress that is asked for, a bar in one process only."""
        return progress if self.job.world.first or callable(progress) else False

    def add(self, *batch: Any) -> None:
        """Fold the next batch, and save if it is time.

        Raises:
            LostProcess: Another process is gone.
        """
        with uninterrupted():  # rows that are in the fold are counted
            self.fold.add(*batch)
        checkpoint = self.job.checkpoint
        if checkpoint is not None and time.monotonic() - self._saved >= checkpoint.every:
            self.save()
        self.job.world.check()

    def save(self) -> None:
        """Keep what was done, if there is anything new."""
        checkpoint = self.job.checkpoint
        if checkpoint is not None and self.fold.rows > self._saved_rows:
            checkpoint.save(self.name, self.job.world, self._about, self.fold.state())
            self._saved, self._saved_rows = time.monotonic(), self.fold.rows


def digest(numbers: Iterable[object]) -> str:
    """Of numbers in their order, seeds for instance.

    Example:
        >>> from hspace.jobs.job import digest
        >>> digest(range(3)) == digest([0, 1, 2]), digest([0, 1, 2]) == digest([0, 2, 1])
        (True, False)
    """
    return hashlib.sha256(",".join(map(repr, numbers)).encode()).hexdigest()[:16]
