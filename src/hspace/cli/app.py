"""The commands of `hspace`, one module each."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from hspace.cli import (
    benchmark,
    check,
    convert,
    demo,
    edit,
    evaluate,
    inspect,
    invert,
    jacobian,
    learn,
    pca,
    plan,
    report,
    sample,
    serve,
    supervised,
    swap,
)
from hspace.cli.commandline import Remembered
from hspace.cli.errors import one_line
from hspace.cli.grouped import grouped
from hspace.version import __version__

__all__ = ["app", "main"]

app = typer.Typer(
    name="hspace",
    help="Interpretable directions in the h-space of pretrained diffusion models.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
_COMMANDS = (
    demo,
    sample,
    pca,
    jacobian,
    supervised,
    learn,
    invert,
    edit,
    swap,
    evaluate,
    report,
    benchmark,
    inspect,
    plan,
    check,
    convert,
)
for module in _COMMANDS:
    app.command(module.__name__.rpartition(".")[2], cls=Remembered)(one_line(grouped(module.command)))
app.command("app", cls=Remembered)(one_line(grouped(serve.command)))


def _version(wanted: bool) -> bool:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit
    return wanted


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Interpretable directions in the h-space of pretrained diffusion models."""


def main() -> None:
    """Entry point of the `hspace` command."""
    app(args=sys.argv[1:])
