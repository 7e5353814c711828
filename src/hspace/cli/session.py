"""What commands do first and last: open a model and a sampler, say a line."""

from __future__ import annotations

from dataclasses import replace

import typer

from hspace.cli.options import parse_dtype, parse_eta
from hspace.diffusion import Inversion, Sampler
from hspace.models import Denoiser, load

__all__ = ["open_model", "open_sampler", "sampler_for", "say"]


def open_model(name: str, tap: str | None, device: str | None, dtype: str) -> Denoiser:
    """The model of `--model`, its notes said."""
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


def say(line: str) -> None:
    """A line for the user, on stdout."""
    typer.echo(line)
