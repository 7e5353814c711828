"""The sampler against diffusers' own loops, against closed forms, and against loops written out by hand."""

from __future__ import annotations

import math
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMPipeline, DDPMScheduler, DPMSolverMultistepScheduler
from tests import tiny
from torch import Tensor

import hspace
from hspace.errors import HspaceError
from hspace.models import Denoiser

SEEDS = (3, 1, 4)


def close(a: Tensor, b: Tensor, atol: float = 1e-10) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def ddim(sampler: hspace.Sampler, scheduler: Any, etas: Sequence[float], seeds: Sequence[int] = SEEDS) -> Tensor:
    """diffusers' DDIM loop with the noise of our seeds."""
    latents = sampler.latents(seeds)
    exact = tiny.in_double(scheduler)
    exact.set_timesteps(len(etas))
    x_t = latents.x_T().double()
    for t, eta in zip(exact.timesteps, etas, strict=True):
        output = sampler.model.network(x_t, t).sample
        noise = latents.z(int(t)).double() if eta > 0 else None
        x_t = exact.step(output, t, x_t, eta=eta, variance_noise=noise).prev_sample
    return x_t


@pytest.mark.parametrize("prediction_type", tiny.PREDICTION_TYPES)
@pytest.mark.parametrize("eta", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(
    "schedule",
    [
        {"timestep_spacing": "leading"},
        {"timestep_spacing": "leading", "steps_offset": 1, "set_alpha_to_one": False},
        {"timestep_spacing": "trailing"},
        {"timestep_spacing": "trailing", "beta_schedule": "squaredcos_cap_v2"},
        {"timestep_spacing": "leading", "beta_schedule": "scaled_linear"},
    ],
    ids=lambda schedule: "-".join(map(str, schedule.values())),
)
def test_ddim_of_diffusers(prediction_type: str, eta: float, schedule: dict[str, Any]) -> None:
    model = tiny.denoiser(prediction_type, schedule=schedule)
    sampler = hspace.Sampler(model, steps=5, eta=eta)
    expected = ddim(sampler, tiny.scheduler(prediction_type, **schedule), [eta] * 5)
    # relative: a cosine schedule's last alpha makes x_0 large where eps is predicted
    torch.testing.assert_close(sampler.run(SEEDS), expected, rtol=1e-9, atol=1e-9)


def test_eta_of_every_step() -> None:
    etas = [1.0, 0.0, 0.7, 0.0, 0.2]
    sampler = hspace.Sampler(tiny.denoiser(), steps=5, eta=etas)
    close(sampler.run(SEEDS), ddim(sampler, tiny.scheduler(), etas))


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [7, 30, 100])
def test_ddpm_of_diffusers_is_eta_one(spacing: str, steps: int) -> None:
    """Also on uneven grids: like us (and unlike its DDIM) it takes the previous element of the grid."""
    options = {"num_train_timesteps": 100, "beta_start": 1e-3, "beta_end": 0.1, "clip_sample": False}
    scheduler = DDPMScheduler(timestep_spacing=spacing, variance_type="fixed_small", **options)
    model = hspace.load((tiny.unet(), scheduler))
    sampler = hspace.Sampler(model, steps=steps, eta=1.0)
    x_t = sampler.latents(SEEDS).x_T().double()
    start, noise = x_t, {}
    exact, generator = tiny.in_double(scheduler), torch.Generator()
    exact.set_timesteps(steps)
    for t in exact.timesteps:
        noise[int(t)] = torch.randn(x_t.shape, generator=generator.manual_seed(int(t)), dtype=torch.float64)
        x_t = exact.step(model.network(x_t, t).sample, t, x_t, generator=generator.manual_seed(int(t))).prev_sample
    close(sampler.run(tiny.FixedLatents(start, noise)), x_t, atol=1e-8)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside diffusers
