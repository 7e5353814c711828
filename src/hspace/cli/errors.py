"""Bad input and Ctrl-C end in one line on stderr and exit code 2, never in a stack trace."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

from hspace.errors import HspaceError

__all__ = ["one_line"]

P = ParamSpec("P")
R = TypeVar("R")


def one_line(command: Callable[P, R]) -> Callable[P, R]:
    """The command, with `HspaceError` and Ctrl-C turned into one line and exit code 2."""

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except HspaceError as error:
            message = " ".join(str(error).split())
        except KeyboardInterrupt as interrupt:
            message = str(interrupt) or "interrupted"
        typer.secho(f"hspace: {message}", err=True, fg=typer.colors.RED)
        raise typer.Exit(2)

    return guarded
