"""What commands do first and last: open a model and a sampler, say a line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import typer

from hspace.cli.options import parse_dtype, parse_eta
from hspace.diffusion import Inversion, Sampler
from hspace.jobs import Checkpoint, world
from hspace.models import Denoiser, load

__all__ = ["checkpoint_for", "open_model", "open_sampler", "sampler_for", "say"]


def open_model(name: str, tap: str | None, device: str | None, dtype: str) -> Denoiser:
    """The model of `--model`, its notes said; where a launcher started several processes, they find each other first."""
    world(device)
    model = load(name, device=device, dtype=parse_dtype(dtype), tap=tap)
    for note in model.notes:
        say(f"note: {note}")
    return model


def open_sampler(model: Denoiser, steps: int, eta: str, start: int | None, batch_size: int | None) -> Sampler:
    """The sampler of `--steps`, `--eta`, `--start` and `--batch-size`."""
    return Sampler(model, steps, parse_eta(eta), start=start, batch_size=batch_size)


def sampler_for(inversion: Inversion, model: Denoiser, batch_size: int | None = None) -> Sampler:
    """On the grid that pictures were inverted on; h may be read elsewhere."""
    setting = replace(inversion.setting, tap=model.tap.name, h_shape=model.h_shape)
    return Sampler.on(model, setting, batch_size=batch_size)


def checkpoint_for(out: Path, resume: bool, save_every: float) -> Checkpoint:
    """The state of a job beside its output, `directions.partial.*.safetensors`; taken away when the job is done."""
    return Checkpoint(out.with_name(f"{out.stem}.partial.safetensors"), every=save_every, resume=resume)


def say(line: str) -> None:
    """A line for the user, on stdout; of several processes the first speaks."""
    if world().first:
        typer.echo(line)