@pytest.mark.parametrize("options", [{"spacing": "linspace"}, {"start": 70}, {"start": 98, "spacing": "leading"}])
def test_dpm_solver_of_first_order_is_ddim_on_any_grid(options: dict[str, Any]) -> None:
    sampler = hspace.Sampler(tiny.denoiser("v_prediction"), steps=8, eta=0.0, **options)
    scheduler = DPMSolverMultistepScheduler.from_config(
        tiny.scheduler("v_prediction").config, solver_order=1, algorithm_type="dpmsolver++", final_sigmas_type="zero"
    )
    scheduler.set_timesteps(timesteps=list(sampler.timesteps))
    x_t = sampler.latents(SEEDS).x_T().double()
    for t in scheduler.timesteps:
        x_t = scheduler.step(sampler.model.network(x_t, t).sample, t, x_t).prev_sample
    close(sampler.run(SEEDS), x_t.double(), atol=1e-5)  # its sigmas are float32


def test_the_pipeline_of_diffusers() -> None:
    pipeline = DDIMPipeline(tiny.unet(), tiny.scheduler())
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    pictures = pipeline(batch_size=3, generator=generator, eta=0.0, num_inference_steps=10, output_type="np").images
    x_T = torch.randn(3, *tiny.IMAGE_SHAPE, generator=generator.manual_seed(0), dtype=torch.float64)
    x_0 = hspace.Sampler(hspace.load(pipeline), 10, 0.0).run(tiny.FixedLatents(x_T, {}))
    close((x_0 / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1), torch.as_tensor(pictures), atol=1e-5)


MEAN, STD = 0.4, 0.3


def test_ddim_follows_the_flow_of_a_gaussian_to_its_quantiles() -> None:
    """The flow maps x_T, in units of its own marginal, to x_0 in units of N(mu, s^2); DDIM is its Euler method."""
    model = tiny.gaussian_denoiser(MEAN, STD)
    error = {}
    for steps in (50, 500):
        sampler = hspace.Sampler(model, steps, eta=0.0)
        alpha = sampler.schedule.alphas[0]
        x_T = sampler.latents(SEEDS).x_T().double()
        exact = MEAN + STD * (x_T - math.sqrt(alpha) * MEAN) / math.sqrt(alpha * STD**2 + 1 - alpha)
        error[steps] = float((sampler.run(SEEDS) - exact).abs().max())
    assert error[500] < 0.01
    assert error[500] < 0.15 * error[50]


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_stochastic_sampling_has_the_mean_and_variance_of_the_data(eta: float) -> None:
    """Every step is linear in x_t, x_{t-1} = slope (x_t - E x_t) + E x_{t-1} + sigma z: mean and variance are known."""
    sampler = hspace.Sampler(tiny.gaussian_denoiser(MEAN, STD, size=32), 250, eta=eta)
    schedule = sampler.schedule
    mean, variance = 0.0, 1.0
    for alpha, prev, sigma in zip(schedule.alphas, schedule.alphas_prev, schedule.sigmas, strict=True):
        eps_slope = math.sqrt(1 - alpha) / (alpha * STD**2 + 1 - alpha)
        x_0_slope = (1 - math.sqrt(1 - alpha) * eps_slope) / math.sqrt(alpha)
        slope = math.sqrt(prev) * x_0_slope + math.sqrt(1 - prev - sigma**2) * eps_slope
        mean = math.sqrt(prev) * MEAN + slope * (mean - math.sqrt(alpha) * MEAN)
        variance = slope**2 * variance + sigma**2
    x_0 = sampler.run(range(16)).flatten()
    assert float(x_0.mean()) == pytest.approx(mean, abs=4 * STD / len(x_0) ** 0.5)
    assert float(x_0.std()) == pytest.approx(math.sqrt(variance), rel=4 / (2 * len(x_0)) ** 0.5)
    assert mean == pytest.approx(MEAN, abs=1e-3)
    assert math.sqrt(variance) == pytest.approx(STD, rel=0.05)  # from below: steps of DDPM lose some variance
    assert float((((x_0 - mean) / math.sqrt(variance)) ** 4).mean()) == pytest.approx(3, abs=0.2)


