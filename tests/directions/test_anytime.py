"""Directions at any timestep, against numpy and against retiming to a grid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hspace.diffusion import Injection, Setting
from hspace.diffusion.gains import Gains
from hspace.directions import Direction
from hspace.directions.anytime import Interpolated, Rescaled, Share

SettingOf = Callable[..., Setting]

GRIDS = st.lists(st.integers(0, 999), min_size=1, max_size=12, unique=True).map(lambda ts: tuple(sorted(ts)[::-1]))
TIMESTEPS = st.lists(st.floats(0, 1200, width=32), min_size=1, max_size=9)


@given(grid=GRIDS, timesteps=TIMESTEPS)
def test_as_numpy_interpolates(grid: tuple[int, ...], timesteps: list[float]) -> None:
    values = torch.randn(len(grid), 2, dtype=torch.float64, generator=torch.Generator().manual_seed(len(grid)))
    found = Interpolated(grid, values)(torch.tensor(timesteps, dtype=torch.float32))
    for column in range(2):
        expected = np.interp(timesteps, grid[::-1], values[:, column].numpy()[::-1])
        assert found[:, column].numpy() == pytest.approx(expected, abs=1e-5)


@given(grid=GRIDS)
def test_on_the_grid_it_is_the_value_bit_for_bit(grid: tuple[int, ...]) -> None:
    values = torch.randn(len(grid), 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Interpolated(grid, values)(torch.tensor(grid, dtype=torch.float32)), values)


@pytest.mark.parametrize("injection", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("used", [(900, 600, 300, 0), (999, 950, 801, 333, 20), (500,)])
def test_on_any_grid_it_is_the_retimed_direction(
    setting_of: SettingOf, injection: Injection, eta: float, used: tuple[int, ...]
) -> None:
    setting = setting_of(eta=1.0, injection="asymmetric")
    vectors = torch.randn(4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    target = setting_of(used, eta=eta, injection=injection)
    gains = Gains.on(target.schedule)
    found = Rescaled(vectors, setting, lambda: gains, injection)(torch.tensor(used, dtype=torch.float32))
    assert torch.allclose(found, Direction(vectors, setting).retimed(target).vectors, rtol=1e-5)
    plain = Rescaled(vectors, setting, None, injection)(torch.tensor(used, dtype=torch.float32))
    assert torch.allclose(plain, Direction(vectors, setting).retimed(target, rescale=False).vectors, rtol=1e-5)


def test_in_the_steps_that_it_was_found_in_it_is_itself_bit_for_bit(setting_of: SettingOf) -> None:
    for injection in ("symmetric", "asymmetric"):
        setting = setting_of(eta=1.0, injection=injection)
        vectors, gains = torch.randn(4, 2, 3), Gains.on(setting.schedule)
        at = Rescaled(vectors, setting, lambda gains=gains: gains, setting.injection)
        assert torch.equal(at(torch.tensor(setting.timesteps, dtype=torch.float32)), vectors)


def test_gains_may_change_from_call_to_call(setting_of: SettingOf) -> None:
    setting = setting_of(eta=1.0)
    now = [Gains.on(setting.schedule), None, Gains.on(setting.schedule.with_eta(0.5))]
    vectors, timesteps = torch.ones(4, 2, 3), torch.tensor([600.0])
    own = setting.schedule.gains("symmetric")[1]
    at = Rescaled(vectors, setting, lambda: now[0], "symmetric")
    for gains, gain in zip(list(now), (own, 1.0, setting.schedule.with_eta(0.5).gains("symmetric")[1]), strict=True):
        now[0] = gains
        assert float(at(timesteps)[0, 0, 0]) == pytest.approx(own / gain, rel=1e-5)


def test_the_share_of_an_asymmetric_shift(setting_of: SettingOf) -> None:
    schedule = setting_of(eta=0.5).schedule
    found = Share(lambda: Gains.on(schedule))(torch.tensor(schedule.timesteps, dtype=torch.float32))
    assert found.numpy() == pytest.approx(schedule.gains("asymmetric") / schedule.gains("symmetric"), rel=1e-5)
