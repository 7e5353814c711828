"""DiT against diffusers' own pipeline: a transformer of classes, guided, with learned variance and no bottleneck."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from tests import pipelines
from tests.families.oracles import hooked, steps_of
from torch import Tensor

import hspace
from hspace.errors import HspaceError
from hspace.models import Condition

STEPS = 4
X_T = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def ran(pipe: Any, scale: float) -> list[Any]:
    """The pipeline guides both halves of a batch; the first is the prediction."""
    generator = torch.Generator().manual_seed(0)
    steps, _ = steps_of(pipe, [3, 3], guidance_scale=scale, num_inference_steps=STEPS, generator=generator)
    return steps


@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_the_guided_prediction_is_the_pipelines_bit_for_bit(scale: float) -> None:
    """Though the pipeline puts the conditional pass first, and we last."""
    pipe = pipelines.dit()
    model = hspace.load(pipe, "cpu", label=3, guidance_scale=scale)
    sampler = hspace.Sampler(model, STEPS, 0.0, spacing="leading")
    steps = ran(pipe, scale)
    assert [step.timestep for step in steps] == list(sampler.timesteps)
    for output, timestep, x_t in steps:
        assert torch.equal(model.predict(x_t[:2], timestep).eps, output[:2])


def test_the_tap_is_the_block_in_the_middle_and_h_the_tokens_of_the_class() -> None:
    pipe = pipelines.dit(num_layers=3)
    model = hspace.load(pipe, "cpu", label=3, guidance_scale=4.0)
    assert (model.tap.name, model.h_shape) == ("transformer_blocks.1", (16, 8))
    seen: list[Tensor] = []
    with hooked(pipe.transformer.transformer_blocks[1], lambda h: seen.append(h.clone())):
        steps = ran(pipe, 4.0)
    _, h = model.observe(steps[1].x_t[:2], steps[1].timestep)
    assert torch.equal(h, seen[1][:2])


@pytest.mark.parametrize("shifted", ["both", "conditional"])
def test_a_shift_is_that_of_a_hook_in_the_pipeline(shifted: Any) -> None:
    pipe = pipelines.dit()
    model = hspace.load(pipe, "cpu", label=3, guidance_scale=4.0, shifted=shifted)
    v = torch.randn(model.h_shape, generator=torch.Generator().manual_seed(1))

    def moved(h: Tensor) -> Tensor:
        own, without = h.chunk(2)
        return torch.cat([own + v, without + v if shifted == "both" else without])

    with hooked(pipe.transformer.transformer_blocks[0], moved):
        steps = ran(pipe, 4.0)
    for output, timestep, x_t in steps:
        mine = model.predict(x_t[:2], timestep, shift=v).eps
        torch.testing.assert_close(mine, output[:2], rtol=0, atol=2e-5)
    assert (mine - model.predict(x_t[:2], timestep).eps).abs().max() > 1e-2


def test_its_condition() -> None:
    model = hspace.load(pipelines.dit(), "cpu", label=3)
    assert model.condition == Condition(label=3, guidance_scale=4.0)  # as usual for its pipeline
    with pytest.raises(HspaceError, match="takes a class, label 0 to 999; found 1000"):
        model.conditioned(label=1000)
    with pytest.raises(HspaceError, match="needs a class, label 0 to 999"):
        hspace.load(pipelines.dit(), "cpu").predict(X_T, 1)


@pytest.mark.parametrize("scale", [1.0, 4.5])
def test_pixart_is_its_pipeline_bit_for_bit(scale: float, tmp_path: Path) -> None:
    """Words that are there and words that are not, guidance before the variance is left out."""
    pipe = pipelines.pixart()
    model = hspace.load(pipe, "cpu", **FLOW, guidance_scale=scale)
    sampler = hspace.Sampler(model, STEPS, 0.0, spacing="leading")
    n = {"num_images_per_prompt": 2, "num_inference_steps": STEPS, "output_type": "latent"}
    plain = {"use_resolution_binning": False, "clean_caption": False, "latents": sampler.latents([0, 1]).x_T()}
    steps, returned = steps_of(pipe, **FLOW, **n, **plain, guidance_scale=scale)
    for output, timestep, x_t in steps:
        assert torch.equal(model.predict(x_t, timestep).eps, output)
    x_0 = sampler.run([0, 1], pictures=False)
    torch.testing.assert_close(x_0, returned.images, rtol=0, atol=2e-5 * float(x_0.abs().max()))
    pipe.save_pretrained(tmp_path / "pixart")
    again = hspace.load(tmp_path / "pixart", "cpu", **FLOW)
    assert again.condition == Condition("a cat", "a dog", guidance_scale=4.5)
    torch.testing.assert_close(
        again.conditioned(guidance_scale=scale).predict(x_t, timestep).eps, output, rtol=0, atol=1e-5
    )


def test_pixart_of_1024_pixels_is_told_the_size() -> None:
    """Its network asks for it, as others of other sizes do not."""
    pipe = pipelines.pixart(sample_size=128, patch_size=32, num_attention_heads=3, cross_attention_dim=12)
    model = hspace.load(pipe, "cpu", prompt="a cat", guidance_scale=4.5)
    x_t = torch.randn(1, 4, 128, 128, generator=torch.Generator().manual_seed(0))
    plain = {"use_resolution_binning": False, "clean_caption": False, "latents": x_t, "output_type": "latent"}
    (step,), _ = steps_of(pipe, "a cat", guidance_scale=4.5, num_inference_steps=1, height=256, width=256, **plain)
    assert torch.equal(model.predict(x_t, step.timestep).eps, step.output)


FLOW = {"prompt": "a cat", "negative_prompt": "a dog"}
OF_PICTURE = "norm_out"  # behind the blocks, which return two tensors; of the picture's tokens alone


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_flow_matching_is_the_pipelines(scale: float) -> None:
    """SD3: the network sees x' and 1000 s, and Euler's steps between them are DDIM's between the x_t of hspace."""
    pipe = pipelines.stable_diffusion_3()
    model = hspace.load(pipe, "cpu", tap=OF_PICTURE, **FLOW, guidance_scale=scale)
    sampler = hspace.Sampler(model, STEPS, 0.0)
    x_T = sampler.latents([0, 1]).x_T()
    even = [(timestep + 1) / 1000 for timestep in sampler.timesteps]  # before the shift
    n = {"num_images_per_prompt": 2, "num_inference_steps": STEPS, "sigmas": even, "output_type": "latent"}
    recorded, returned = steps_of(pipe, **FLOW, **n, guidance_scale=scale, latents=x_T.clone())
    sigmas = pipe.scheduler.sigmas.double()
    assert sigmas[0] == 1
    x_0 = sampler.run([0, 1], pictures=False)
    torch.testing.assert_close(x_0, returned.images, rtol=0, atol=1e-4 * float(x_0.abs().max()))
    for (output, seen, x), s, timestep in zip(recorded, sigmas.tolist(), sampler.timesteps, strict=False):
        assert seen == pytest.approx(1000 * s, abs=1)
        size = ((1 - s) ** 2 + s**2) ** 0.5
        mine = model.predict(x / size, timestep)
        torch.testing.assert_close(mine.eps, x + (1 - s) * output, rtol=0, atol=1e-4)
        torch.testing.assert_close(mine.x_0, x - s * output, rtol=0, atol=1e-4)
        alpha = float(model.alphas_cumprod[timestep])
        again = alpha**0.5 * mine.x_0 + (1 - alpha) ** 0.5 * mine.eps
        torch.testing.assert_close(again, x / size, rtol=0, atol=1e-4)
    pictures = pipe.vae.decode(x_0 / 1.5 + 0.06).sample
    torch.testing.assert_close(sampler.run([0, 1]), pictures, rtol=0, atol=1e-4)