@pytest.mark.parametrize("prediction_type", tiny.PREDICTION_TYPES)
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("injection", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("tap", ["mid_block", "before", "down_blocks.0", "up_blocks.0"])
def test_injection_against_two_full_passes(prediction_type: str, eta: float, injection: Any, tap: str) -> None:
    model = tiny.denoiser(prediction_type, tap=tap)
    sampler = hspace.Sampler(model, steps=5, eta=eta)
    shifts = tiny.h_shifts(model, sampler.timesteps[1:4])  # the first and the last step stay as they are
    latents = sampler.latents(SEEDS)
    x_t = latents.x_T().double()
    seen: list[Tensor] = []
    for t, alpha, prev in zip(sampler.timesteps, sampler.schedule.alphas, sampler.schedule.alphas_prev, strict=True):
        h = model.observe(x_t, t)[1]
        seen.append(h)
        plain, shifted = model.predict(x_t, t), model.predict(x_t, t, shift=shifts.get(t))
        sigma = eta * math.sqrt((1 - prev) / (1 - alpha)) * math.sqrt(1 - alpha / prev)
        direction = math.sqrt(1 - prev - sigma**2) * (shifted if injection == "symmetric" else plain).eps
        x_t = math.sqrt(prev) * shifted.x_0 + direction + sigma * latents.z(t).double()
    recorded: list[Tensor] = []
    x_0 = sampler.run(SEEDS, tiny.Shift(shifts, injection), record=lambda t, h, rows: recorded.append(h))
    close(x_0, x_t)
    assert not torch.allclose(x_0, sampler.run(SEEDS), atol=1e-4)
    for expected, h in zip(seen, recorded, strict=True):  # h is that of the edited run, before the shift
        close(h, expected)


def test_asymmetric_injection_runs_the_encoder_once_and_the_decoder_for_both() -> None:
    model = tiny.denoiser()
    sampler = hspace.Sampler(model, steps=4)
    edit = tiny.Shift(tiny.h_shifts(model, sampler.timesteps), "asymmetric")
    sampler.run([0], edit)
    rows: dict[str, list[int]] = {"down_blocks.0.resnets.0": [], "up_blocks.0": []}
    for name, seen in rows.items():
        model.network.get_submodule(name).register_forward_pre_hook(
            lambda _, args, kwargs, seen=seen: seen.append(len((*args, *kwargs.values())[0])), with_kwargs=True
        )
    sampler.run(SEEDS, edit)
    assert rows == {"down_blocks.0.resnets.0": [3] * 4, "up_blocks.0": [3] * 8}


@pytest.mark.parametrize("batch_size", [1, 2, 5, 8])
@pytest.mark.parametrize("make", [tiny.denoiser, tiny.plain_denoiser])
def test_h_is_streamed_to_the_recorder(batch_size: int, make: Any) -> None:
    """Against a forward hook in diffusers' loop; every row of every timestep comes once."""
    model: Denoiser = make()
    sampler = hspace.Sampler(model, steps=4, eta=0.0, batch_size=batch_size)
    h_of: dict[int, Tensor] = {
        t: torch.full((5, *model.h_shape), torch.nan, dtype=torch.float64) for t in sampler.timesteps
    }
    order: list[tuple[int, int]] = []

    def record(timestep: int, h: Tensor, rows: slice) -> None:
        assert h_of[timestep][rows].isnan().all()
        h_of[timestep][rows] = h
        order.append((rows.start, -timestep))

    x_0 = sampler.run(range(5), record=record)
    assert order == sorted(order)
    seen: list[Tensor] = []
    handle = model.tap.module.register_forward_hook(lambda _, __, h: seen.append(h.clone()))
    x_t, scheduler = sampler.latents(range(5)).x_T().double(), tiny.in_double(tiny.scheduler())
    scheduler.set_timesteps(4)
    for t in scheduler.timesteps:
        output = model.network(x_t, t.expand(5))
        x_t = scheduler.step(getattr(output, "sample", output), t, x_t).prev_sample
    handle.remove()
    close(x_0, x_t)
    for timestep, h in zip(sampler.timesteps, seen, strict=True):
        close(h_of[timestep], h)


def test_stream_yields_batches_in_order_and_run_collects_them() -> None:
    sampler = hspace.Sampler(tiny.denoiser(), steps=2, batch_size=2)
    batches = list(sampler.stream(range(5)))
    assert [rows for rows, _ in batches] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert torch.equal(torch.cat([x_0 for _, x_0 in batches]), sampler.run(range(5)))


def test_progress_counts_image_steps() -> None:
    seen: list[tuple[int, int]] = []
    sampler = hspace.Sampler(tiny.denoiser(), steps=3, batch_size=4)
    sampler.run(range(6), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 18), (8, 18), (12, 18), (14, 18), (16, 18), (18, 18)]


