"""Stable Diffusion 1 and 2 and XL against diffusers' own pipelines: same prompts, latents, guidance and grid."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from tests import pipelines, tiny
from tests.families.families import PROMPTED, Family
from tests.families.oracles import hooked, steps_of
from torch import Tensor

import hspace
from hspace.diffusion import Inversion
from hspace.errors import HspaceError
from hspace.models.conditioning import Condition, Prompts
from hspace.models.prediction import predicted
from hspace.models.products import products
from hspace.models.quiet import quietly
from hspace.report.reproduce import reproduce

STEPS = 4
SCALES = (1.0, 5.0)
TEXT = {"prompt": "a cat", "negative_prompt": "a dog"}
every_family = pytest.mark.parametrize("family", PROMPTED.values(), ids=PROMPTED.keys())


def ran(pipe: Any, x_T: Tensor, **options: Any) -> tuple[list[Any], Tensor]:
    """diffusers' DDIM, eta 0; the prompt is encoded once, as by hspace: last bits of a text encoder know the batch."""
    n = {"num_images_per_prompt": len(x_T), "num_inference_steps": STEPS, "eta": 0.0, "output_type": "latent"}
    steps, returned = steps_of(pipe, **{**TEXT, **n, "latents": x_T.clone(), **options})
    return steps, returned.images


def shift(model: hspace.Denoiser, size: float = 0.5) -> Tensor:
    return size * torch.randn(model.h_shape, generator=torch.Generator().manual_seed(1))


@every_family
@pytest.mark.parametrize("scale", SCALES)
def test_the_guided_prediction_is_the_pipelines_bit_for_bit(family: Family, scale: float) -> None:
    """Pictures to float tolerance: a scheduler computes x_{t-1} from float32 coefficients, we from float64 ones."""
    pipe = family.build()
    model = hspace.load(pipe, "cpu", **TEXT, guidance_scale=scale)
    sampler = hspace.Sampler(model, STEPS, 0.0, spacing="leading")
    steps, x_0 = ran(pipe, sampler.latents(range(3)).x_T(), guidance_scale=scale)
    assert [step.timestep for step in steps] == list(sampler.timesteps)
    for output, timestep, x_t in steps:
        alpha = float(model.alphas_cumprod[timestep])
        expected = predicted(model.prediction_type, output, x_t, alpha)
        mine = model.predict(x_t, timestep)
        assert torch.equal(mine.eps, expected.eps)
        assert torch.equal(mine.x_0, expected.x_0)
        assert torch.equal(model.decode(model.encode(x_t, timestep)).eps, expected.eps)
    torch.testing.assert_close(sampler.run(range(3), pictures=False), x_0, rtol=0, atol=2e-5 * float(x_0.abs().max()))
    pictures = pipe.vae.decode(x_0 / pipe.vae.config.scaling_factor).sample
    torch.testing.assert_close(sampler.run(range(3)), pictures, rtol=0, atol=1e-5)


@every_family
def test_a_shift_is_that_of_a_hook_in_the_pipeline(family: Family) -> None:
    """In both passes, in the conditional one, and in an unguided run."""
    pipe = family.build()
    model = hspace.load(pipe, "cpu", **TEXT, guidance_scale=5.0)
    v = shift(model)
    vectors = v.expand(STEPS, *v.shape).clone()
    found = {}
    for shifted in ("both", "conditional"):
        sampler = hspace.Sampler(model.conditioned(shifted=shifted), STEPS, 0.0, spacing="leading")
        own = hspace.Direction(vectors, sampler.setting(), "own")

        def moved(h: Tensor, shifted: str = shifted) -> Tensor:
            without, conditional = h.chunk(2)
            return torch.cat([without + v if shifted == "both" else without, conditional + v])

        with hooked(pipe.unet.mid_block, moved):
            _, expected = ran(pipe, sampler.latents(range(2)).x_T(), guidance_scale=5.0)
        for injected in (sampler.run(range(2), own, pictures=False),):
            torch.testing.assert_close(injected, expected, rtol=0, atol=1e-4)
            found[shifted] = injected
    assert (found["both"] - found["conditional"]).abs().max() > 1e-2
    unguided = hspace.Sampler(model.conditioned(guidance_scale=1.0), STEPS, 0.0, spacing="leading")
    with hooked(pipe.unet.mid_block, lambda h: h + v):
        _, expected = ran(pipe, unguided.latents(range(2)).x_T(), guidance_scale=1.0)
    moved_alone = unguided.run(range(2), hspace.Direction(vectors, unguided.setting(), "own"), pictures=False)
    torch.testing.assert_close(moved_alone, expected, rtol=0, atol=1e-4)


