"""Directions inside tiny real pipelines, against hooks written by hand and against our own sampler."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import accelerate
import diffusers
import numpy as np
import pytest
import torch
from tests import pipelines, tiny
from tests.diffusion.test_no_sync import copies
from torch import Tensor, nn

import hspace
from hspace import Direction, Edit, HspaceError, HspaceWarning
from hspace.diffusion import Schedule, Setting
from hspace.diffusion.schedule import grid
from hspace.directions import Term
from hspace.models.denoiser import weight_hash

H_SHAPE = (8, 4, 4)
STEPS = 4
PROMPTS = ["a smile", "the face of a cat"]

DETERMINISTIC = ["DDIM", "DPMSolverMultistep", "EulerDiscrete", "UniPCMultistep", "PNDM"]
WITH_NOISE = ["DDPM", "EulerAncestralDiscrete"]
SCHEDULERS = DETERMINISTIC + WITH_NOISE


def network_of(pipe: Any) -> nn.Module:
    return pipe.unet if hasattr(pipe, "unet") else pipe.transformer


def found_in(
    pipe: Any,
    *,
    steps: int = 10,
    eta: float = 0.0,
    injection: Any = "symmetric",
    tap: str = "mid_block",
    h_shape: tuple[int, ...] = H_SHAPE,
    seed: int = 0,
) -> Direction:
    """Random vectors that remember the network of a pipeline, on a grid over its training timesteps."""
    alphas = pipe.scheduler.alphas_cumprod
    timesteps = grid(len(alphas), steps)
    schedule = Schedule(timesteps, tuple(float(alphas[t]) for t in timesteps), 1.0, (eta,) * steps, len(alphas))
    setting = Setting("tiny", weight_hash(network_of(pipe)), tap, h_shape, schedule, injection)
    generator = torch.Generator().manual_seed(seed)
    return Direction(torch.randn(steps, *h_shape, generator=generator), setting, "smile")


def draw(pipe: Any, **options: Any) -> Tensor:
    """Two pictures, or latents where the pipeline gives them; the same noise in every call."""
    kinds: dict[type, dict[str, Any]] = {
        diffusers.StableDiffusionPipeline: {"prompt": PROMPTS, "output_type": "latent"},
        diffusers.StableDiffusionXLPipeline: {"prompt": PROMPTS, "output_type": "latent"},
        diffusers.DiTPipeline: {"class_labels": [3, 5], "output_type": "pt"},
    }
    given = {**kinds.get(type(pipe), {"batch_size": 2, "output_type": "np"}), **options}
    torch.manual_seed(0)  # some pipelines give no generator to their scheduler
    images = pipe(generator=torch.Generator().manual_seed(0), **{"num_inference_steps": STEPS, **given}).images
    return torch.as_tensor(images)


def with_scheduler(name: str) -> Any:
    """Stable Diffusion with another scheduler."""
    pipe = pipelines.stable_diffusion()
    pipe.scheduler = getattr(diffusers, f"{name}Scheduler").from_config(pipe.scheduler.config)
    return pipe


def at(direction: Direction, timestep: float) -> Tensor:
    """The rule in other words: each number of h is interpolated by numpy."""
    columns = direction.vectors.flatten(1).T.numpy()
    numbers = [np.interp(-timestep, -np.array(direction.timesteps, dtype=float), column) for column in columns]
    return torch.tensor(np.array(numbers), dtype=direction.vectors.dtype).reshape(direction.vectors.shape[1:])


@contextmanager
def by_hand(unet: nn.Module, shift_at: Any, rows: slice = slice(None)) -> Iterator[list[float]]:
    """A hook as people write it; yields the timesteps that the network sees."""
    seen: list[float] = []

    def before(_: nn.Module, args: Any, kwargs: Any) -> None:
        seen.append(float(kwargs["timestep"] if "timestep" in kwargs else args[1]))

    def behind(_: nn.Module, __: Any, h: Tensor) -> Tensor:
        h = h.clone()
        h[rows] += shift_at(seen[-1])
        return h

    handles = [
        unet.register_forward_pre_hook(before, with_kwargs=True),
        unet.mid_block.register_forward_hook(behind),  # type: ignore[union-attr, operator]
    ]
    yield seen
    for handle in handles:
        handle.remove()


def hooks_of(pipe: Any) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in network_of(pipe).modules())


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-4) -> bool:
    """To float tolerance, relative to the largest number."""
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_strength_0_is_the_pipeline_bit_for_bit_and_another_changes_the_picture(scheduler: str) -> None:
    pipe = with_scheduler(scheduler)
    smile, plain = found_in(pipe), draw(pipe)
    with smile.applied(pipe, strength=0.0):
        assert torch.equal(draw(pipe), plain)
    with smile.applied(pipe, strength=2.0):
        assert not close(draw(pipe), plain, 0.01)
    assert torch.equal(draw(pipe), plain)


@pytest.mark.parametrize("injection", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("kind", ["ddpm", "ddim", "ldm", "stable_diffusion_xl", "dit"])
def test_every_kind_of_pipeline(kind: str, injection: str) -> None:
    pipe = getattr(pipelines, kind)()
    tap = {"tap": "transformer_blocks.1", "h_shape": (16, 8)} if kind == "dit" else {}
    smile, plain = found_in(pipe, injection=injection, **tap), draw(pipe)
    with smile.applied(pipe, strength=0.0):
        assert torch.equal(draw(pipe), plain)
    with smile.applied(pipe):
        assert not close(draw(pipe), plain, 0.01)
    assert torch.equal(draw(pipe), plain)
    assert hooks_of(pipe) == 0


@pytest.mark.parametrize("scheduler", DETERMINISTIC)
def test_h_moves_by_the_vector_of_the_timestep_that_the_network_sees(scheduler: str) -> None:
    pipe = with_scheduler(scheduler)
    smile = found_in(pipe)
    with by_hand(pipe.unet, lambda t: 2.0 * at(smile, t)) as seen:
        expected = draw(pipe)
    with smile.applied(pipe, 2.0):
        assert close(draw(pipe), expected)
    assert len(seen) >= STEPS
    assert set(seen) - set(smile.timesteps)  # also between those of the grid


@pytest.mark.parametrize("scheduler", WITH_NOISE)
def test_schedulers_that_add_noise_need_less(scheduler: str) -> None:
    """A change of eps at t goes with 1 + s' / s, where s' is that of the next timestep."""
    pipe = with_scheduler(scheduler)
    smile = found_in(pipe)
    pipe.scheduler.set_timesteps(STEPS)
    timesteps = pipe.scheduler.timesteps.tolist()
    alphas = pipe.scheduler.alphas_cumprod.double().numpy()
    along = np.interp(timesteps, np.arange(len(alphas)), alphas)
    s = np.append(np.sqrt((1 - along) / along), 0.0)
    gain = dict(zip(timesteps, 1 + s[1:] / s[:-1], strict=True))
    with by_hand(pipe.unet, lambda t: 2.0 * at(smile, t) / gain[t]):
        expected = draw(pipe)
    with smile.applied(pipe, 2.0):
        assert close(draw(pipe), expected)
    with by_hand(pipe.unet, lambda t: 2.0 * at(smile, t)):
        expected = draw(pipe)
    with smile.applied(pipe, 2.0, rescale=False):
        assert close(draw(pipe), expected)


@pytest.mark.parametrize("injection", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("steps", [5, 10])
def test_ddim_draws_what_the_sampler_draws(injection: Any, eta: float, steps: int) -> None:
    """A direction found with eta 1 on 10 steps: on its own grid, on another, with another eta."""
    pipe = pipelines.ddim("sample")
    smile = found_in(pipe, eta=1.0, injection=injection)
    sampler = hspace.Sampler(hspace.load(pipe), steps, eta)
    generator = torch.Generator().manual_seed(0)
    x_t, *noise = (torch.randn(2, *tiny.IMAGE_SHAPE, generator=generator) for _ in range(steps + 1))
    latents = tiny.FixedLatents(x_t, dict(zip(sampler.timesteps, noise, strict=True)))
    expected = (sampler.run(latents, 0.5 * smile) / 2 + 0.5).clamp(0, 1)
    with smile.applied(pipe, 0.5, eta=eta):
        found = draw(pipe, num_inference_steps=steps, eta=eta, output_type="pt")
    assert torch.allclose(found, expected, atol=1e-5)
    assert not torch.allclose(found, draw(pipe, num_inference_steps=steps, eta=eta, output_type="pt"), atol=0.1)


@pytest.mark.parametrize("injection", ["symmetric", "asymmetric"])
def test_ddpm_draws_what_the_sampler_draws(injection: Any) -> None:
    pipe = pipelines.ddpm("sample")
    smile = found_in(pipe, injection=injection)  # with eta 0
    sampler = hspace.Sampler(hspace.load(pipe), 5, eta=1.0)
    generator = torch.Generator().manual_seed(0)
    x_t, *noise = (torch.randn(2, *tiny.IMAGE_SHAPE, generator=generator) for _ in range(5))
    latents = tiny.FixedLatents(x_t, dict(zip(sampler.timesteps, noise, strict=False)))
    expected = (sampler.run(latents, 0.5 * smile) / 2 + 0.5).clamp(0, 1)
    with smile.applied(pipe, 0.5):
        assert torch.allclose(draw(pipe, num_inference_steps=5, output_type="pt"), expected, atol=1e-5)


def test_an_asymmetric_edit_is_the_same_in_euler_as_in_ddim() -> None:
    """The two are one sampler in two notations."""
    noise = {**pipelines.STABLE_DIFFUSION_NOISE, "set_alpha_to_one": True}
    pipe = pipelines.stable_diffusion(scheduler=diffusers.DDIMScheduler(**noise))
    smile, plain = found_in(pipe, injection="asymmetric"), draw(pipe)
    with smile.applied(pipe):
        expected = draw(pipe)
    pipe.scheduler = diffusers.EulerDiscreteScheduler.from_config(pipe.scheduler.config, timestep_spacing="leading")
    assert close(draw(pipe), plain, 1e-3)
    with smile.applied(pipe):
        assert close(draw(pipe), expected, 1e-3)
    assert not close(expected, plain, 0.1)


def test_an_asymmetric_edit_between_the_steps_of_a_scheduler() -> None:
    pipe = pipelines.ldm()
    pipe.scheduler = diffusers.PNDMScheduler.from_config(pipe.scheduler.config)
    smile, plain = found_in(pipe, injection="asymmetric"), draw(pipe)
    with pytest.raises(HspaceError, match="PNDMScheduler asks the network between its steps"), smile.applied(pipe):
        draw(pipe)
    assert torch.equal(draw(pipe), plain)


def test_a_batch_is_the_same_as_one_by_one() -> None:
    pipe = pipelines.stable_diffusion()
    smile = found_in(pipe)
    latents = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    with smile.applied(pipe, 2.0):
        together = draw(pipe, latents=latents)
        alone = [draw(pipe, prompt=PROMPTS[i], latents=latents[i : i + 1]) for i in range(2)]
    assert close(together, torch.cat(alone))


def test_one_context_serves_other_schedulers_and_numbers_of_steps() -> None:
    pipe = pipelines.ldm("sample")
    smile = found_in(pipe)
    ddpm = diffusers.DDPMScheduler.from_config(pipe.scheduler.config)
    expected = []
    for steps, scheduler in ((4, ddpm), (5, ddpm), (5, pipe.scheduler)):
        pipe.scheduler = scheduler
        with smile.applied(pipe):
            expected.append(draw(pipe, num_inference_steps=steps))
    ddim, pipe.scheduler = pipe.scheduler, ddpm
    with smile.applied(pipe):
        assert torch.equal(draw(pipe, num_inference_steps=4), expected[0])
        assert torch.equal(draw(pipe, num_inference_steps=5), expected[1])
        pipe.scheduler = ddim
        assert torch.equal(draw(pipe, num_inference_steps=5), expected[2])


def test_contexts_within_each_other_add_up() -> None:
    pipe = pipelines.stable_diffusion()
    smile, beard, plain = found_in(pipe), found_in(pipe, seed=1), draw(pipe)
    with (2.0 * smile - beard).applied(pipe):
        expected = draw(pipe)
    with smile.applied(pipe, 2.0):
        alone = draw(pipe)
        with beard.applied(pipe, -1.0):
            assert close(draw(pipe), expected)
        assert torch.equal(draw(pipe), alone)
        with smile.applied(pipe, -2.0):
            assert close(draw(pipe), plain)
    assert hooks_of(pipe) == 0


def test_a_symmetric_context_counts_in_both_passes_of_an_asymmetric_one() -> None:
    pipe = pipelines.ddim("sample")
    smile, beard = found_in(pipe), found_in(pipe, injection="asymmetric", seed=1)
    drawn = []
    for first, second in ((smile, beard), (beard, smile)):
        with first.applied(pipe, 0.5), second.applied(pipe, 0.5):
            drawn.append(draw(pipe))
    with beard.applied(pipe, 0.5):
        drawn.append(draw(pipe))
    assert close(drawn[0], drawn[1])
    assert not close(drawn[0], drawn[2], 0.01)
    with (
        beard.applied(pipe),
        pytest.raises(HspaceError, match="asymmetric edits can't be applied within each other: apply their sum"),
        beard.applied(pipe),
    ):
        pass
    with beard.applied(pipe, 0.5):  # the one that failed left nothing behind
        assert torch.equal(draw(pipe), drawn[2])


def test_hooks_are_gone_after_an_exception() -> None:
    pipe = pipelines.ddim()
    smile, plain = found_in(pipe), draw(pipe)
    with pytest.raises(KeyError), smile.applied(pipe):
        raise KeyError
    before = smile.setting.schedule.timesteps[0] + 20
    with pytest.raises(HspaceError), smile.applied(pipe):
        pipe.unet(torch.zeros(1, 3, 8, 8), before)
    assert hooks_of(pipe) == 0
    assert torch.equal(draw(pipe), plain)


def test_a_context_that_nobody_draws_in_says_so() -> None:
    pipe, other = pipelines.ddim(), pipelines.ddim()
    with (
        pytest.warns(HspaceWarning, match="the network of DDIMPipeline wasn't called") as said,
        found_in(pipe).applied(pipe),
    ):
        draw(other)
    assert said[0].filename == __file__


def test_windows_and_masks() -> None:
    pipe = pipelines.stable_diffusion()
    smile, plain = found_in(pipe), draw(pipe)
    mask = torch.zeros(4, 4)
    mask[1:3] = 0.5
    edit = Edit([Term(smile, 2.0, (600, 200), mask), Term(smile, 1.0, (900, 500))])

    def shift_at(t: float) -> Tensor | float:
        return (200 <= t <= 600) * 2.0 * mask * at(smile, t) + (500 <= t <= 900) * at(smile, t)

    with by_hand(pipe.unet, shift_at) as seen:
        expected = draw(pipe)
    assert len({(200 <= t <= 600, 500 <= t <= 900) for t in seen}) > 2  # both, one of them and none
    with edit.applied(pipe):
        assert close(draw(pipe), expected)
    with smile.applied(pipe, window=(999, 990)):
        assert torch.equal(draw(pipe), plain)
    with smile.during(600, 200).applied(pipe, 2.0):
        drawn = draw(pipe)
    with smile.applied(pipe, 2.0, window=(600, 200)):
        assert torch.equal(draw(pipe), drawn)


@pytest.mark.parametrize("make", [pipelines.stable_diffusion, pipelines.stable_diffusion_xl])
def test_conditional_only_moves_the_rows_of_the_prompt(make: Any) -> None:
    pipe = make()
    smile = found_in(pipe)
    with smile.applied(pipe, 2.0):
        both = draw(pipe)
    with by_hand(pipe.unet, lambda t: 2.0 * at(smile, t), rows=slice(2, 4)):
        expected = draw(pipe)
    with smile.applied(pipe, 2.0, conditional_only=True):
        assert close(draw(pipe), expected)
    assert not close(both, expected, 0.01)
    with by_hand(pipe.unet, lambda t: 2.0 * at(smile, t)):
        unguided = draw(pipe, guidance_scale=1.0)
    with smile.applied(pipe, 2.0, conditional_only=True):
        assert close(draw(pipe, guidance_scale=1.0), unguided)


def test_conditional_only_with_a_timestep_for_each_row() -> None:
    pipe = pipelines.stable_diffusion()
    smile = found_in(pipe)
    x_t, text = torch.randn(4, 4, 8, 8), torch.randn(4, 3, pipelines.TEXT_WIDTH)
    timesteps = torch.tensor([900, 700, 500, 333])
    draw(pipe)  # with guidance
    plain = pipe.unet(x_t, timesteps, text).sample
    with smile.applied(pipe, conditional_only=True):
        found = pipe.unet(x_t, timesteps, text).sample
    with by_hand(pipe.unet, lambda t: at(smile, t)):
        alone = [pipe.unet(x_t[i : i + 1], timesteps[i], text[i : i + 1]).sample for i in (2, 3)]
    assert torch.equal(found[:2], plain[:2])
    assert torch.allclose(found[2:], torch.cat(alone), atol=1e-5)


def test_conditional_only_where_the_rows_are_not_known() -> None:
    class Mine(diffusers.StableDiffusionPipeline):
        pass

    class Other(diffusers.StableDiffusionPipeline):
        def __call__(self, *args: Any, **options: Any) -> Any:  # may go in any order
            return super().__call__(*args, **options)

    pipe = pipelines.stable_diffusion()
    smile = found_in(pipe)
    parts = {**pipe.components, "requires_safety_checker": False}
    with smile.applied(Mine(**parts), conditional_only=True):
        pipe.unet(torch.zeros(1, 4, 8, 8), 500, torch.zeros(1, 2, pipelines.TEXT_WIDTH), None)
    dit = pipelines.dit()
    tokens = found_in(dit, tap="transformer_blocks.0", h_shape=(16, 8))
    for direction, unknown in ((smile, Other(**parts)), (smile, pipe.unet), (tokens, dit)):
        name = type(unknown).__name__
        with (
            pytest.raises(HspaceError, match=f"conditional_only: of {name} it isn't known which rows"),
            direction.applied(unknown, 0.0, conditional_only=True),
        ):
            pass


@pytest.mark.parametrize(
    "timestep",
    [50, 50.0, np.int64(50), torch.tensor(50), torch.tensor([50.0]), torch.tensor([50, 50]), torch.tensor(50.0).half()],
)
def test_a_timestep_of_any_form_for_the_network_itself(timestep: Any) -> None:
    pipe = pipelines.ddim()
    smile, x_t = found_in(pipe), torch.ones(2, *tiny.IMAGE_SHAPE)
    with by_hand(pipe.unet, lambda t: at(smile, t)):
        expected = pipe.unet(x_t, 50).sample
    for pipe_or_network in (pipe.unet, pipe, hspace.load(pipe)):
        with smile.applied(pipe_or_network):
            assert torch.allclose(pipe.unet(x_t, timestep).sample, expected, atol=1e-6)
            assert torch.allclose(pipe.unet(timestep=timestep, sample=x_t).sample, expected, atol=1e-6)
            assert torch.allclose(pipe.unet(x_t, timestep, return_dict=False)[0], expected, atol=1e-6)


@pytest.mark.parametrize("injection", ["symmetric", "asymmetric"])
def test_each_row_may_have_a_timestep_of_its_own(injection: str) -> None:
    pipe = pipelines.ddim()
    smile, x_t = found_in(pipe, injection=injection), torch.randn(3, *tiny.IMAGE_SHAPE)
    timesteps = torch.tensor([90, 43, 20])
    with smile.applied(pipe.unet, window=(60, 0)):
        together = pipe.unet(x_t, timesteps).sample
        alone = [pipe.unet(x_t[i : i + 1], timesteps[i]).sample for i in range(3)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)
    assert torch.allclose(together[:1], pipe.unet(x_t, timesteps).sample[:1], atol=1e-6)  # outside of the window


@pytest.mark.parametrize("injection", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("ones_own", [False, True])
def test_a_bare_network_is_taken_to_go_in_the_steps_of_the_direction(injection: Any, ones_own: bool) -> None:
    model = tiny.plain_denoiser(dtype=torch.float32) if ones_own else hspace.load(pipelines.ddim("sample"))
    found = hspace.Sampler(model, 5, eta=1.0)
    vectors = torch.stack(list(tiny.h_shifts(model, range(5), scale=0.3).values())).float()
    smile = Direction(vectors, found.setting(injection))

    def by_hand(sampler: hspace.Sampler) -> Tensor:
        latents = sampler.latents([0, 1])
        x_t = latents.x_T()
        for i, timestep in enumerate(sampler.timesteps):
            eps, x_0 = model.predict(x_t, timestep)
            x_t = sampler.schedule.step(i, x_0, eps) + sampler.schedule.sigmas[i] * latents.z(timestep)
        return x_t

    for eta in (None, 0.0):
        sampler = hspace.Sampler.on(model, smile.setting, eta=eta)
        plain, expected = sampler.run([0, 1]), sampler.run([0, 1], smile)
        assert close(by_hand(sampler), plain)
        with smile.applied(model.network, eta=eta):
            assert close(by_hand(sampler), expected)
        assert not close(expected, plain, 0.01)


def test_learned_variance_is_that_of_the_plain_pass_in_an_asymmetric_edit() -> None:
    pipe = pipelines.dit()
    smile = found_in(pipe, tap="transformer_blocks.0", h_shape=(16, 8), injection="asymmetric")
    call = {"hidden_states": torch.ones(1, 4, 8, 8), "timestep": torch.tensor([500]), "class_labels": torch.tensor([1])}
    plain = pipe.transformer(**call).sample
    with smile.applied(pipe.transformer):
        edited = pipe.transformer(**call).sample
    assert torch.equal(edited[:, 4:], plain[:, 4:])
    assert not torch.allclose(edited[:, :4], plain[:, :4], atol=0.01)


def test_weights_are_checked_and_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = pipelines.ddim()
    smile, other = found_in(pipe), found_in(pipelines.ddim(seed=1))
    with (
        pytest.raises(HspaceError, match=r"'smile' is of other weights: tiny \w+, here UNet2DModel \w+; check_weights"),
        other.applied(pipe),
    ):
        pass
    with other.applied(pipe, check_weights=False):
        draw(pipe)
    monkeypatch.setattr("hspace.diffusion.pipelines.weight_hash", None)  # who hashes again fails
    with smile.applied(pipe):
        draw(pipe)
    monkeypatch.undo()
    with torch.no_grad():
        pipe.unet.conv_out.bias += 1.0
    with pytest.raises(HspaceError, match="of other weights"), smile.applied(pipe):
        pass


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    pipe = pipelines.stable_diffusion()
    smile = found_in(pipe)
    with smile.applied(pipe, 2.0):
        expected = draw(pipe)
    plain = draw(pipe)
    pipe.to(dtype=dtype)
    name = str(dtype).removeprefix("torch.")
    with (
        pytest.raises(HspaceError, match=rf"\(in {name}: a rounded copy is another\); check_weights=False"),
        smile.applied(pipe),
    ):
        pass
    with smile.applied(pipe, 2.0, check_weights=False):
        found = draw(pipe)
    assert found.dtype == dtype
    assert (found.float() - expected).norm() < 0.3 * (plain - expected).norm()  # what rounding does to any picture


def test_a_network_that_hspace_put_in_half_precision_is_known() -> None:
    pipe = pipelines.ddim("sample")
    smile = found_in(pipe)
    hspace.load(pipe, dtype=torch.bfloat16)
    assert pipe.unet.dtype == torch.bfloat16
    with smile.applied(pipe):
        draw(pipe, output_type="pt")


def test_attention_slicing_and_hooks_of_accelerate() -> None:
    pipe = pipelines.stable_diffusion()
    smile = found_in(pipe)
    with smile.applied(pipe, 2.0):
        expected = draw(pipe)
        pipe.enable_attention_slicing()
        assert close(draw(pipe), expected)
    hook = accelerate.hooks.AlignDevicesHook(execution_device="cpu", io_same_device=True)
    accelerate.hooks.add_hook_to_module(pipe.unet, hook)  # as enable_model_cpu_offload does
    with smile.applied(pipe, 2.0):
        assert close(draw(pipe), expected)


def test_weights_that_are_offloaded() -> None:
    """As enable_sequential_cpu_offload does: they are on the meta device between calls."""
    pipe = pipelines.ddim()
    smile = found_in(pipe)
    with smile.applied(pipe):
        expected = draw(pipe)
    accelerate.cpu_offload(pipe.unet, execution_device=torch.device("cpu"))
    with (
        pytest.raises(HspaceError, match="DDIMPipeline are offloaded, so that they can't be checked"),
        smile.applied(pipe),
    ):
        pass
    with smile.applied(pipe, check_weights=False):
        assert torch.equal(draw(pipe), expected)


@pytest.mark.parametrize("in_place", [False, True])
def test_a_compiled_network_runs_as_it_is_within_the_context(in_place: bool) -> None:
    """Compiled code asks for no hooks: without a word it would give the plain prediction."""
    network = tiny.plain_denoiser(dtype=torch.float32).network
    setting = Setting("plain", weight_hash(network), "inner", (6, 4, 4), found_in(pipelines.ddim()).setting.schedule)
    smile, x_t, timesteps = Direction(torch.ones(10, 6, 4, 4), setting), torch.ones(1, 3, 8, 8), torch.tensor([50])
    with smile.applied(network):
        expected = network(x_t, timesteps)
    compiled: Any = network if in_place else torch.compile(network, backend="eager")
    if in_place:
        network.compile(backend="eager")
    plain = compiled(x_t, timesteps)
    with smile.applied(compiled):
        assert torch.equal(compiled(x_t, timesteps), expected)
    assert torch.equal(compiled(x_t, timesteps), plain)
    assert not torch.allclose(expected, plain, atol=0.01)


@pytest.mark.parametrize("injection", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("rows", [1, 2])
def test_no_pass_reads_a_timestep_back(injection: str, rows: int) -> None:
    """The meta device has no numbers to give: the range of timesteps is looked at once, in the end."""
    pipe = pipelines.ddim()
    edit = Edit.of(found_in(pipe, injection=injection), mask=torch.ones(4, 4), window=(60, 10))
    model = hspace.load(pipe).to("meta")
    x_t, timesteps = torch.zeros(2, *tiny.IMAGE_SHAPE, device="meta"), torch.zeros(rows, device="meta")
    context = edit.applied(model)
    with copies() as shapes:
        context.__enter__()
        for _ in range(3):
            assert pipe.unet(x_t, timesteps).sample.is_meta
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        context.__exit__(None, None, None)
    sent = [(10, *H_SHAPE), (4, 4), (10,)]  # vectors, mask, the grid; in an asymmetric edit its gains, too
    assert sorted(shapes) == sorted(sent + [(10,), (10,)] * (injection == "asymmetric"))


def test_timesteps_that_nobody_read_are_checked_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here those of the CPU stay unread, as those of a GPU do."""
    monkeypatch.setattr("hspace.diffusion.pipelines._as_timesteps", lambda t: t.reshape(1).clone())
    pipe = pipelines.ddim()
    smile = found_in(pipe)  # from 90 down
    x_t = torch.zeros(1, *tiny.IMAGE_SHAPE)
    with smile.applied(pipe.unet), smile.applied(pipe.unet, window=(50, 0)):
        for timestep in (90, 43, 2):
            pipe.unet(x_t, torch.tensor(timestep))
    with smile.applied(pipe.unet, window=(90, 0)):
        pipe.unet(x_t, torch.tensor(101))
    context = smile.applied(pipe.unet)
    context.__enter__()
    for timestep in (101, 43):
        pipe.unet(x_t, torch.tensor(timestep))
    with pytest.raises(HspaceError, match="found at timesteps 90 to 0 and can't be used at 101 to 43"):
        context.__exit__(None, None, None)


