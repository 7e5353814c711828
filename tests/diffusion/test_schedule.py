from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from hypothesis import assume, given
from hypothesis import strategies as st
from tests import tiny

import hspace
from hspace.diffusion import Schedule, make_schedule
from hspace.diffusion.schedule import grid
from hspace.errors import HspaceError

SPACINGS = ("leading", "trailing", "linspace")
MODEL = tiny.denoiser()


@given(
    train=st.integers(1, 1000), steps=st.integers(1, 1000), spacing=st.sampled_from(SPACINGS), offset=st.integers(0, 1)
)
def test_grids_are_those_of_diffusers(train: int, steps: int, spacing: Any, offset: int) -> None:
    assume(steps <= train)
    scheduler = DDIMScheduler(num_train_timesteps=train, timestep_spacing=spacing, steps_offset=offset)
    scheduler.set_timesteps(steps)
    assert grid(train, steps, spacing, steps_offset=offset) == tuple(scheduler.timesteps.tolist())[:steps]


@given(train=st.integers(1, 1000), steps=st.integers(1, 1000), spacing=st.sampled_from(SPACINGS))
def test_grids_go_down_without_repeats_within_the_training_schedule(train: int, steps: int, spacing: Any) -> None:
    assume(steps <= train)
    timesteps = grid(train, steps, spacing)
    assert len(timesteps) == steps
    assert all(a > b for a, b in pairwise(timesteps))
    assert 0 <= timesteps[-1] <= timesteps[0] < train


@given(start=st.integers(0, 999), steps=st.integers(1, 1000))
def test_a_grid_can_start_below_the_last_timestep(start: int, steps: int) -> None:
    assume(steps <= start + 1)
    timesteps = grid(1000, steps, start=start)
    assert (timesteps[0], len(timesteps), len(set(timesteps))) == (start, steps, steps)
    assert timesteps == grid(start + 1, steps, "trailing")


def test_the_models_own_start_holds_unless_another_is_given() -> None:
    model = tiny.plain_denoiser(start=80)
    assert make_schedule(model, 4).timesteps == grid(100, 4, start=80)
    assert make_schedule(model, 4, start=60).timesteps[0] == 60


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_sigmas_are_those_of_ddpm(spacing: Any, eta: float) -> None:
    """diffusers' DDPMScheduler takes the previous element of the grid, as we do; its variance is that of eta = 1."""
    ddpm = tiny.in_double(
        DDPMScheduler(num_train_timesteps=100, beta_start=1e-3, beta_end=0.1, timestep_spacing=spacing)
    )
    ddpm.set_timesteps(7)
    schedule = make_schedule(MODEL, 7, eta, spacing=spacing)
    assert schedule.timesteps == tuple(ddpm.timesteps.tolist())
    expected = [eta * math.sqrt(float(ddpm._get_variance(t))) for t in ddpm.timesteps]
    np.testing.assert_allclose(schedule.sigmas, expected, rtol=1e-9, atol=2e-10)  # it clamps at a variance of 1e-20


def test_alphas_and_what_is_behind_the_last_step() -> None:
    scheduler = tiny.scheduler(set_alpha_to_one=False)
    model = hspace.load((tiny.unet(), scheduler))
    schedule = make_schedule(model, 5)
    assert schedule.alphas == tuple(float(scheduler.alphas_cumprod[t]) for t in (80, 60, 40, 20, 0))
    assert schedule.alphas_prev == (*schedule.alphas[1:], float(scheduler.alphas_cumprod[0]))
    assert schedule.train_timesteps == 100
    assert len(schedule) == 5


@given(etas=st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_eta_scales_sigma_step_by_step(etas: list[float]) -> None:
    full = make_schedule(MODEL, 6, 1.0)
    schedule = make_schedule(MODEL, 6, etas)
    np.testing.assert_allclose(schedule.sigmas, np.array(etas) * full.sigmas, rtol=1e-12)
    assert all(1 - prev - sigma**2 >= -1e-12 for prev, sigma in zip(schedule.alphas_prev, schedule.sigmas, strict=True))


@pytest.mark.parametrize("injection", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("final_alpha", [1.0, None])
def test_gains_are_the_change_of_one_step_over_that_of_the_flow(
    injection: Any, eta: float, final_alpha: float | None
) -> None:
    """By differentiating the step itself, written out with autograd."""
    alphas = tuple(float(a) for a in MODEL.alphas_cumprod[[90, 60, 25, 3]])
    schedule = Schedule((90, 60, 25, 3), alphas, final_alpha or alphas[-1], (eta,) * 4, 100)
    gains = schedule.gains(injection)
    for row, (alpha, prev, sigma) in enumerate(zip(alphas, schedule.alphas_prev, schedule.sigmas, strict=True)):
        eps = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
        x_0 = (1.0 - math.sqrt(1 - alpha) * eps) / math.sqrt(alpha)
        kept = eps if injection == "symmetric" else eps.detach()
        x_prev = math.sqrt(prev) * x_0 + math.sqrt(1 - prev - sigma**2) * kept
        (slope,) = torch.autograd.grad(x_prev / math.sqrt(prev), eps)
        flow = math.sqrt((1 - alpha) / alpha) - math.sqrt((1 - prev) / prev)
        assert gains[row] == (pytest.approx(-float(slope) / flow, rel=1e-9) if flow > 0 else 1.0)


def test_gains_of_ddim_are_one_and_asymmetric_ones_grow_with_the_steps() -> None:
    np.testing.assert_allclose(make_schedule(MODEL, 20, 0.0).gains("symmetric"), 1, rtol=1e-9)
    ratio = [float(np.mean(make_schedule(MODEL, steps, 0.0).gains("asymmetric"))) for steps in (10, 20, 40)]
    assert ratio[0] < ratio[1] < ratio[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"steps": -3}, "steps must be at least 1, not -3"),
        ({"steps": 101}, "101 steps are beyond the training grid, which has 100 timesteps"),
        ({"steps": 51, "start": 49}, "51 steps are beyond the training grid, which has 50 timesteps"),
        ({"steps": 5, "start": 100}, "start must be a timestep from 0 to 99, not 100"),
        ({"steps": 5, "start": -1}, "start must be a timestep from 0 to 99, not -1"),
        ({"steps": 5, "eta": -0.1}, "eta must be within 0 and 1, not -0.1"),
        ({"steps": 5, "eta": 1.1}, "eta must be within 0 and 1, not 1.1"),
        ({"steps": 5, "eta": math.nan}, "eta must be within 0 and 1, not nan"),
        ({"steps": 2, "eta": [0.5, math.nan]}, "eta must be within 0 and 1"),
        ({"steps": 5, "eta": [1.0, 0.0]}, "eta has 2 values for 5 steps"),
    ],
)
def test_grids_that_can_not_be_are_one_clear_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(HspaceError, match=message):
        hspace.Sampler(MODEL, **arguments)


def test_an_offset_can_not_lead_beyond_the_training_grid() -> None:
    model = hspace.load((tiny.unet(), tiny.scheduler(steps_offset=1)))
    assert make_schedule(model, 50).timesteps[0] == 99
    with pytest.raises(HspaceError, match="the grid's first timestep 100 is beyond the training grid's last, 99"):
        make_schedule(model, 100)
