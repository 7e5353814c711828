"""Progress of long work: a bar with rate and time left, or the caller's own function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text

__all__ = ["Advance", "Progress", "reporting"]

Progress = bool | Callable[[int, int], None]
"""True: a bar on the terminal. A function: called with (done, total). False: silence."""


@runtime_checkable
class Advance(Protocol):
    """Reports n more done; a note goes beside the bar."""

    def __call__(self, n: int, note: str = "", /) -> None:
        """Once for every piece of work."""


@contextmanager
def reporting(progress: Progress, total: int, description: str = "sampling") -> Iterator[Advance]:
    """Within the context, `advance(n)` reports n more of `total` done.

    Example:
        >>> from hspace.progress import reporting
        >>> seen = []
        >>> with reporting(lambda done, total: seen.append((done, total)), 4) as advance:
        ...     advance(3)
        ...     advance(1)
        >>> seen
        [(3, 4), (4, 4)]
    """
    if callable(progress):
        done = 0

        def advance(n: int, _: str = "", /) -> None:
            nonlocal done
            done += n
            progress(done, total)

        yield advance
    elif progress:
        with _bar() as bar:
            task = bar.add_task(description, total=total)

            def show(n: int, note: str = "", /) -> None:
                bar.update(task, advance=n, description=f"{description} {note}".rstrip())

            yield show
    else:
        yield lambda *_: None


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "")


def _bar() -> Bar:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    return Bar(*columns, console=Console(stderr=True))
