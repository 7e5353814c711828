"""Bad input and Ctrl-C end in one line on stderr and exit code 2, never in a stack trace."""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, ParamSpec, TypeVar

import typer

from hspace.errors import HspaceError
from hspace.jobs import world

__all__ = ["one_line"]

P = ParamSpec("P")
R = TypeVar("R")


def one_line(command: Callable[P, R]) -> Callable[P, R]:
    """The command, with `HspaceError`, Ctrl-C and SIGTERM turned into one line and exit code 2.

    Of several processes the one that fails first says why: the others end because of it.
    """

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            with _terminable():
                return command(*args, **kwargs)
        except HspaceError as error:
            message = " ".join(str(error).split())
        except KeyboardInterrupt as interrupt:
            message = str(interrupt) or "interrupted"
        try:
            first = world().fail(message)
        except HspaceError:  # the processes did not find each other
            first = True
        if first:
            typer.secho(f"hspace: {message}", err=True, fg=typer.colors.RED)
        raise typer.Exit(2)

    return guarded


@contextmanager
def _terminable() -> Iterator[None]:
    """Within it SIGTERM, which launchers and clusters send, ends as Ctrl-C does: what was done is kept."""

    def end(*_: object) -> NoReturn:
        raise KeyboardInterrupt("ended by SIGTERM, as when another process of the job is lost")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
