from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests import tiny

from hspace.diffusion import Latents, SeedLatents
from hspace.diffusion.latents import as_seeds, noise
from hspace.errors import HspaceError

SHAPE = (3, 8, 8)
SEEDS = st.lists(st.integers(0, 2**64), min_size=1, max_size=6)


@given(seeds=SEEDS, timestep=st.integers(0, 999), data=st.data())
def test_a_sample_is_its_seed_in_any_order_and_batch(seeds: list[int], timestep: int, data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(seeds) - 1), min_size=1, max_size=6))
    latents = SeedLatents(tuple(seeds), SHAPE)
    for part in (latents[rows], latents[1:]):
        for row, seed in enumerate(part.seeds):
            alone = SeedLatents((seed,), SHAPE)
            assert torch.equal(part.x_T()[row], alone.x_T()[0])
            assert torch.equal(part.z(timestep)[row], alone.z(timestep)[0])
    assert torch.equal(latents[rows].x_T(), latents.x_T()[rows])
    assert torch.equal(latents[rows].z(timestep), latents.z(timestep)[rows])


def test_no_stream_touches_another() -> None:
    """x_T and z of neighbouring seeds and timesteps, also where seeds differ above 32 or 64 bits."""
    seeds = [0, 1, 2, 3, 7, 7 + 2**32, 7 + 3 * 2**32, 2**64 + 7, 2**128 + 7, 2**32, 3 * 2**32]
    streams = torch.cat([noise(seeds, stream, (8, 64)).flatten(1) for stream in (0, 1, 2, 3, 1000)])
    correlation = np.corrcoef(streams.numpy()) - np.eye(len(streams))
    assert np.abs(correlation).max() < 5.5 / np.sqrt(512)


def test_noise_of_one_seed_is_not_the_start_of_the_next() -> None:
    """As in the public code of Haas et al."""
    latents = SeedLatents(tuple(range(20)), SHAPE)
    starts = {row.numpy().tobytes() for row in latents.x_T()}
    assert len(starts) == 20
    for timestep in range(20):
        assert starts.isdisjoint(row.numpy().tobytes() for row in latents.z(timestep))


def test_five_thousand_seeds_are_five_thousand_starts() -> None:
    """The public code's seeds ran into a cycle."""
    starts = noise(range(5000), 0, (1, 2, 2))
    assert len(starts.flatten(1).unique(dim=0)) == 5000


def test_numbers_are_standard_normal() -> None:
    drawn = noise(range(100), 3, (10_000,)).double()
    assert drawn.mean().abs() < 5e-3
    assert (drawn.var() - 1).abs() < 8e-3
    assert (drawn**4).mean() == pytest.approx(3, abs=0.06)
    normal = torch.distributions.Normal(0.0, 1.0)
    uniform = normal.cdf(drawn.flatten()).sort().values
    distance = (uniform - torch.linspace(0, 1, len(uniform), dtype=torch.float64)).abs().max()
    assert distance < 2 / len(uniform) ** 0.5  # Kolmogorov-Smirnov, p = 0.0007


def test_noise_stays_as_it_is() -> None:
    """Figures and directions name their seeds: another generator would change every picture of theirs."""
    np.testing.assert_allclose(noise([0], 0, (3,))[0], [2.130971, 3.4456377, -0.0092564885], rtol=1e-6)
    assert noise([0], 0, (3,)).dtype == torch.float32


def test_seed_latents_are_latents() -> None:
    assert isinstance(SeedLatents((1,), SHAPE), Latents)
    assert not isinstance([1, 2], Latents)


@pytest.mark.parametrize("seeds", [range(3), [0, 1, 2], (0, 1, 2), np.arange(3), iter([0, 1, 2])])
def test_seeds_of_any_kind(seeds: object) -> None:
    with tiny.unchecked_types():
        taken = as_seeds(seeds)
    assert taken == (0, 1, 2)
    assert all(type(seed) is int for seed in taken)


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ([], "no seeds: at least 1 sample is needed"),
        (range(0), "no seeds"),
        ([0, -1], "seeds must be non-negative integers, not -1"),
        ([0.5], "seeds must be non-negative integers, not 0.5"),
        (["1"], "seeds must be non-negative integers, not '1'"),
    ],
)
def test_what_is_no_seed(seeds: object, message: str) -> None:
    with tiny.unchecked_types(), pytest.raises(HspaceError, match=message):
        as_seeds(seeds)
