"""The strips of docs/animefaces.md that no single command draws."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from commands import BOXES

import hspace
from hspace.atomic import writing
from hspace.plot import strip

__all__ = ["draw"]

STRENGTHS = (-4.0, -2.0, 0.0, 2.0, 4.0)
OWN, OTHER = 10, 13
"""Seeds: the one whose Jacobian it is, and another."""
SHOWN = (300, 303)
STEPS = 15


def draw(work: Path, docs: Path) -> None:
    """All that the working folder has the directions for."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from own_network import animefaces64

    model = animefaces64().to(dtype=torch.bfloat16)
    if all((work / f"{part}.safetensors").exists() for part in BOXES):
        _local(model, work, docs / "anime-jacobian.png")
    if (work / "learned.safetensors").exists():
        _learned(model, work, docs / "anime-learned.png")


def _local(model: hspace.Denoiser, work: Path, out: Path) -> None:
    """A row for each part: its leading direction at the first of the timesteps."""
    found = {part: hspace.Directions.load(work / f"{part}.safetensors") for part in BOXES}
    rows = [directions[0].renamed(part) for part, directions in found.items()]
    sampler = hspace.Sampler.on(model, rows[0].setting)
    with writing(out) as partial:
        strip(sampler, [OWN, OTHER], rows, STRENGTHS).save(partial)


def _learned(model: hspace.Denoiser, work: Path, out: Path) -> None:
    """Retimed to a grid of more steps, on which pictures are clean."""
    directions = hspace.Directions.load(work / "learned.safetensors")
    sampler = hspace.Sampler(model, STEPS, 1.0)
    with writing(out) as partial:
        strip(sampler, SHOWN, directions, STRENGTHS[::2]).save(partial)