@every_family
@pytest.mark.parametrize("scale", SCALES)
def test_h_is_that_of_the_conditional_pass(family: Family, scale: float) -> None:
    pipe = family.build()
    model = hspace.load(pipe, "cpu", **TEXT, guidance_scale=scale)
    sampler = hspace.Sampler(model, STEPS, 0.0, spacing="leading")
    x_T, mine, theirs = sampler.latents(range(2)).x_T(), [], []
    with hooked(pipe.unet.mid_block, lambda h: theirs.append(h.clone())):
        steps, _ = ran(pipe, x_T, guidance_scale=scale)
    for (_, timestep, x_t), h in zip(steps, theirs, strict=True):
        _, seen = model.observe(x_t, timestep)
        assert torch.equal(seen, h.chunk(2)[1] if scale > 1 else h)
        assert torch.equal(model.encode(x_t, timestep).h, seen)
    sampler.run(range(2), record=lambda t, h, rows: mine.append(h.clone()))
    torch.testing.assert_close(mine[0], theirs[0].chunk(2)[1] if scale > 1 else theirs[0], rtol=0, atol=1e-5)


@every_family
@pytest.mark.parametrize("shifted", ["both", "conditional"])
def test_the_jacobian_is_that_of_the_guided_prediction(family: Family, shifted: str) -> None:
    """Every column, against reverse mode over the pipeline's own network with guidance written out, in float64."""
    pipe = family.build()
    model = hspace.load(pipe, "cpu", torch.float64, **TEXT, guidance_scale=3.0, shifted=shifted)
    timestep, d = 501, 8 * 4 * 4
    x_t = torch.randn(1, *model.image_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    given = model.branches.arguments(1, x_t.device, torch.float64)  # checked above: bit for bit the pipeline's

    def guided(v: Tensor) -> Tensor:
        def moved(h: Tensor) -> Tensor:
            without, own = h.chunk(2)
            own = own + v.reshape(1, 8, 4, 4)
            return torch.cat([without + v.reshape(1, 8, 4, 4) if shifted == "both" else without, own])

        with hooked(pipe.unet.mid_block, moved):
            output = pipe.unet(torch.cat([x_t] * 2), timestep, **given).sample
        without, own = output.chunk(2)
        return predicted(model.prediction_type, without + 3.0 * (own - without), x_t, alpha).eps.flatten()

    alpha = float(model.alphas_cumprod[timestep])
    dense = torch.autograd.functional.jacobian(guided, torch.zeros(d, dtype=torch.float64))
    jacobian = products(model, model.encode(x_t, timestep), block=d)
    assert jacobian.route == "double_vjp"
    columns = jacobian.forward(torch.eye(d, dtype=torch.float64)[None])[0]
    torch.testing.assert_close(columns.T, dense, rtol=0, atol=1e-10)
    rows = jacobian.transposed(dense.T[None])[0]
    torch.testing.assert_close(rows, dense.T @ dense, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shifted", ["both", "conditional"])
def test_many_shifts_are_decoded_at_once(shifted: Any) -> None:
    """k blocks of n rows within each pass: each row as if it were alone."""
    model = PROMPTED["stable diffusion, v"].load(torch.float64, shifted=shifted)
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(2, *model.image_shape, generator=generator, dtype=torch.float64)
    shifts = torch.randn(3, *model.h_shape, generator=generator, dtype=torch.float64)
    encoding = model.encode(x_t, 251)
    assert model.can_replay
    decoded = model.decode(encoding, torch.cat([encoding.h + v for v in shifts])).eps
    expected = torch.cat([model.predict(x_t, 251, shift=v).eps for v in shifts])
    torch.testing.assert_close(decoded, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("scale", "left"), [(1.0, 0.01), (3.0, 0.2)])
def test_ddim_inversion_with_the_prompt(scale: float, left: float) -> None:
    """Three steps of a random network are hard to undo, guided ones harder; another prompt undoes none."""
    family = PROMPTED["stable diffusion, v"]
    sampler = family.sampler(dtype=torch.float64, guidance_scale=scale)
    model = sampler.model
    pictures = model.to_pictures(sampler.run([0], pictures=False)).clamp(-1, 1)
    encoded = model.from_pictures(pictures)

    def error(sampler: hspace.Sampler, inversion: Inversion) -> float:
        return float((sampler.run(inversion, pictures=False) - encoded).abs().max() / encoded.abs().max())

    plain, refined = (sampler.invert(pictures, refine=refine) for refine in (0, 30))
    assert error(sampler, refined) < left < 1 < error(sampler, plain)
    other = model.conditioned("a house by the sea", negative_prompt="rain", guidance_scale=scale)
    assert error(hspace.Sampler.on(other, refined.setting), refined) > 2 * error(sampler, refined)


def test_what_is_not_given_stays() -> None:
    model = hspace.load(pipelines.stable_diffusion(), "cpu")
    assert model.condition == Condition(prompt="")
    assert model.conditioned("a cat").condition == Condition(prompt="a cat", guidance_scale=7.5)
    chosen = model.conditioned(guidance_scale=1.0)
    assert chosen.conditioned("a cat").condition == Condition(prompt="a cat")
    away = model.conditioned("a cat", negative_prompt="a dog", shifted="conditional")
    assert away.conditioned("a house").condition == Condition(
        "a house", "a dog", guidance_scale=7.5, shifted="conditional"
    )
    assert away.under(None).condition == Condition(prompt="")
    assert model.condition == Condition(prompt="")
    assert hspace.load(pipelines.stable_diffusion_xl(), "cpu", prompt="x").condition.guidance_scale == 5.0


def test_guidance_may_come_and_go() -> None:
    """How the network is decoded is found out for each number of passes."""
    plain = hspace.load(pipelines.stable_diffusion(), "cpu", prompt="a cat", guidance_scale=1.0)
    assert plain.can_replay
    guided = plain.conditioned(guidance_scale=4.0)
    assert "replay" not in vars(guided)
    x_t = torch.randn(2, *plain.image_shape, generator=torch.Generator().manual_seed(0))
    for model in (guided, plain, guided.conditioned("a dog"), guided.conditioned(guidance_scale=1.0)):
        assert torch.equal(model.decode(model.encode(x_t, 501)).eps, model.predict(x_t, 501).eps)
    assert guided.conditioned("a dog").replay is guided.replay


def test_a_condition_that_stays_is_not_encoded_again() -> None:
    model = hspace.load(pipelines.stable_diffusion(), "cpu", prompt="a cat")
    assert model.under(Condition(prompt="a cat", guidance_scale=7.5)).branches is model.branches
    assert model.tapped("up_blocks.0").branches is model.branches
    assert model.conditioned("a dog").branches is not model.branches


def test_other_precisions() -> None:
    """Embeddings follow the network; text encoders and the autoencoder stay in float32."""
    pipe = pipelines.stable_diffusion_xl()
    model = hspace.load(pipe, "cpu", torch.bfloat16, **TEXT, guidance_scale=5.0)
    sampler = hspace.Sampler(model, 2, 0.0)
    rough = sampler.run([0], pictures=False)
    assert rough.dtype == torch.float32
    assert pipe.text_encoder.dtype == pipe.text_encoder_2.dtype == pipe.vae.dtype == torch.float32
    still = hspace.random_directions(sampler.setting(), [0.0, 0.0])[0]
    assert torch.equal(sampler.run([0], still, pictures=False), rough)
    wide = model.widened()
    assert (wide.dtype, wide.condition) == (torch.float32, model.condition)
    assert (wide.predict(rough, 501).eps - model.predict(rough, 501).eps).abs().max() < 0.5
    again = model.to(dtype=torch.float64)
    assert again.predict(rough.double(), 501).eps.dtype == torch.float64


def test_prompts_of_one_text_encoder() -> None:
    """XL's refiner has the second one only."""
    pipe = pipelines.stable_diffusion_xl(cross_attention_dim=pipelines.TEXT_WIDTH)
    pipe.text_encoder = pipe.tokenizer = None
    model = hspace.load(pipe, "cpu", **TEXT, guidance_scale=5.0)
    sampler = hspace.Sampler(model, STEPS, 0.0, spacing="leading")
    steps, _ = ran(pipe, sampler.latents([0]).x_T(), guidance_scale=5.0)
    assert torch.equal(model.predict(steps[1].x_t, steps[1].timestep).eps, steps[1].output)


ODD: dict[str, Any] = {
    "an upscaler": {"num_class_embeds": 5},
    "unCLIP": {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 4},
    "DeepFloyd IF": {"encoder_hid_dim_type": "text_proj", "encoder_hid_dim": 4},
    "LCM": {"time_cond_proj_dim": 4},
    "IF's pooled text": {"addition_embed_type": "text", "addition_embed_type_num_heads": 2},
}


@pytest.mark.parametrize("config", ODD.values(), ids=ODD.keys())
def test_networks_that_ask_for_more_than_text(config: dict[str, Any]) -> None:
    name = next(iter(config))
    with pytest.raises(HspaceError, match=rf"the network takes more than a prompt \({name} .*isn't supported"):
        hspace.load(pipelines.stable_diffusion(**config), "cpu")


def test_a_text_encoder_that_does_not_know_its_tokenizers_words() -> None:
    pipe = pipelines.stable_diffusion()
    pipe.text_encoder.set_input_embeddings(torch.nn.Embedding(3, pipelines.TEXT_WIDTH))
    with pytest.raises(HspaceError, match=r"StableDiffusionPipeline can't encode the prompt \(index out of range"):
        hspace.load(pipe, "cpu", prompt="a cat")


def test_prompts_of_a_network_that_nobody_knows() -> None:
    class Pipeline:
        unet = tiny.PlainNetwork()

        def __call__(self) -> None: ...

    with pytest.raises(HspaceError, match="Pipeline: prompts of a PlainNetwork aren't supported"):
        Prompts(Pipeline())


def test_the_lines_of_a_direction_make_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipelines.stable_diffusion().save_pretrained(tmp_path / "sd")
    monkeypatch.chdir(tmp_path)
    asked = {"prompt": 'a "cat"', "guidance_scale": 3.0, "shifted": "conditional"}
    sampler = hspace.Sampler(hspace.load("sd", "cpu", **asked), 2, 0.0)  # type: ignore[arg-type]
    made = hspace.PCA(2).fit(sampler, range(4)).directions_
    lines = reproduce(made[1])
    assert all(words in lines for words in (r'prompt="a \"cat\""', "guidance_scale=3.0", 'shifted="conditional"'))
    found: dict[str, Any] = {}
    exec(lines, found)
    assert torch.equal(found["direction"].vectors, made[1].vectors)
    assert found["direction"].setting.condition == made.setting.condition


def test_a_network_without_its_text_encoder() -> None:
    pipe = pipelines.stable_diffusion()
    with pytest.raises(HspaceError, match="a UNet2DConditionModel needs its text encoder: load the whole pipeline"):
        hspace.load((pipe.unet, pipe.scheduler))
    assert isinstance(pipe.unet, UNet2DConditionModel)
    pipe.text_encoder = None
    with pytest.raises(
        HspaceError, match="StableDiffusionPipeline has no text_encoder: prompts need the whole pipeline"
    ):
        hspace.load(pipe, "cpu", prompt="a cat")


ASKED: dict[str, tuple[dict[str, Any], str]] = {
    "a class": ({"label": 3}, "takes a prompt, no label"),
    "guidance of no size": ({"guidance_scale": float("nan")}, "guidance_scale must be a number, not nan"),
    "another pass": ({"shifted": "first"}, "shifted must be one of both, conditional, not 'first'"),
}


@pytest.mark.parametrize(("asked", "message"), ASKED.values(), ids=ASKED.keys())
def test_what_can_not_be_asked_for(asked: dict[str, Any], message: str) -> None:
    model = hspace.load(pipelines.stable_diffusion(), "cpu")
    with tiny.unchecked_types(), pytest.raises(HspaceError, match=message):
        model.conditioned(**asked)
    with pytest.raises(HspaceError, match="takes a prompt; found none"):
        model.under(Condition())


def test_an_unconditional_model_takes_nothing() -> None:
    with pytest.raises(HspaceError, match="UNet2DModel takes no prompt or class; asked for: prompt 'a cat'"):
        hspace.load((tiny.unet(), tiny.scheduler()), prompt="a cat")
    model = hspace.load((tiny.unet(), tiny.scheduler()))
    assert model.under(Condition()) is model.under(None) is model
    with pytest.raises(HspaceError, match="asked for: no condition"):
        model.conditioned(shifted="conditional")


def test_without_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipelines.stable_diffusion().save_pretrained(tmp_path / "sd")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(HspaceError, match=r"need transformers .*: pip install 'hspace\[transformers\]'"):
        hspace.load(tmp_path / "sd", "cpu")


def test_a_folder_is_its_pipeline_in_silence(tmp_path: Path) -> None:
    """In a process of its own, where nobody has silenced anything; text encoders may be stored in half precision."""
    pipe = pipelines.stable_diffusion_xl()
    pipe.text_encoder.half()
    pipe.save_pretrained(tmp_path / "xl")
    program = f"""
import warnings
warnings.simplefilter("always")
import hspace, torch
torch.set_num_threads(1)
model = hspace.load({str(tmp_path / "xl")!r}, "cpu", **{TEXT!r}, guidance_scale=5.0)
print(hspace.Sampler(model, 2, 0.0).run([0]).double().abs().sum().item())
"""
    as_a_user = {name: value for name, value in os.environ.items() if name != "DIFFUSERS_VERBOSITY"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=as_a_user)
    assert done.stderr == ""
    pipe.text_encoder.float()
    model = hspace.load(pipe, "cpu", **TEXT, guidance_scale=5.0)
    expected = float(hspace.Sampler(model, 2, 0.0).run([0]).double().abs().sum())
    assert float(done.stdout) == pytest.approx(expected, rel=1e-5)


def test_settings_of_the_libraries_come_back() -> None:
    from diffusers.utils import logging as of_diffusers
    from huggingface_hub.utils import are_progress_bars_disabled
    from transformers.utils import logging as of_transformers

    libraries = (of_diffusers, of_transformers)

    def state() -> list[Any]:
        seen: list[Any] = [each.get_verbosity() for each in libraries]
        return [*seen, *(each.is_progress_bar_enabled() for each in libraries), are_progress_bars_disabled()]

    before = state()
    seen: list[list[Any]] = []

    def fails() -> None:
        with quietly("diffusers", "transformers"):
            seen.append(state())
            raise ValueError("midway")

    with pytest.raises(ValueError, match="midway"):
        fails()
    assert seen == [[logging.ERROR, logging.ERROR, False, False, True]]
    assert state() == before
