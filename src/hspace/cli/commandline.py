"""The command being run, written out again, so that what it makes remembers how."""

from __future__ import annotations

import shlex
from contextvars import ContextVar
from typing import Any

from typer.core import TyperCommand

from hspace.directions import Directions

__all__ = ["Remembered", "command_line", "reproducible"]

_running: ContextVar[Any] = ContextVar("running")


class Remembered(TyperCommand):
    """A command that `command_line` knows of while it runs; `typer` has no public way to its context."""

    def invoke(self, ctx: Any) -> Any:
        """Run it."""
        token = _running.set(ctx)
        try:
            return super().invoke(ctx)
        finally:
            _running.reset(token)


def command_line(**instead: object) -> str:
    """The shell command being run: its arguments, then the options that were given, in the order of its help.

    Parsed again it has the same parameters, whatever way it was called.

    Args:
        instead: Values of parameters in place of those given; None leaves the option out.

    Raises:
        LookupError: No command is running.
    """
    context = _running.get()
    arguments: list[str] = []
    options: list[str] = []
    for parameter in context.command.params:
        value = instead.get(parameter.name, _given(context, parameter.name))
        if value is None:
            continue
        values = [str(each) for each in value] if isinstance(value, (list, tuple)) else [str(value)]
        if parameter.param_type_name == "argument":
            arguments += values
        elif parameter.is_flag:
            options.append(parameter.opts[0] if value else parameter.secondary_opts[0])
        else:
            name = next((option for option in parameter.opts if option.startswith("--")), parameter.opts[0])
            options += [part for each in values for part in (name, each)]
    words = [*arguments, *options]
    if any(argument.startswith("-") for argument in arguments):
        words = [*options, "--", *arguments]
    return shlex.join(["hspace", context.command.name, *words])


def reproducible(directions: Directions, **instead: object) -> Directions:
    """The directions, with the command being run in their origin.

    Args:
        directions: What the command has found.
        instead: As in `command_line`, where another command than the one given makes them.
    """
    command = command_line(**instead)
    return Directions([item.with_origin(command=command) for item in directions], directions.measured)


def _given(context: Any, name: str) -> Any:
    """What a parameter was given on the command line; None: it was not."""
    source = context.get_parameter_source(name)
    return context.params.get(name) if source is not None and source.name == "COMMANDLINE" else None