def test_a_timestep_where_nothing_is_known() -> None:
    pipe = pipelines.ddim()
    smile = found_in(pipe)
    late = Direction(smile.vectors[5:], _shortened(smile.setting, 5))  # from 40 down
    with pytest.raises(HspaceError, match="found at timesteps 40 to 0 and can't be used at 75"), late.applied(pipe):
        draw(pipe)
    with late.applied(pipe, window=(50, 0)):
        assert draw(pipe).isfinite().all()


def _shortened(setting: Setting, first: int) -> Setting:
    s = setting.schedule
    rest = Schedule(s.timesteps[first:], s.alphas[first:], s.final_alpha, s.etas[first:], s.train_timesteps)
    return Setting(setting.model_id, setting.weight_hash, setting.tap, setting.h_shape, rest)


class Strange(nn.Module):
    """One module in the way, one that is used twice, and one that is not used at all."""

    def __init__(self) -> None:
        super().__init__()
        self.once, self.twice, self.never = nn.Identity(), nn.Identity(), nn.Identity()

    def forward(self, x_t: Tensor, timestep: Any = None) -> Tensor:
        return self.twice(self.twice(self.once(x_t)))


def test_errors() -> None:
    pipe = pipelines.ddim()
    smile = found_in(pipe)
    noise = Direction(torch.zeros(1, 3, 8, 8), smile.setting.in_noise((3, 8, 8)), "colour")
    elsewhere = found_in(pipe, tap="nowhere")
    longer = Direction(smile.vectors, _with_training(smile.setting, 1000), "smile")
    beyond = Direction(torch.zeros(10, 8, 2, 2), found_in(pipe, h_shape=(8, 2, 2)).setting, "smile")

    def entered(edit: Direction | Edit, what: Any = pipe, **options: Any) -> None:
        with edit.applied(what, **options):
            draw(pipe)

    for message, call in {
        "Thread has no .unet and no .transformer: expected a pipeline of diffusers": lambda: entered(smile, _Thread()),
        "'colour' is a direction of x_T, not of h: add its vectors": lambda: entered(noise),
        "has no module 'nowhere' to tap": lambda: entered(elsewhere),
        "knows 1000 training timesteps, the scheduler of DDIMPipeline 100": lambda: entered(longer),
        "eta must be within 0 and 1, not 1.5": lambda: entered(smile, eta=1.5),
        "strength must be a finite number": lambda: entered(smile, strength=float("nan")),
        r"of h of shape \(8, 2, 2\), h is \(8, 4, 4\) here": lambda: entered(beyond),
        "its shape of h": lambda: entered(Edit([Term(smile), Term(beyond)])),
    }.items():
        with pytest.raises(HspaceError, match=message):
            call()
    assert hooks_of(pipe) == 0


