"""`hspace sample`: draw samples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from PIL import Image
from torch import Tensor

from hspace.atomic import writing
from hspace.cli import options
from hspace.cli.session import checkpoint_for, open_model, open_sampler, say
from hspace.diffusion import draw_each, draw_samples
from hspace.jobs import world
from hspace.plot import grid, to_uint8

__all__ = ["command"]


def command(
    model: options.Model = "faces64",
    asked: options.Asked = options.NOTHING,
    seeds: Annotated[str, typer.Option(help="Such as 0:16 or 3,5,8.")] = "0:16",
    out: Annotated[Path, typer.Option("--out", "-o", help="A PNG for all, or a folder for one PNG each.")] = Path(
        "samples.png"
    ),
    steps: options.Steps = 50,
    eta: options.Eta = "1",
    start: options.Start = None,
    batch_size: options.BatchSize = None,
    resume: options.Resume = False,
    save_every: options.SaveEvery = 60.0,
    device: options.Device = None,
    computing: options.Computing = options.FLOAT32,
) -> None:
    """Draw samples of a model: one picture of them all, or one file each.

    Of several processes each writes its own files into the folder.
    """
    chosen = options.parse_seeds(seeds)
    together = out.suffix.lower() == ".png"
    options.check_writable(out if together else out / f"{chosen[0]}.png")
    denoiser = open_model(model, None, device, computing, asked)
    sampler = open_sampler(denoiser, steps, eta, start, batch_size)

    def write(seeds: tuple[int, ...], images: Tensor) -> None:
        for seed, pixels in zip(seeds, to_uint8(images), strict=True):
            with writing(out / f"{seed}.png") as partial:
                Image.fromarray(pixels).save(partial)

    with checkpoint_for(out, resume, save_every) as checkpoint:
        if together:
            images = draw_samples(sampler, chosen, progress=True, checkpoint=checkpoint)
            if world().first:
                with writing(out) as partial:
                    grid(images).save(partial)
        else:
            draw_each(sampler, chosen, write, progress=True, checkpoint=checkpoint)
    say(f"{len(chosen)} samples in {out}")
