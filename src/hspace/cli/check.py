"""`hspace check`: whether a model is what the package relies on, an adapter of your own above all."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import torch
import typer

from hspace.cli import options
from hspace.cli.session import open_model, say
from hspace.errors import HspaceError
from hspace.testing import check_denoiser

__all__ = ["command"]


def command(
    model: Annotated[str, typer.Argument(help="file.py:function, a diffusers folder, a hub id, or faces64.")],
    asked: options.Asked = options.NOTHING,
    tap: options.Tap = None,
    half: Annotated[
        str | None, typer.Option(help="bfloat16 or float16: also whether the network computes in it.")
    ] = None,
    device: options.Device = None,
    computing: options.Computing = options.FLOAT32,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Check what the package relies on in a model, line by line; exit code 1 where something fails."""
    precision = None if half is None else options.parse_dtype(half)
    if precision not in (None, torch.bfloat16, torch.float16):
        raise HspaceError(f"--half must be bfloat16 or float16, not {half!r}")
    denoiser = open_model(model, tap, device, computing, asked)
    report = check_denoiser(denoiser, half=precision, raises=False, progress=True)
    if as_json:
        say(json.dumps({"model": report.model_id, "checks": [asdict(check) for check in report.checks]}, indent=2))
    else:
        say(str(report))
    if not report.passed:
        raise typer.Exit(1)
