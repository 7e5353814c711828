"""A tiny real U-Net, and a network whose h is known in closed form."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from tests.tiny import unet
from torch import Tensor, nn

import hspace

StoredH = Callable[[hspace.Sampler, Sequence[int]], Tensor]
Scaled = Callable[[Tensor], hspace.Denoiser]

ALPHAS = torch.linspace(0.999, 0.02, 40, dtype=torch.float64)


@pytest.fixture(scope="session")
def tiny() -> hspace.Denoiser:
    """8 px pictures, h is (8, 4, 4), float64."""
    return hspace.Denoiser(unet(), ALPHAS, image_shape=(3, 8, 8), model_id="tiny")


@pytest.fixture(scope="session")
def sampler(tiny: hspace.Denoiser) -> hspace.Sampler:
    return hspace.Sampler(tiny, steps=3, eta=1.0, batch_size=16)


@pytest.fixture(scope="session")
def stored_h() -> StoredH:
    """All h of some seeds at once, (S, n, d): what the package itself never holds."""

    def store(sampler: hspace.Sampler, seeds: Sequence[int]) -> Tensor:
        seen: dict[int, list[Tensor]] = {timestep: [] for timestep in sampler.timesteps}
        sampler.run(seeds, record=lambda timestep, h, _: seen[timestep].append(h.flatten(1)))
        return torch.stack([torch.cat(seen[timestep]) for timestep in sampler.timesteps])

    return store


class _Scaled(nn.Module):
    """eps = 0, and h_t = gains[t] * x_t: with eta 0 every h_t is x_T, stretched along the axes."""

    def __init__(self, gains: Tensor) -> None:
        super().__init__()
        self.gains = nn.Parameter(gains)
        self.inner = nn.Identity()

    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        h: Tensor = self.inner(self.gains[timesteps][:, :, None, None] * x_t)
        return 0.0 * h


@pytest.fixture(scope="session")
def scaled() -> Scaled:
    """The model of gains (T, channels)."""

    def make(gains: Tensor) -> hspace.Denoiser:
        alphas = torch.linspace(0.99, 0.1, len(gains), dtype=torch.float64)
        return hspace.Denoiser(_Scaled(gains.double()), alphas, image_shape=(gains.shape[1], 1, 1), tap="inner")

    return make
