"""Folders as well-known repositories have them, written by early versions of diffusers and transformers; tiny.

google/ddpm-*: side by side, keys of attention as before diffusers 0.15. CompVis/ldm-celebahq-256: no scaling_factor,
and keys of a scheduler that are gone. Stable Diffusion 1 and 2: vocab.json and merges.txt, transformers' position_ids.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, PNDMScheduler, UNet2DModel
from safetensors.torch import load_file
from tests import pipelines, tiny
from torch import Tensor

import hspace

NETWORK = "diffusion_pytorch_model.safetensors"
OLD_ATTENTION = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def as_written_of_old(folder: Path, rename: Callable[[str], str] = lambda name: name, **more: Tensor) -> None:
    """A .bin with other names in it."""
    path = next(folder.glob("*.safetensors"))
    weights = {rename(name): weight for name, weight in load_file(path).items()}
    name = "pytorch_model.bin" if path.name == "model.safetensors" else "diffusion_pytorch_model.bin"
    torch.save({**weights, **more}, folder / name)  # noqa: TID251 - as repositories of old have it
    path.unlink()


def old_attention(name: str) -> str:
    for new, old in OLD_ATTENTION.items():
        if ".attentions." in name:
            name = name.replace(f".{new}.", f".{old}.")
    return name


def write(path: Path, config: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(config), encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_ddpm_of_google(tmp_path: Path) -> None:
    unet = tiny.unet(
        dtype=torch.float32,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=None,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
    )
    unet.save_pretrained(tmp_path)
    as_written_of_old(tmp_path, old_attention)
    assert any("query" in name for name in torch.load(tmp_path / "diffusion_pytorch_model.bin"))  # noqa: TID251
    keep = "act_fn attention_head_dim block_out_channels center_input_sample down_block_types downsample_padding"
    keep += " flip_sin_to_cos freq_shift in_channels layers_per_block mid_block_scale_factor norm_eps norm_num_groups"
    keep += " out_channels sample_size time_embedding_type up_block_types"
    config = {name: value for name, value in unet.config.items() if name in keep.split()}
    write(tmp_path / "config.json", {"_class_name": "UNet2DModel", "_diffusers_version": "0.1.1", **config})
    schedule = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear", "num_train_timesteps": 1000}
    old = {"clip_sample": True, "trained_betas": None, "variance_type": "fixed_small", "_diffusers_version": "0.1.1"}
    write(tmp_path / "scheduler_config.json", {"_class_name": "DDPMScheduler", **schedule, **old})
    names = {"scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]}
    write(tmp_path / "model_index.json", {"_class_name": "DDPMPipeline", "_diffusers_version": "0.1.1", **names})
    model = hspace.load(tmp_path, device="cpu")
    expected = hspace.load((unet, DDIMScheduler(**schedule)))
    assert model.weight_hash == expected.weight_hash
    x_t = torch.randn(2, *tiny.IMAGE_SHAPE, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.predict(x_t, 500).eps, expected.predict(x_t, 500).eps)
    assert model.notes == ("clip_sample is switched off: clipping x_0 would hide what a direction does",)


def test_latent_diffusion_of_compvis(tmp_path: Path) -> None:
    pipe = pipelines.ldm()
    pipe.save_pretrained(tmp_path)
    for part in ("unet", "vqvae"):
        as_written_of_old(tmp_path / part, old_attention)
    config = read(tmp_path / "vqvae" / "config.json")
    kept = ("act_fn", "block_out_channels", "down_block_types", "in_channels", "latent_channels", "layers_per_block")
    kept += ("norm_num_groups", "num_vq_embeddings", "out_channels", "sample_size", "up_block_types", "_class_name")
    write(tmp_path / "vqvae" / "config.json", {name: config[name] for name in kept})
    schedule = {"beta_start": 0.0015, "beta_end": 0.0195, "beta_schedule": "scaled_linear", "clip_sample": False}
    gone = {"timestep_values": None, "tensor_format": "pt", "trained_betas": None, "_diffusers_version": "0.1.2"}
    write(tmp_path / "scheduler" / "scheduler_config.json", {"_class_name": "DDIMScheduler", **schedule, **gone})
    model = hspace.load(tmp_path, device="cpu")
    assert model.codec is not None
    assert model.codec.scale == 1.0
    assert model.notes == ("the VQ-VAE's file has no scaling_factor: 1 is taken, as by its authors",)
    latents = torch.randn(1, *model.image_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(model.to_pictures(latents), pipe.vqvae.decode(latents).sample)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_stable_diffusion_of_old(tmp_path: Path, prediction_type: str) -> None:
    """1.5 with PNDM; 2.1 with v_prediction, a number of heads a level and linear projections."""
    options: dict[str, Any] = {"attention_head_dim": 2}
    if prediction_type == "v_prediction":
        options = {"attention_head_dim": [2, 4], "use_linear_projection": True, "upcast_attention": True}
    pipe = pipelines.stable_diffusion(**options)
    noise = {name: value for name, value in pipelines.STABLE_DIFFUSION_NOISE.items() if name != "clip_sample"}
    pipe.scheduler = PNDMScheduler(**noise, skip_prk_steps=True, prediction_type=prediction_type)
    pipe.save_pretrained(tmp_path / "old")
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    old = tmp_path / "old"
    as_written_of_old(old / "unet")
    as_written_of_old(old / "vae", old_attention)
    schedule = old / "scheduler" / "scheduler_config.json"
    write(schedule, read(schedule) | {"clip_sample": False})
    positions = {"text_model.embeddings.position_ids": torch.arange(pipelines.TOKENS)[None]}
    as_written_of_old(old / "text_encoder", lambda name: f"text_model.{name}", **positions)
    whole = read(old / "tokenizer" / "tokenizer.json")["model"]
    write(old / "tokenizer" / "vocab.json", whole["vocab"])
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in whole["merges"]]
    (old / "tokenizer" / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    (old / "tokenizer" / "tokenizer.json").unlink()
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    write(old / "tokenizer" / "special_tokens_map.json", {**special, "pad_token": "<|endoftext|>"})
    about = {"tokenizer_class": "CLIPTokenizer", "model_max_length": pipelines.TOKENS, "do_lower_case": True, **special}
    write(old / "tokenizer" / "tokenizer_config.json", {**about, "name_or_path": "openai/clip-vit-large-patch14"})
    safety = {"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}
    safety["feature_extractor"] = ["transformers", "CLIPFeatureExtractor"]
    names = {name: part for name, part in read(old / "model_index.json").items() if part != [None, None]}
    names |= {"_diffusers_version": "0.2.2", "tokenizer": ["transformers", "CLIPTokenizer"], **safety}
    names.pop("requires_safety_checker")
    write(old / "model_index.json", names)
    model = hspace.load(old, device="cpu", prompt="a smile", guidance_scale=5.0)
    expected = hspace.load(tmp_path / "new", device="cpu", prompt="a smile", guidance_scale=5.0)
    assert model.weight_hash == expected.weight_hash
    assert model.prediction_type == prediction_type
    x_t = torch.randn(1, *model.image_shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.predict(x_t, 500).eps, expected.predict(x_t, 500).eps)
    with torch.no_grad():
        assert torch.equal(model.to_pictures(x_t), expected.to_pictures(x_t))


@pytest.mark.parametrize(
    ("pipeline", "condition"),
    [(pipelines.dit, {"label": 3}), (pipelines.pixart, {"prompt": "smile"})],
    ids=["facebook/DiT-XL-2-256", "PixArt-alpha/PixArt-XL-2-512x512"],
)
def test_transformers_under_their_old_name(
    tmp_path: Path, pipeline: Callable[[], Any], condition: dict[str, Any]
) -> None:
    """With options of others; the classes of today are no subclasses of that of old."""
    pipeline().save_pretrained(tmp_path / "old")
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    config = tmp_path / "old" / "transformer" / "config.json"
    others = {"double_self_attention": False, "only_cross_attention": False, "num_vector_embeds": None}
    write(config, read(config) | {"_class_name": "Transformer2DModel", **others})
    index = tmp_path / "old" / "model_index.json"
    labels = (
        {"id2label": {"0": "tench, Tinca tinca", "1": "goldfish, Carassius auratus"}} if "label" in condition else {}
    )
    write(index, read(index) | labels | {"transformer": ["diffusers", "Transformer2DModel"]})
    model = hspace.load(tmp_path / "old", device="cpu", **condition)
    expected = hspace.load(tmp_path / "new", device="cpu", **condition)
    assert model.weight_hash == expected.weight_hash
    x_t = torch.randn(1, *model.image_shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.predict(x_t, 500).eps, expected.predict(x_t, 500).eps)


@pytest.mark.parametrize(
    "options",
    [
        {"center_input_sample": True},
        {"act_fn": "gelu"},
        {"add_attention": False},
        {"resnet_time_scale_shift": "scale_shift"},
        {"downsample_type": "resnet", "upsample_type": "resnet"},
        {"dropout": 0.5},
        {"attn_norm_num_groups": 2},
        {"out_channels": 6},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_of_the_network_are_its_own_business(tmp_path: Path, options: dict[str, Any]) -> None:
    unet = tiny.unet(dtype=torch.float32, **options)
    unet.save_pretrained(tmp_path / "unet")
    tiny.scheduler().save_pretrained(tmp_path / "scheduler")
    model = hspace.load(tmp_path, device="cpu")
    x_t = torch.randn(1, *tiny.IMAGE_SHAPE, generator=torch.Generator().manual_seed(0))
    reference = UNet2DModel.from_pretrained(tmp_path / "unet").eval()
    with torch.no_grad():
        assert torch.equal(model.predict(x_t, 50).eps, reference(x_t, 50).sample[:, :3])


@pytest.mark.parametrize(
    ("options", "last"),
    [({"beta_schedule": "squaredcos_cap_v2"}, 2.5e-9), ({"rescale_betas_zero_snr": True}, 0.0)],
    ids=["cosine", "zero terminal SNR"],
)
def test_schedules_that_end_at_nothing(options: dict[str, Any], last: float) -> None:
    scheduler = DDIMScheduler(clip_sample=False, prediction_type="v_prediction", **options)
    assert float(scheduler.alphas_cumprod[-1]) == pytest.approx(last, rel=0.1, abs=1e-12)
    model = hspace.load((tiny.unet(), scheduler))
    assert 0 < float(model.alphas_cumprod[-1]) < 1e-7
    assert hspace.Sampler(model, steps=3).run([0]).isfinite().all()