class _Thread:
    """No pipeline."""


_Thread.__name__ = "Thread"


def _with_training(setting: Setting, total: int) -> Setting:
    s = setting.schedule
    schedule = Schedule(s.timesteps, s.alphas, s.final_alpha, s.etas, total)
    return Setting(setting.model_id, setting.weight_hash, setting.tap, setting.h_shape, schedule)


def test_errors_of_calls() -> None:
    strange, x_t = Strange(), torch.zeros(2, 3, 8, 8)
    found = found_in(pipelines.ddim()).setting

    def tapped(name: str) -> Direction:
        setting = Setting("strange", weight_hash(strange), name, (3, 8, 8), found.schedule)
        return Direction(torch.zeros(10, 3, 8, 8), setting)

    for name, timestep, message in (
        ("once", "now", "expected a timestep, found str"),
        ("once", torch.ones(1, 2), r"or one for each row, found a tensor of shape \(1, 2\)"),
        ("once", torch.tensor([1, 2, 3]), "was given 3 timesteps, its h has 2 rows"),
        ("once", torch.tensor([]), "expected a timestep, found none"),
        ("once", None, "Strange was called without a timestep"),
        ("twice", 5, "'twice' is reached 2 times in a forward pass"),
        ("never", 5, "'never' is never reached in a forward pass"),
    ):
        with pytest.raises(HspaceError, match=message), tapped(name).applied(strange):
            strange(x_t, timestep)


def test_an_edit_of_several_models() -> None:
    pipe = pipelines.ddim()
    smile, other = found_in(pipe), found_in(pipelines.ddim(seed=1))
    edit = Edit([Term(smile), Term(other)])
    with pytest.raises(HspaceError, match="a direction of another model: its weights"), edit.applied(pipe):
        pass
    with edit.applied(pipe, check_weights=False):
        draw(pipe)
