"""Gains of diffusers' schedulers, against their own steps: a change of the prediction goes through `step`."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from tests import tiny

import hspace
from hspace import HspaceError
from hspace.diffusion.gains import Gains, check_asymmetric, eta_of, gains_of

NOISE = {"num_train_timesteps": 100, "beta_start": 1e-3, "beta_end": 0.1}


@pytest.mark.parametrize(("name", "options", "eta"), [
    ("DDIM", {"clip_sample": False}, 0.0),
    ("DDIM", {"clip_sample": False, "timestep_spacing": "trailing"}, 0.7),
    ("DDIM", {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}, 0.0),
    ("DDPM", {"clip_sample": False}, 1.0),
    ("EulerDiscrete", {"timestep_spacing": "leading"}, 0.0),
    ("EulerAncestralDiscrete", {"timestep_spacing": "trailing"}, 1.0),
    ("DPMSolverMultistep", {"solver_order": 1}, 0.0),
    ("DPMSolverMultistep", {"solver_order": 1, "algorithm_type": "sde-dpmsolver++"}, 1.0),
    ("UniPCMultistep", {"solver_order": 1, "disable_corrector": [0, 1, 2, 3, 4]}, 0.0),
])  # fmt: skip
def test_gains_are_what_a_step_does_to_its_prediction(name: str, options: dict[str, Any], eta: float) -> None:
    """A change of eps by d moves x_{t-1} / sqrt(alpha_{t-1}) by -g_t (s_t - s_{t-1}) d."""
    found = []
    for change in (0.0, 1.0):
        scheduler = getattr(diffusers, f"{name}Scheduler")(**NOISE, **options)
        scheduler.set_timesteps(5)
        gains = gains_of(scheduler, eta)
        x_t, stepped = torch.zeros(1, 1, 1, 1), []
        for t in scheduler.timesteps:
            torch.manual_seed(0)
            given = {"eta": eta} if name == "DDIM" else {}
            x_t = scheduler.step(torch.full_like(x_t, change), t, x_t * 0, **given).prev_sample
            stepped.append(float(x_t))
        found.append(np.array(stepped[::-1]))
    assert gains.timesteps.tolist() == sorted(scheduler.timesteps.tolist())
    alphas = np.interp(gains.timesteps, np.arange(100), scheduler.alphas_cumprod.double().numpy())
    final = float(getattr(scheduler, "final_alpha_cumprod", 1.0))
    before = np.append(final, alphas[:-1])
    s, s_before = np.sqrt((1 - alphas) / alphas), np.sqrt((1 - before) / before)
    scale = 1.0 if name.startswith("Euler") else np.sqrt(before)  # Euler's x is divided by it already
    assert found[1] - found[0] == pytest.approx(-gains.symmetric * (s - s_before) * scale, abs=1e-5)
    assert gains.of("asymmetric") == pytest.approx(s / (s - s_before))


def test_they_are_those_of_our_own_schedule() -> None:
    model = tiny.denoiser()
    for eta in (0.0, 1.0):
        schedule = hspace.Sampler(model, 5, eta).schedule
        scheduler = tiny.scheduler()
        scheduler.set_timesteps(5)
        ours, theirs = Gains.on(schedule), gains_of(scheduler, eta)
        assert ours.timesteps.tolist() == theirs.timesteps.tolist() == list(schedule.timesteps[::-1])
        assert ours.symmetric.tolist() == theirs.symmetric.tolist()
        assert ours.asymmetric.tolist() == theirs.asymmetric.tolist()


def test_repeated_timesteps_and_fractions_count_once() -> None:
    pndm = diffusers.PNDMScheduler(**NOISE)
    pndm.set_timesteps(5)
    assert len(pndm.timesteps) > len(set(pndm.timesteps.tolist())) == len(gains_of(pndm, 0.0).timesteps)
    karras = diffusers.EulerDiscreteScheduler(**NOISE, use_karras_sigmas=True)
    karras.set_timesteps(5)
    gains = gains_of(karras, 0.0)
    assert (gains.timesteps % 1).any()
    assert gains.symmetric.tolist() == [1.0] * 5


@pytest.mark.parametrize(("name", "options", "eta"), [
    ("DDIM", {}, 0.0),
    ("DDPM", {}, 1.0),
    ("EulerDiscrete", {}, 0.0),
    ("EulerAncestralDiscrete", {}, 1.0),
    ("UniPCMultistep", {}, 0.0),
    ("DPMSolverMultistep", {}, 0.0),
    ("DPMSolverMultistep", {"algorithm_type": "sde-dpmsolver++"}, 1.0),
])  # fmt: skip
def test_which_schedulers_add_fresh_noise(name: str, options: dict[str, Any], eta: float) -> None:
    class Mine(getattr(diffusers, f"{name}Scheduler")):  # type: ignore[misc]
        pass

    assert eta_of(Mine(**options)) == eta


def test_a_scheduler_without_alphas_cumprod() -> None:
    with pytest.raises(HspaceError, match="FlowMatchEulerDiscreteScheduler has no alphas_cumprod"):
        gains_of(diffusers.FlowMatchEulerDiscreteScheduler(), 0.0)


def test_schedulers_that_ask_between_their_steps_have_no_asymmetric_gain() -> None:
    message = r"PNDMScheduler asks the network between its steps, .*: set skip_prk_steps=True"
    with pytest.raises(HspaceError, match=message):
        check_asymmetric(diffusers.PNDMScheduler())
    with pytest.raises(HspaceError, match=r"KDPM2DiscreteScheduler asks .*: take another one"):
        check_asymmetric(diffusers.KDPM2DiscreteScheduler())
    for scheduler in (diffusers.PNDMScheduler(skip_prk_steps=True), diffusers.HeunDiscreteScheduler()):
        check_asymmetric(scheduler)
