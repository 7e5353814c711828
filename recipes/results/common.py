"""What the stages share: the model, the sampler, files in the working folder, scores of edited samples."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import hspace
from hspace.atomic import writing
from hspace.attributes import PortraitScorer, load_scorer
from hspace.directions import Direction, Edit
from hspace.faces import render_seeds

STEPS = 20
SEVEN = ("smile", "mouth_open", "age", "glasses", "hair_length", "beard", "yaw")
COLOURS = ("skin", "hair_tone")
"""Found too, to be projected out."""
DECODER = "up_blocks.1"
"""A tap in the decoder, h there of 128 x 32 x 32: it moves factors that the bottleneck does not (stage "variants")."""
CONTESTS = ("mid_block", "up_blocks.0")
"""Taps that methods are compared at."""
FRESH = range(10_000, 10_064)
"""Seeds that no direction was found with."""


@dataclass
class Work:
    """The working folder, and what is loaded once.

    Samples are DDIM's (eta 0) and shifts go in asymmetrically, as in `hspace demo`: both move a picture further.
    """

    folder: Path
    docs: Path
    dtype: torch.dtype

    @cached_property
    def model(self) -> hspace.Denoiser:
        return hspace.load("faces64", dtype=self.dtype)

    @cached_property
    def scorer(self) -> PortraitScorer:
        return load_scorer("portraits")

    def sampler(self, eta: float = 0.0, *, tap: str = "mid_block") -> hspace.Sampler:
        return hspace.Sampler(self.model.tapped(tap), STEPS, eta)

    def read(self, stage: str) -> Any:
        return json.loads((self.folder / f"{stage}.json").read_text())

    def write(self, stage: str, found: Any) -> None:
        with writing(self.folder / f"{stage}.json") as partial:
            partial.write_text(json.dumps(found, indent=1) + "\n")

    def directions(self, name: str) -> hspace.Directions:
        return hspace.Directions.load(self.folder / f"{name}.safetensors")

    def table(self, sampler: hspace.Sampler, edits: Sequence[Direction | Edit | None], seeds: Sequence[int]) -> Tensor:
        """(edits, seeds, factors) scores of every edit on every seed, one batched run."""
        rows = [edit for edit in edits for _ in seeds]
        scores = [self.scorer.table(images.float()) for _, images in sampler.stream(list(seeds) * len(edits), rows)]
        return torch.cat(scores).reshape(len(edits), len(seeds), -1).cpu()


def portraits(seeds: Sequence[int]) -> Tensor:
    """Rendered portraits in [-1, 1]."""
    return torch.from_numpy(render_seeds(seeds)).permute(0, 3, 1, 2) / 127.5 - 1


def say(line: str) -> None:
    print(line, flush=True, file=sys.stderr)