def test_a_schedule_of_flow_matching_whose_shift_depends_on_the_size() -> None:
    pipe = pipelines.stable_diffusion_3()
    pipe.scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    alphas = hspace.load(pipe, "cpu", tap=OF_PICTURE).alphas_cumprod
    s = 0.5
    assert float(alphas[499]) == pytest.approx((1 - s) ** 2 / ((1 - s) ** 2 + s**2))


def test_methods_on_flow_matching(tmp_path: Path) -> None:
    pipe = pipelines.stable_diffusion_3()
    pipe.save_pretrained(tmp_path / "sd3")
    model = hspace.load(tmp_path / "sd3", "cpu", tap=OF_PICTURE, **FLOW, guidance_scale=5.0)
    assert model.condition == Condition("a cat", "a dog", guidance_scale=5.0)
    sampler = hspace.Sampler(model, 3, 1.0)
    plain = sampler.run(range(2))
    (pc,) = hspace.PCA(1).fit(sampler, range(4)).directions_
    assert torch.equal(sampler.run(range(2), 0.0 * pc), plain)
    assert (sampler.run(range(2), 3.0 * pc) - plain).abs().max() > 1e-4
    inversion = sampler.invert(plain.clamp(-1, 1))
    best = model.to_pictures(model.from_pictures(plain.clamp(-1, 1)))
    torch.testing.assert_close(sampler.run(inversion), best, rtol=0, atol=1e-3)
    still = hspace.Sampler(model, 3, 0.0)
    jacobian = hspace.Jacobian(1, timesteps=[still.timesteps[1]], unit_seeds=range(3)).fit(still, [0])
    assert float(jacobian.residuals_.max()) < 1e-2
