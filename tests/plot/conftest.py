"""Small real models to draw with."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import hspace
from hspace.directions import Direction, Directions

SamplerOf = Callable[..., hspace.Sampler]


class _Network(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(channels, 4, 3, padding=1)
        self.outer = nn.Conv2d(4, channels, 3, padding=1)

    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        eps: Tensor = self.outer(self.inner(x_t).tanh())
        return eps


@pytest.fixture(scope="session")
def sampler_of() -> SamplerOf:
    """A sampler of 2 steps for pictures of a shape; h is (4, y, x)."""

    def make(shape: tuple[int, int, int] = (3, 8, 8)) -> hspace.Sampler:
        torch.manual_seed(0)
        alphas = torch.linspace(0.99, 0.1, 20, dtype=torch.float64)
        return hspace.Sampler(hspace.Denoiser(_Network(shape[0]), alphas, image_shape=shape, tap="inner"), steps=2)

    return make


@pytest.fixture
def sampler(sampler_of: SamplerOf) -> hspace.Sampler:
    return sampler_of()


@pytest.fixture
def directions(sampler: hspace.Sampler) -> Directions:
    """Two of them, large enough to see."""
    vectors = torch.randn(2, 2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    smile, beard = vectors.unbind()
    return Directions([Direction(smile, sampler.setting(), "smile"), Direction(beard, sampler.setting(), "beard")])
