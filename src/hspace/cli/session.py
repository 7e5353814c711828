"""What commands do first and last: open a model and a sampler, say a line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from hspace.cli.options import NOTHING, Asked, Computing, parse_eta
from hspace.diffusion import Inversion, Sampler
from hspace.errors import HspaceError
from hspace.jobs import Checkpoint, world
from hspace.models import Condition, Denoiser, load

__all__ = ["NO_STATE", "checkpoint_for", "open_model", "open_sampler", "sampler_for", "say"]

NO_STATE = {"resume": None, "save_every": None}
"""For `reproducible`: the same command without a break comes to the same."""


def open_model(
    name: str,
    tap: str | None,
    device: str | None,
    computing: Computing,
    asked: Asked = NOTHING,
    found: Condition | None = None,
) -> Denoiser:
    """The model of `--model`, its notes said. Processes of a launcher find each other first.

    Args:
        name: Of `--model`.
        tap: Where h is.
        device: Of `--device`.
        computing: In which precision, and how.
        asked: Prompt or class.
        found: That of directions, a photo or a recipe, which holds where nothing else is asked for.

    Raises:
        HspaceError: What `load` refuses; a class-conditional model without a class.
    """
    world(device)
    given = asked.given()
    model = load(name, device=device, tap=tap, **computing.given())
    if found is not None:
        model = model.under(found)
    if given:
        model = model.conditioned(**given)
    if model.conditioner is not None and model.condition is None:
        raise HspaceError(f"{name} needs {model.conditioner.wanted}: give --label")
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


def checkpoint_for(out: Path, resume: bool, save_every: float, **about: Any) -> Checkpoint:
    """The state of a job beside its output, `directions.partial.*.safetensors`; taken away when the job is done.

    Args:
        out: The output.
        resume: Of `--resume`.
        save_every: Of `--save-every`.
        about: Options that the job itself can't tell from others, such as the name of a scorer.
    """
    path = out.with_name(f"{out.stem}.partial.safetensors")
    return Checkpoint(path, every=save_every, resume=resume, about=about)


def say(line: str) -> None:
    """A line for the user, on stdout; of several processes the first speaks."""
    if world().first:
        typer.echo(line)