def test_a_bar_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    sampler = hspace.Sampler(tiny.denoiser(), steps=3)
    assert torch.equal(sampler.run(SEEDS, progress=True), sampler.run(SEEDS))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "9/9" in captured.err


@pytest.mark.parametrize(
    ("image_shape", "ceiling", "expected"),
    [((3, 64, 64), 32, 32), ((3, 256, 256), 32, 2), ((3, 8, 8), 32, 32), ((3, 8, 8), 5, 5), ((3, 1024, 1024), 32, 1)],
)
def test_the_automatic_batch_size(image_shape: tuple[int, ...], ceiling: int, expected: int) -> None:
    model = tiny.plain_denoiser(image_shape=image_shape)
    assert hspace.Sampler(model, 2, max_batch_size=ceiling).batch_size == expected
    assert hspace.Sampler(model, 2, batch_size=7, max_batch_size=ceiling).batch_size == 7


class Crowded(tiny.PlainNetwork):
    """Runs out of memory above `room` rows."""

    room, on_the_cpu = 3, False

    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        if len(x_t) > self.room and self.on_the_cpu:
            torch.empty(2**60, dtype=torch.uint8)  # a real error of torch's allocator
        elif len(x_t) > self.room:
            raise torch.cuda.OutOfMemoryError("too many rows")
        return super().forward(x_t, timesteps)


def crowded() -> Denoiser:
    torch.manual_seed(0)
    return Denoiser(Crowded().double(), tiny.scheduler().alphas_cumprod, image_shape=tiny.IMAGE_SHAPE, tap="inner")


@pytest.mark.parametrize("on_the_cpu", [False, True])
def test_an_automatic_batch_that_does_not_fit_is_halved(on_the_cpu: bool) -> None:
    model = crowded()
    sampler = hspace.Sampler(model, 2)
    sampler.run([0])
    model.network.on_the_cpu = on_the_cpu
    x_0 = sampler.run(range(7))
    assert sampler.batch_size == 2
    close(x_0, hspace.Sampler(model, 2, batch_size=1).run(range(7)))


def test_a_batch_size_one_asks_for_is_kept() -> None:
    with pytest.raises(torch.cuda.OutOfMemoryError):
        hspace.Sampler(crowded(), 2, batch_size=4).run(range(7))


def test_not_even_one_row_fits() -> None:
    model = crowded()
    sampler = hspace.Sampler(model, 2)
    sampler.run([0])
    model.network.room = 0
    with pytest.raises(torch.cuda.OutOfMemoryError):
        sampler.run(range(7))


