"""Conditional models of every family, tiny and real, with what may be asked of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from tests import pipelines

import hspace

__all__ = ["FAMILIES", "GUIDED", "PROMPTED", "STEPS", "Family"]

STEPS = 3


@dataclass(frozen=True, eq=False)
class Family:
    """A family of models.

    Attributes:
        build: A pipeline of it.
        asked: A condition, with guidance where the model can be guided.
        instead: Another one.
    """

    build: Callable[[], Any]
    asked: Mapping[str, Any]
    instead: Mapping[str, Any]

    def load(self, dtype: torch.dtype | None = None, **changes: Any) -> hspace.Denoiser:
        """The model under its condition, on the CPU; the same one every time, which nobody changes."""
        return _loaded(self, dtype, tuple(sorted({**self.asked, **changes}.items())))

    def sampler(self, eta: float = 0.0, dtype: torch.dtype | None = None, **changes: Any) -> hspace.Sampler:
        """On a few steps."""
        return hspace.Sampler(self.load(dtype, **changes), STEPS, eta, batch_size=4)


@cache
def _loaded(family: Family, dtype: torch.dtype | None, asked: tuple[tuple[str, Any], ...]) -> hspace.Denoiser:
    return hspace.load(family.build(), "cpu", dtype, **dict(asked))


_TEXT: dict[str, Any] = {"prompt": "a cat", "negative_prompt": "a dog", "guidance_scale": 3.0}
_OTHER = {"prompt": "a house by the sea", "negative_prompt": "rain", "guidance_scale": 5.0}
PROMPTED: dict[str, Family] = {
    "stable diffusion, epsilon": Family(pipelines.stable_diffusion, _TEXT, _OTHER),
    "stable diffusion, v": Family(partial(pipelines.stable_diffusion, "v_prediction"), _TEXT, _OTHER),
    "stable diffusion xl": Family(pipelines.stable_diffusion_xl, _TEXT, _OTHER),
}
GUIDED: dict[str, Family] = {
    **PROMPTED,
    "stable diffusion 3": Family(pipelines.stable_diffusion_3, _TEXT, _OTHER),
    "dit": Family(pipelines.dit, {"label": 3, "guidance_scale": 4.0}, {"label": 8, "guidance_scale": 2.0}),
}
FAMILIES: dict[str, Family] = {
    **GUIDED,
    "class-conditional": Family(partial(pipelines.ddim, num_class_embeds=3), {"label": 1}, {"label": 2}),
    "learned variance": Family(partial(pipelines.ddim, num_class_embeds=3, out_channels=6), {"label": 0}, {"label": 1}),
}
