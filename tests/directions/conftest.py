"""Settings without a model, and models whose answer to a shift of h is known in closed form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import hspace
from hspace.diffusion import Schedule, Setting

SettingOf = Callable[..., Setting]

TRAIN = 1000


@pytest.fixture(scope="session")
def setting_of() -> SettingOf:
    """A setting on a cosine schedule; any field can be given."""

    def make(
        timesteps: tuple[int, ...] = (900, 600, 300, 0),
        eta: float = 0.0,
        h_shape: tuple[int, ...] = (2, 3),
        **more: Any,
    ) -> Setting:
        alphas = tuple(float(np.cos((t + 8) / (TRAIN + 16) * np.pi / 2) ** 2) for t in timesteps)
        schedule = Schedule(timesteps, alphas, 1.0, (eta,) * len(timesteps), TRAIN)
        fields = {"model_id": "tiny", "weight_hash": "0" * 16, "tap": "mid_block", **more}
        return Setting(**fields, h_shape=h_shape, schedule=schedule)

    return make


class _Gaussian(nn.Module):
    """The ideal denoiser of pictures from N(0, 10^2): h is eps itself, so a shift of h is a change of eps.

    With so wide a distribution the model keeps a change once it is made, instead of pulling it back to the mean.
    """

    def __init__(self, alphas: Tensor) -> None:
        super().__init__()
        self.alphas = nn.Parameter(alphas)
        self.inner = nn.Identity()

    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        alpha = self.alphas[timesteps][:, None, None, None]
        eps: Tensor = self.inner((1 - alpha).sqrt() / (100.0 * alpha + 1 - alpha) * x_t)
        return eps


@pytest.fixture(scope="session")
def gaussian() -> hspace.Denoiser:
    """A linear model, float64, on a cosine schedule; h is (1, 2, 2)."""
    t = torch.arange(TRAIN, dtype=torch.float64)
    alphas = torch.cos((t + 8) / (TRAIN + 16) * torch.pi / 2) ** 2
    return hspace.Denoiser(_Gaussian(alphas), alphas, image_shape=(1, 2, 2), tap="inner", spacing="trailing")