def test_a_grid_is_taken_over_from_another_run() -> None:
    model = tiny.denoiser()
    first = hspace.Sampler(model, 5, [1.0, 0.5, 0.0, 0.0, 0.0], spacing="linspace")
    second = hspace.Sampler.on(model, first.setting(), batch_size=2)
    assert (second.schedule, second.batch_size) == (first.schedule, 2)
    assert hspace.Sampler.on(model, first.setting()).batch_size == first.batch_size
    close(second.run(SEEDS), first.run(SEEDS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1}, "a direction of another model: its weights"),
        ({"tap": "before"}, "a direction of another model: its tap"),
        ({"schedule": {"num_train_timesteps": 50}}, "a direction of another model: its training timesteps"),
        ({"schedule": {"beta_schedule": "scaled_linear"}}, "the grid was laid over another noise schedule"),
    ],
)
def test_a_grid_of_another_model_is_refused(options: dict[str, Any], message: str) -> None:
    setting = hspace.Sampler(tiny.denoiser(), 5).setting()
    with pytest.raises(HspaceError, match=message):
        hspace.Sampler.on(tiny.denoiser(**options), setting)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch size must be at least 1, not 0"),
        ({"batch_size": -2}, "batch size must be at least 1, not -2"),
        ({"max_batch_size": 0}, "batch size must be at least 1, not 0"),
    ],
)
def test_batches_of_nothing_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(HspaceError, match=message):
        hspace.Sampler(tiny.denoiser(), 2, **options)


def test_wrong_numbers_and_kinds_of_edits_are_refused() -> None:
    model = tiny.denoiser()
    sampler = hspace.Sampler(model, 2)
    symmetric, asymmetric = tiny.Shift({}, "symmetric"), tiny.Shift({}, "asymmetric")
    with pytest.raises(HspaceError, match="2 edits for 3 samples: give one edit, or one for each"):
        sampler.run(SEEDS, [symmetric, None])
    with pytest.raises(HspaceError, match="symmetric and asymmetric edits can't share a run"):
        sampler.run(SEEDS, [symmetric, None, asymmetric])
    with pytest.raises(HspaceError, match="no seeds"):
        sampler.run([])
    with pytest.raises(HspaceError, match="seeds must be non-negative integers"):
        sampler.run([-1])


def test_an_edit_without_an_opinion_goes_in_as_the_others() -> None:
    model = tiny.denoiser()
    sampler = hspace.Sampler(model, 3)
    shifts = tiny.h_shifts(model, sampler.timesteps)
    mixed = sampler.run((0, 0), [tiny.Shift(shifts, "asymmetric"), tiny.Shift(shifts)])
    close(mixed[0], mixed[1])
    assert not torch.allclose(mixed[0], sampler.run([0], tiny.Shift(shifts))[0])


@pytest.mark.parametrize(("dtype", "expected"), [(torch.float32, torch.float32), (torch.bfloat16, torch.float32)])
def test_pictures_come_in_float32(dtype: torch.dtype, expected: torch.dtype) -> None:
    model = tiny.denoiser(dtype=torch.float32)
    exact = hspace.Sampler(model, 4).run(SEEDS)
    x_0 = hspace.Sampler(model.to(dtype=dtype), 4).run(SEEDS)
    assert (x_0.dtype, x_0.device.type) == (expected, "cpu")
    assert float((x_0 - exact).square().mean() / exact.var()) < 1e-3


def test_h_of_hundreds_of_samples_is_never_held() -> None:
    """The recorder's tensors are the only ones left of a batch: dropping them frees h."""
    alive: list[weakref.ref[Tensor]] = []
    sampler = hspace.Sampler(tiny.denoiser(), 3, batch_size=2)
    most = 0

    def record(timestep: int, h: Tensor, rows: slice) -> None:
        nonlocal most
        alive.append(weakref.ref(h))
        most = max(most, sum(ref() is not None for ref in alive))

    sampler.run(range(8), record=record)
    assert len(alive) == 12
    assert most <= 2
    assert np.sum([ref() is not None for ref in alive]) == 0
