"""What a training needs, made of the tiny U-Net."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests import tiny

import hspace
from hspace.learning import Population, Span

MakePopulation = Callable[[hspace.Sampler], Population]


@pytest.fixture(scope="session")
def sampler() -> hspace.Sampler:
    """8 px, 3 steps, h is (8, 4, 4), float32."""
    return hspace.Sampler(tiny.denoiser(dtype=torch.float32), 3, 0.0, batch_size=8)


@pytest.fixture(scope="session")
def population(sampler: hspace.Sampler, make_population: MakePopulation) -> Population:
    return make_population(sampler)


@pytest.fixture(scope="session")
def make_population() -> MakePopulation:
    return _population


def _population(sampler: hspace.Sampler, n: int = 12, r: int = 6) -> Population:
    """Samples with the span of the first components of their h; its unit is in the dtype of the model."""
    seen: dict[int, list[torch.Tensor]] = {timestep: [] for timestep in sampler.timesteps}
    images = sampler.run(range(n), record=lambda timestep, h, _: seen[timestep].append(h.flatten(1).double()))
    h = torch.stack([torch.cat(seen[timestep]) for timestep in sampler.timesteps])
    mean = h.mean(1)
    _, singular, axes = torch.linalg.svd(h - mean[:, None], full_matrices=False)
    rms = (h - mean[:, None]).square().mean((1, 2)).sqrt()
    parts = (mean, rms, axes[:, :r].contiguous(), singular[:, :r] / (n - 1) ** 0.5)
    return Population(tuple(range(n)), images.float(), Span(*(x.to(sampler.model.state_dtype) for x in parts)))
