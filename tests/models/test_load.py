"""Every kind of source, and every kind of bad one; reading of folders is in `hspace.models.checkpoint`."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from diffusers import (
    DDIMPipeline,
    DDPMPipeline,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
    ScoreSdeVeScheduler,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from tests import tiny
from torch import nn

import hspace
from hspace.errors import HspaceError
from hspace.models import Denoiser

WEIGHTS = "diffusion_pytorch_model.safetensors"
X_T = torch.randn(2, *tiny.IMAGE_SHAPE, generator=torch.Generator().manual_seed(0))


def parts(**schedule: Any) -> tuple[Any, Any]:
    return tiny.unet(dtype=torch.float32), tiny.scheduler(**schedule)


def save(folder: Path, unet: Any, scheduler: Any, *, layout: str = "subfolders") -> Path:
    unet.save_pretrained(folder / "unet" if layout == "subfolders" else folder)
    scheduler.save_pretrained(folder / "scheduler" if layout == "subfolders" else folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "tiny", *parts())


def save_pipeline(kind: Callable[..., Any]) -> Callable[[Path], Path]:
    def saved(path: Path) -> Path:
        unet, scheduler = parts()
        scheduler = scheduler if kind is DDIMPipeline else DDPMScheduler.from_config(scheduler.config)
        kind(unet=unet, scheduler=scheduler).save_pretrained(path)
        return path

    return saved


SOURCES: dict[str, Callable[[Path], Any]] = {
    "a DDIM pipeline's folder": save_pipeline(DDIMPipeline),
    "a DDPM pipeline's folder": save_pipeline(DDPMPipeline),
    "unet and scheduler in subfolders": lambda path: save(path, *parts()),
    "unet and scheduler side by side": lambda path: save(path, *parts(), layout="flat"),
    "a folder's name": lambda path: str(save(path, *parts())),
    "a pipeline": lambda _: DDIMPipeline(*parts()),
    "a pair": lambda _: parts(),
    "a denoiser": lambda _: tiny.denoiser(dtype=torch.float32),
    "a function": lambda _: "tests.models.test_load:parts",
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES.keys())
def test_every_source_gives_the_same_model(tmp_path: Path, source: Callable[[Path], Any]) -> None:
    expected = tiny.denoiser(dtype=torch.float32)
    model = hspace.load(source(tmp_path / "tiny"), device="cpu")
    assert model.weight_hash == expected.weight_hash
    assert torch.equal(model.alphas_cumprod, expected.alphas_cumprod)
    assert (model.image_shape, model.h_shape, model.dtype) == (tiny.IMAGE_SHAPE, (8, 4, 4), torch.float32)
    assert (model.spacing, model.steps_offset, model.final_alpha, model.start) == ("leading", 0, 1.0, None)
    assert torch.equal(model.predict(X_T, 9).eps, expected.predict(X_T, 9).eps)


def test_models_are_named_by_folder_or_class(folder: Path) -> None:
    assert hspace.load(folder, device="cpu").model_id == "tiny"
    assert hspace.load(parts()).model_id == "UNet2DModel"


@pytest.mark.parametrize("beta_schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("prediction_type", tiny.PREDICTION_TYPES)
def test_the_checkpoints_own_schedule(tmp_path: Path, beta_schedule: str, prediction_type: str) -> None:
    config = {
        "beta_schedule": beta_schedule,
        "timestep_spacing": "trailing",
        "steps_offset": 1,
        "set_alpha_to_one": False,
    }
    unet, scheduler = parts(prediction_type=prediction_type, **config)
    for source in ((unet, scheduler), save(tmp_path / "tiny", unet, scheduler)):
        model = hspace.load(source, device="cpu")
        assert torch.equal(model.alphas_cumprod, scheduler.alphas_cumprod.double())
        assert model.prediction_type == prediction_type
        assert (model.spacing, model.steps_offset) == ("trailing", 1)
        assert model.final_alpha == float(scheduler.alphas_cumprod[0])


@pytest.mark.parametrize("kind", [DDPMScheduler, PNDMScheduler, DPMSolverMultistepScheduler])
def test_schedulers_of_any_kind_with_alphas_cumprod(tmp_path: Path, kind: Any) -> None:
    scheduler = kind(num_train_timesteps=50, beta_schedule="scaled_linear")
    model = hspace.load(save(tmp_path / "tiny", parts()[0], scheduler), device="cpu")
    assert torch.equal(model.alphas_cumprod, scheduler.alphas_cumprod.double())


@pytest.mark.parametrize("option", ["clip_sample", "thresholding"])
def test_clipping_is_switched_off_with_a_note(tmp_path: Path, option: str) -> None:
    unet, scheduler = parts(**{option: True})
    for source in ((unet, scheduler), save(tmp_path / "tiny", unet, scheduler)):
        assert hspace.load(source, device="cpu").notes == (
            "clip_sample is switched off: clipping x_0 would hide what a direction does",
        )
    assert hspace.load(parts()).notes == ()


def test_shapes_that_are_not_square() -> None:
    model = hspace.load((tiny.unet(sample_size=(8, 4), in_channels=1, out_channels=1), tiny.scheduler()))
    assert (model.image_shape, model.h_shape) == ((1, 8, 4), (8, 4, 2))


def test_the_hash_is_that_of_the_file_whatever_dtype_it_is_loaded_in(folder: Path) -> None:
    model = hspace.load(folder, device="cpu")
    half = hspace.load(folder, device="cpu", dtype=torch.bfloat16)
    assert (half.dtype, half.state_dtype) == (torch.bfloat16, torch.float32)
    assert half.weight_hash == hspace.load(folder, "cpu", torch.float64).weight_hash == model.weight_hash
    weights = load_file(folder / "unet" / WEIGHTS)
    weights["conv_in.bias"][1] += 1e-6
    save_file(weights, folder / "unet" / WEIGHTS)
    assert hspace.load(folder, device="cpu").weight_hash != model.weight_hash


def test_weights_stored_in_half_precision_compute_in_float32(tmp_path: Path) -> None:
    unet, scheduler = parts()
    assert hspace.load(save(tmp_path / "half", unet.half(), scheduler), device="cpu").dtype == torch.float32


def test_objects_keep_their_precision_and_take_another_on_request() -> None:
    assert hspace.load((tiny.unet(), tiny.scheduler())).dtype == torch.float64
    assert hspace.load((tiny.unet(), tiny.scheduler()), dtype=torch.float32).dtype == torch.float32


def test_a_denoiser_with_another_tap_is_another_denoiser() -> None:
    model = tiny.denoiser()
    other = hspace.load(model, tap="up_blocks.0")
    assert (model.tap.name, other.tap.name) == ("mid_block", "up_blocks.0")
    assert hspace.load(model) is model


def test_taps_by_name(folder: Path) -> None:
    assert hspace.load(folder, device="cpu", tap="up_blocks.1").tap.name == "up_blocks.1"
    with pytest.raises(HspaceError, match="UNet2DModel has no module 'bottleneck' to tap"):
        hspace.load(folder, tap="bottleneck")


def test_a_hub_id_without_a_network_is_its_local_copy(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "hub" / "models--nobody--tiny"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("0" * 40)
    (cache / "snapshots").mkdir()
    shutil.copytree(folder, cache / "snapshots" / ("0" * 40))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    model = hspace.load("nobody/tiny", device="cpu")
    assert (model.model_id, model.weight_hash) == ("nobody/tiny", hspace.load(folder, device="cpu").weight_hash)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "faces65",
            "unknown model 'faces65': there is no folder of that name, .* faces64; hub ids look like owner/name",
        ),
        ("a/b/c", "unknown model 'a/b/c'"),
        ("no good/name!", "unknown model 'no good/name!': .* no hub id"),
        ("nobody/nothing", "can't get model 'nobody/nothing' from the hub .* the bundled models are faces64"),
        (None, "NoneType is no model: expected a name, a folder, a pipeline"),
        ((tiny.unet(),), "tuple is no model"),
        (tiny.unet(), "UNet2DModel is no model: .* a pair"),
        ((tiny.PlainNetwork(), tiny.scheduler()), "found PlainNetwork; wrap a network of your own in hspace.Denoiser"),
        ((tiny.unet(), ScoreSdeVeScheduler()), "ScoreSdeVeScheduler has no alphas_cumprod"),
        ((tiny.unet(class_embed_type="timestep"), tiny.scheduler()), "a class embedding of type 'timestep' isn't"),
        ((tiny.unet(sample_size=None), tiny.scheduler()), "configuration has no sample_size"),
    ],
)
def test_what_is_no_model_is_one_clear_line(source: Any, message: str) -> None:
    with pytest.raises(HspaceError, match=message) as caught:
        hspace.load(source)
    assert "\n" not in str(caught.value)


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(path)
    change(weights)
    save_file(weights, path)


def truncate(path: Path, keep: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data))])


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "empty": (lambda f: (shutil.rmtree(f), f.mkdir()), "no model: expected unet/config.json or config.json"),
    "no configuration": (lambda f: (f / "unet" / "config.json").unlink(), "tiny/unet: no model: expected config.json"),
    "no JSON": (lambda f: (f / "unet" / "config.json").write_text("{"), r"config.json is no JSON"),
    "JSON of another kind": (
        lambda f: (f / "unet" / "config.json").write_text("[1]"),
        r"config.json is no JSON object",
    ),
    "another class": (
        lambda f: edit_json(f / "unet" / "config.json", _class_name="UNet2DConditionModel"),
        "a UNet2DConditionModel needs its text encoder: expected model_index.json",
    ),
    "no scheduler": (lambda f: shutil.rmtree(f / "scheduler"), "no schedule: expected scheduler/scheduler_config.json"),
    "unknown scheduler": (
        lambda f: edit_json(f / "scheduler" / "scheduler_config.json", _class_name="OtherScheduler"),
        "diffusers has no scheduler OtherScheduler",
    ),
    "continuous scheduler": (
        lambda f: edit_json(f / "scheduler" / "scheduler_config.json", _class_name="ScoreSdeVeScheduler"),
        "tiny/scheduler: ScoreSdeVeScheduler has no alphas_cumprod",
    ),
    "unusable schedule": (
        lambda f: edit_json(f / "scheduler" / "scheduler_config.json", beta_schedule="sideways"),
        "scheduler: the schedule can't be used .*sideways",
    ),
    "no weights": (lambda f: (f / "unet" / WEIGHTS).unlink(), "unet: no weights: expected diffusion_pytorch_model"),
    "truncated weights": (
        lambda f: truncate(f / "unet" / WEIGHTS, 0.6),
        "truncated: expected at least 60876 bytes, found 36525",
    ),
    "truncated header": (
        lambda f: truncate(f / "unet" / WEIGHTS, 0.01),
        "truncated: expected at least 13808 bytes, found 608",
    ),
    "empty weights": (lambda f: truncate(f / "unet" / WEIGHTS, 0), "truncated: expected at least 8 bytes, found 0"),
    "wrong shape": (
        lambda f: edit_weights(f / "unet" / WEIGHTS, lambda w: w.update({"conv_out.bias": torch.zeros(5)})),
        "unet: the weights can't be read .*conv_out.bias",
    ),
    "missing weight": (
        lambda f: edit_weights(f / "unet" / WEIGHTS, lambda w: w.pop("conv_out.bias")),
        r"weights don't fit config.json \(1 missing_keys: conv_out.bias",
    ),
    "unexpected weight": (
        lambda f: edit_weights(f / "unet" / WEIGHTS, lambda w: w.update({"extra": torch.zeros(2)})),
        r"weights don't fit config.json \(1 unexpected_keys: extra",
    ),
    "NaN": (
        lambda f: edit_weights(f / "unet" / WEIGHTS, lambda w: w["conv_in.weight"][0, 0].fill_(float("nan"))),
        "weight conv_in.weight holds NaN or infinite numbers",
    ),
    "another architecture": (
        lambda f: edit_json(f / "unet" / "config.json", block_out_channels=[4, 16]),
        "unet: the weights can't be read",
    ),
    "no such block": (
        lambda f: edit_json(f / "unet" / "config.json", down_block_types=["DownBlock2D", "SidewaysBlock2D"]),
        "unet: the weights can't be read .*SidewaysBlock2D",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_folders_are_one_clear_line(folder: Path, damage: Callable[[Path], Any], message: str) -> None:
    damage(folder)
    with pytest.raises(HspaceError, match=message) as caught:
        hspace.load(folder, device="cpu")
    assert str(folder) in str(caught.value) or "tiny:" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_text_conditional_network_without_its_text_encoder_is_refused() -> None:
    class Pipeline:
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(4, 8),
            layers_per_block=1,
            norm_num_groups=2,
            cross_attention_dim=4,
            attention_head_dim=2,
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
        )
        scheduler = tiny.scheduler()

    with pytest.raises(HspaceError, match="a UNet2DConditionModel needs its text encoder: load the whole pipeline"):
        hspace.load(Pipeline())


def test_a_file_is_no_folder(folder: Path) -> None:
    with pytest.raises(HspaceError, match="is a file; a model is a folder in diffusers' layout"):
        hspace.load(folder / "unet" / WEIGHTS)


def test_a_real_network_of_someone_elses(shared_models: Path) -> None:
    """animefaces64: no diffusers U-Net, cosine schedule over 300 timesteps, h in a list of modules."""
    path = shared_models / "animefaces64" / "network.py"
    spec = importlib.util.spec_from_file_location("animefaces64_network", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network: nn.Module = module.load(torch.bfloat16)
    model = Denoiser(network, module.alphas_cumprod(), image_shape=(3, 64, 64), tap="mid.2", start=292)
    assert (model.h_shape, model.dtype, model.state_dtype) == ((512, 8, 8), torch.bfloat16, torch.float32)
    sampler = hspace.Sampler(model, steps=20)
    assert sampler.timesteps[0] == 292
    x_t = sampler.latents([0]).x_T()
    encoding = model.encode(x_t, 292)
    prediction = model.decode(encoding)
    assert torch.equal(prediction.eps, model.predict(x_t, 292).eps)
    assert float((prediction.eps - x_t).square().mean()) < 0.05  # nearly all of x_292 is noise
