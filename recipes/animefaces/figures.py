"""The strip of docs/animefaces.md that no single command draws."""

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
SEEDS = (10, 13)
"""The one whose Jacobian it is, and another."""


def draw(work: Path, docs: Path) -> None:
    """A row for each part of the face: its leading direction at the first of the timesteps."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from own_network import animefaces64

    found = {part: hspace.Directions.load(work / f"{part}.safetensors") for part in BOXES}
    rows = [directions[0].renamed(part) for part, directions in found.items()]
    sampler = hspace.Sampler.on(animefaces64().to(dtype=torch.bfloat16), rows[0].setting)
    with writing(docs / "anime-jacobian.png") as partial:
        strip(sampler, SEEDS, rows, STRENGTHS).save(partial)
