"""`hspace edit`: move samples along directions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from hspace.atomic import writing
from hspace.cli import options
from hspace.cli.session import open_model, open_sampler, sampler_for, say
from hspace.diffusion import Inversion, Sampler
from hspace.directions import Direction, Directions, Edit
from hspace.errors import HspaceError
from hspace.plot import strip

__all__ = ["command"]


def command(
    file: Annotated[Path, typer.Argument(help="File of directions.")],
    direction: Annotated[
        list[str] | None,
        typer.Option("--direction", "-d", help="Name; may be repeated: a row for each. Default: all, up to 8."),
    ] = None,
    together: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=STRENGTH; may be repeated: one edit of them all.")
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", help="FILE:NAME, or NAME of the same file; may be repeated: project it out first."),
    ] = None,
    per_timestep: Annotated[
        bool, typer.Option("--per-timestep", help="Project --without at every timestep, not over all together.")
    ] = False,
    strengths: Annotated[
        str | None, typer.Option(help="Columns, in standard deviations of h; with --set factors of the edit.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Such as 0:4 or 3,5.")] = "0:2",
    photo: Annotated[
        Path | None, typer.Option(help="Edit the pictures of this inversion, as hspace invert wrote it, on its grid.")
    ] = None,
    window: Annotated[
        str | None, typer.Option(help="Timesteps at which the edit acts, from high to low, such as 700:300.")
    ] = None,
    injection: Annotated[
        str | None, typer.Option(help="symmetric or asymmetric. Default: as the directions were found to go in.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG.")] = Path("strip.png"),
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Default: the one the directions were found in.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", "-s", help="Default: as the directions were found.")] = None,
    eta: Annotated[str | None, typer.Option(help="Default: as the directions were found.")] = None,
    start: options.Start = None,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
) -> None:
    """Draw a strip: rows of seeds (or directions), columns of strengths."""
    directions = Directions.load(file)
    chosen = options.parse_seeds(seeds)
    span = options.parse_window(window)
    mode = None if injection is None else options.parse_injection(injection)
    options.check_picture(out)
    inversion = None if photo is None else Inversion.load(photo)
    if inversion is not None and not (steps is None and eta is None and start is None):
        raise HspaceError("--photo is edited on the grid it was inverted on: leave out --steps, --eta and --start")
    if together and direction:
        raise HspaceError("--direction draws a row for each, --set one edit of them all: give one of the two")
    kept_out = [_other(text, directions) for text in without or []]

    def direction_of(name: str) -> Direction:
        return _cleaned(directions[name], kept_out, per_timestep) if kept_out else directions[name]

    if together:
        terms = [
            Edit.of(direction_of(name), value, window=span, injection=mode) for name, value in map(_setting, together)
        ]
        edits = [sum(terms[1:], start=terms[0])]
    else:
        left = [name for name in directions.names if name not in (without or [])]
        names = direction or left[:8] or list(directions.names)
        edits = [Edit.of(direction_of(name), window=span, injection=mode) for name in names]
    columns = options.parse_floats(strengths or ("0,0.5,1" if together else "-3,-1.5,0,1.5,3"), "--strengths")
    found = directions.setting
    denoiser = open_model(model or found.model_id, found.tap, device, dtype)
    schedule = found.schedule
    if inversion is not None:
        sampler = sampler_for(inversion, denoiser, batch_size)
    elif steps is None and start is None:
        other = None if eta is None else options.parse_eta(eta)
        sampler = Sampler.on(denoiser, found, eta=other, batch_size=batch_size)
    elif eta is None and len(set(schedule.etas)) > 1:
        raise HspaceError("the directions were found with one eta a step: give --eta for another grid")
    else:
        number = len(schedule) if steps is None else steps
        sampler = open_sampler(denoiser, number, eta or str(schedule.etas[0]), start, batch_size)
    picture = strip(sampler, chosen if inversion is None else inversion, edits, columns, progress=True)
    with writing(out) as partial:
        picture.save(partial)
    say(f"strip of {', '.join(edit.name for edit in edits)} in {out}")


def _other(text: str, directions: Directions) -> Direction:
    """A direction of `--without`, by name in the same file or in another."""
    file, colon, name = text.rpartition(":")
    return Directions.load(file)[name] if colon else directions[name]


def _cleaned(direction: Direction, others: Sequence[Direction], per_timestep: bool) -> Direction:
    """Without the others; says what they shared."""
    clean = direction.without(*others, per_timestep=per_timestep)
    for report in clean.origin["without"]:
        before, after = report["cosine_before"], report["cosine_after"]
        say(f"cosine of {direction.name} with {report['name']}: {before:+.3f} before, {after:+.3f} after")
    return clean


def _setting(text: str) -> tuple[str, float]:
    """`pc0=2` as name and strength."""
    name, _, value = text.rpartition("=")
    try:
        return name, float(value)
    except ValueError:
        raise HspaceError(f"--set must look like pc0=2, not {text!r}") from None
