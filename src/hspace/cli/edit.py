"""`hspace edit`: move samples along directions."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Annotated

import typer
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from hspace.atomic import writing
from hspace.cli import options
from hspace.cli.grouped import grouped
from hspace.cli.recipe import draw, save
from hspace.cli.session import open_model, open_sampler, sampler_for, say
from hspace.diffusion import Inversion, Sampler, Setting
from hspace.directions import Direction, Directions, Edit, Term
from hspace.errors import HspaceError
from hspace.masks import as_masks, grid_of
from hspace.models import Denoiser
from hspace.plot import strip

__all__ = ["command", "mask_for"]

_WITH_A_RECIPE = {"recipe", "out", "model", "device"}


def command(
    file: Annotated[Path | None, typer.Argument(help="File of directions; not with --recipe.")] = None,
    direction: Annotated[
        list[str] | None,
        typer.Option("--direction", "-d", help="Name; may be repeated: a row for each. Default: all, up to 8."),
    ] = None,
    together: Annotated[
        list[str] | None,
        typer.Option("--set", help="NAME=STRENGTH, or FILE:NAME=STRENGTH; may be repeated: one edit of them all."),
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
    mask: Annotated[
        str | None,
        typer.Option(help="Where the edit acts: a box x0,y0,x1,y1 in pixels, or a PNG, averaged to the size of h."),
    ] = None,
    injection: Annotated[
        str | None, typer.Option(help="symmetric or asymmetric. Default: as the directions were found to go in.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG.")] = Path("strip.png"),
    save_recipe: Annotated[
        Path | None, typer.Option(help="JSON: all that makes the pictures of the one edit (factor 1) again.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option(help="Draw the pictures of this recipe, as --save-recipe wrote it, instead.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Default: the one the directions were found in.")
    ] = None,
    asked: options.Asked = options.NOTHING,
    steps: Annotated[int | None, typer.Option("--steps", "-s", help="Default: as the directions were found.")] = None,
    eta: Annotated[str | None, typer.Option(help="Default: as the directions were found.")] = None,
    start: options.Start = None,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    computing: options.Computing = options.FLOAT32,
) -> None:
    """Draw a strip: rows of seeds (or directions), columns of strengths. With --recipe, the pictures of a recipe."""
    given = {**locals(), **vars(asked), **vars(computing)}
    if recipe is not None:
        changed = [name for name, p in signature(grouped(command)).parameters.items() if given[name] != p.default]
        draw(recipe, model, device, out, others=[name for name in changed if name not in _WITH_A_RECIPE])
        return
    if file is None:
        raise HspaceError("give a file of directions, or --recipe")
    opened = {file: Directions.load(file)}
    directions = opened[file]
    chosen = options.parse_seeds(seeds)
    span = options.parse_window(window)
    mode = None if injection is None else options.parse_injection(injection)
    options.check_picture(out)
    inversion = None if photo is None else Inversion.load(photo)
    if inversion is not None and not (steps is None and eta is None and start is None):
        raise HspaceError("--photo is edited on the grid it was inverted on: leave out --steps, --eta and --start")
    if together and direction:
        raise HspaceError("--direction draws a row for each, --set one edit of them all: give one of the two")
    kept_out = [_named(text, directions, opened) for text in without or []]

    def direction_of(name: str) -> Direction:
        found = _named(name, directions, opened)
        return _cleaned(found, kept_out, per_timestep) if kept_out else found

    if together:
        rows = [[(direction_of(name), strength) for name, strength in map(_setting, together)]]
    else:
        left = [name for name in directions.names if name not in (without or [])]
        rows = [[(direction_of(name), 1.0)] for name in direction or left[:8] or list(directions.names)]
    if save_recipe is not None:
        if len(rows) > 1:
            raise HspaceError(
                f"--save-recipe is for one edit, not for {len(rows)} rows: give one --direction, or --set"
            )
        if computing.channels_last or computing.compile:
            raise HspaceError("--save-recipe is for the same bits again: leave out --channels-last and --compile")
        options.check_writable(save_recipe)
    columns = options.parse_floats(strengths or ("0,0.5,1" if together else "-3,-1.5,0,1.5,3"), "--strengths")
    found = directions.setting
    taps = [d.setting.tap for row in rows for d, _ in row if d.setting.space == "h"]
    condition = found.condition if inversion is None else inversion.setting.condition
    denoiser = open_model(model or found.model_id, taps[0] if taps else None, device, computing, asked, condition)
    if inversion is not None and denoiser.condition != condition:
        say(f"note: the photo was inverted under {condition}; here {denoiser.condition}: that alone changes it")

    def term_of(direction: Direction, strength: float) -> Term:
        return Term(direction, strength, span, None if mask is None else mask_for(mask, denoiser, direction.setting))

    edits = [Edit([term_of(*pair) for pair in row], mode) for row in rows]
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
    samples = chosen if inversion is None else inversion
    picture = strip(sampler, samples, edits, columns, progress=True)
    with writing(out) as partial:
        picture.save(partial)
    say(f"strip of {', '.join(edit.name for edit in edits)} in {out}")
    if save_recipe is not None:
        save(save_recipe, edits[0], sampler, samples, list(opened), photo)


def mask_for(text: str, model: Denoiser, setting: Setting) -> Float[Tensor, "y x"]:
    """`--mask` at the resolution of what directions of a setting move, by averaging over the area of each cell."""
    height, width = model.image_shape[1:]
    grid = grid_of(setting.h_shape, (height, width))
    if grid is None:
        raise HspaceError(f"--mask needs an h with height and width, not one of shape {setting.h_shape}")
    whole = as_masks(text, (height, width), scale=model.latent_scale)
    return interpolate(whole[None], size=grid, mode="area")[0, 0]


def _named(text: str, directions: Directions, opened: dict[Path, Directions]) -> Direction:
    """A direction by name in the same file, or as FILE:NAME in another, which is then among those opened."""
    name = text.rpartition(":")[2]
    if text in directions or name == text:
        return directions[text]
    file = Path(text.removesuffix(f":{name}"))
    if file not in opened:
        opened[file] = Directions.load(file)
    return opened[file][name]


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
