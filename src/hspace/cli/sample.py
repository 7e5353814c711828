"""`hspace sample`: draw samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from PIL import Image

from hspace.atomic import writing
from hspace.cli import options
from hspace.cli.session import open_model, open_sampler, say
from hspace.plot import grid, to_uint8

__all__ = ["command"]


def command(
    model: options.Model = "faces64",
    seeds: Annotated[str, typer.Option(help="Such as 0:16 or 3,5,8.")] = "0:16",
    out: Annotated[Path, typer.Option("--out", "-o", help="A PNG for all, or a folder for one PNG each.")] = Path(
        "samples.png"
    ),
    steps: options.Steps = 50,
    eta: options.Eta = "1",
    start: options.Start = None,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
) -> None:
    """Draw samples of a model: one picture of them all, or one file each."""
    chosen = options.parse_seeds(seeds)
    together = out.suffix.lower() == ".png"
    options.check_writable(out if together else out / f"{chosen[0]}.png")
    denoiser = open_model(model, None, device, dtype)
    images = open_sampler(denoiser, steps, eta, start, batch_size).run(chosen, progress=True)
    if together:
        with writing(out) as partial:
            grid(images).save(partial)
    else:
        for seed, pixels in zip(chosen, to_uint8(images), strict=True):
            with writing(out / f"{seed}.png") as partial:
                Image.fromarray(pixels).save(partial)
    say(f"{len(chosen)} samples in {out}")
