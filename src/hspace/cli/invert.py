"""`hspace invert`: find the latents of pictures, so that they can be edited like samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import torch
import typer

from hspace.atomic import writing
from hspace.cli import options
from hspace.cli.session import open_model, open_sampler, say
from hspace.errors import HspaceError
from hspace.photos import Fit, read_photos, readable
from hspace.plot import grid

__all__ = ["command"]


def command(
    pictures: Annotated[list[Path], typer.Argument(help="Picture files of any kind and size.")],
    model: options.Model = "faces64",
    asked: options.Asked = options.NOTHING,
    out: Annotated[Path, typer.Option("--out", "-o", help="File of the inversion.")] = Path("photo.safetensors"),
    fit: Annotated[str, typer.Option(help="crop (the middle), fit (all of it, edges filled up), or stretch.")] = "crop",
    refine: Annotated[
        int, typer.Option(help="With eta 0: fixed-point iterations a step; 0 is plain DDIM inversion.")
    ] = 5,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out files that are no readable pictures.")
    ] = False,
    first_seed: Annotated[int, typer.Option(help="With eta > 0: picture i draws its noise from seed first + i.")] = 0,
    preview: Annotated[Path | None, typer.Option(help="PNG: the pictures over their reconstructions.")] = None,
    steps: options.Steps = 50,
    eta: options.Eta = "1",
    start: options.Start = None,
    tap: options.Tap = None,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    computing: options.Computing = options.FLOAT32,
) -> None:
    """Invert pictures: with eta > 0 exactly (edit-friendly DDPM), with eta 0 by DDIM inversion."""
    if fit not in get_args(Fit):
        raise HspaceError(f"--fit must be one of {', '.join(get_args(Fit))}, not {fit!r}")
    options.check_writable(out)
    if preview is not None:
        options.check_picture(preview)
    kept, skipped = readable(pictures, "skip" if skip_unreadable else "refuse")
    pictures = [pictures[i] for i in kept]
    for reason in skipped.values():
        say(f"skipped {reason}")
    denoiser = open_model(model, tap, device, computing, asked)
    photos = read_photos(pictures, denoiser.picture_shape, fit=fit)  # type: ignore[arg-type]  # checked above
    sampler = open_sampler(denoiser, steps, eta, start, batch_size)
    seeds = range(first_seed, first_seed + len(pictures))
    stems = [path.stem for path in pictures]
    names = stems if len(set(stems)) == len(stems) else [f"{i}-{stem}" for i, stem in enumerate(stems)]
    inversion = sampler.invert(photos, refine=refine, seeds=seeds, names=names, progress=True)
    inversion.save(out)
    for row, name in enumerate(inversion.names):
        say(f"{name}: {inversion.described(row)}")
    if preview is not None:
        both = torch.cat([photos, sampler.run(inversion).float()])
        with writing(preview) as partial:
            grid(both, columns=len(photos)).save(partial)
        say(f"pictures over reconstructions in {preview}")
    say(f"{len(pictures)} inverted in {out}; next: hspace edit DIRECTIONS --photo {out}")
