"""Folders of whole pipelines: every way in which one can be damaged or incomplete, and every shape that loads."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import pipelines
from typer.testing import CliRunner

import hspace
from hspace.cli import app
from hspace.errors import HspaceError
from hspace.models import Denoiser

NETWORK = "diffusion_pytorch_model.safetensors"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4665...\nsize 1234\n"
PAGE = "<!DOCTYPE html>\n<html><body>Not found</body></html>"


FAMILIES = ("stable_diffusion", "stable_diffusion_xl", "stable_diffusion_3", "pixart", "ldm", "dit")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("saved")
    for name in FAMILIES:
        getattr(pipelines, name)().save_pretrained(root / name)
    return root


@pytest.fixture
def text(saved: Path, tmp_path: Path) -> Path:
    """Stable Diffusion's."""
    return Path(shutil.copytree(saved / "stable_diffusion", tmp_path / "text"))


@pytest.fixture
def latent(saved: Path, tmp_path: Path) -> Path:
    """Unconditional."""
    return Path(shutil.copytree(saved / "ldm", tmp_path / "latent"))


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def without(path: Path, *names: str) -> None:
    path.write_text(json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key not in names}))


def edit_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(path)
    change(weights)
    save_file(weights, path, {"format": "pt"})


def in_shards(path: Path) -> list[Path]:
    """Splits a file of weights in two."""
    weights = load_file(path)
    names, stem = sorted(weights), path.name.removesuffix(".safetensors")
    halves = [names[: len(names) // 2], names[len(names) // 2 :]]
    files = [path.with_name(f"{stem}-0000{i}-of-00002.safetensors") for i in (1, 2)]
    for file, half in zip(files, halves, strict=True):
        save_file({name: weights[name] for name in half}, file, {"format": "pt"})
    places = {name: file.name for file, half in zip(files, halves, strict=True) for name in half}
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    path.with_name(f"{path.name}.index.json").write_text(json.dumps(index))
    path.unlink()
    return files


def as_bin(folder: Path) -> None:
    for path in list(folder.rglob("*.safetensors")):
        name = "pytorch_model.bin" if path.name == "model.safetensors" else "diffusion_pytorch_model.bin"
        torch.save(load_file(path), path.with_name(name))  # noqa: TID251 - as repositories of old have it
        path.unlink()


def as_variant(folder: Path, variant: str = "fp16") -> None:
    for path in list(folder.rglob("*.safetensors")):
        halves = {name: weight.half() for name, weight in load_file(path).items()}
        save_file(halves, path.with_suffix(f".{variant}.safetensors"), {"format": "pt"})
        path.unlink()


def truncate(path: Path, keep: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])


def rename(path: Path, name: str) -> None:
    path.rename(path.with_name(name))


def refuses(source: Path, message: str) -> None:
    """In one line that names the source, from Python and from a shell."""
    with pytest.raises(HspaceError, match=message) as caught:
        hspace.load(source, device="cpu")
    line = str(caught.value)
    assert str(source) in line
    assert "\n" not in line
    result = CliRunner().invoke(app, ["sample", "-m", str(source)])
    assert (result.exit_code, result.stdout, result.stderr.strip()) == (2, "", f"hspace: {line}")


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    # what is not there
    "no vae": (lambda f: shutil.rmtree(f / "vae"), "vae: no autoencoder: expected config.json"),
    "no weights of the vae": (lambda f: (f / "vae" / NETWORK).unlink(), "vae: no weights: expected diffusion_pytorch"),
    "no scheduler": (lambda f: shutil.rmtree(f / "scheduler"), "no schedule: expected scheduler/scheduler_config.json"),
    "no unet": (lambda f: shutil.rmtree(f / "unet"), "model_index.json names a unet, but unet/ is not there"),
    "no configuration": (lambda f: (f / "unet" / "config.json").unlink(), "unet: no model: expected config.json"),
    "no text encoder": (
        lambda f: shutil.rmtree(f / "text_encoder"),
        "model_index.json names a text_encoder, but text_encoder/config.json is not there",
    ),
    "no weights of the text encoder": (
        lambda f: (f / "text_encoder" / "model.safetensors").unlink(),
        "text_encoder: no weights: expected model.safetensors, found config.json; the download broke off perhaps",
    ),
    "no tokenizer": (
        lambda f: shutil.rmtree(f / "tokenizer"),
        "model_index.json names a tokenizer, but tokenizer/tokenizer_config.json is not there",
    ),
    "no vocabulary": (
        lambda f: (f / "tokenizer" / "tokenizer.json").unlink(),
        r"tokenizer: no vocabulary: expected tokenizer.json \(or vocab.json, merges.txt\), found tokenizer_config.json",
    ),
    "no model_index.json": (
        lambda f: (f / "model_index.json").unlink(),
        "a UNet2DConditionModel needs its text encoder: expected model_index.json; load the whole pipeline's folder",
    ),
    "a shard is missing": (
        lambda f: in_shards(f / "unet" / NETWORK)[1].unlink(),
        r"unet: diffusion_pytorch_model-00002-of-00002.safetensors \(weights 2 of 2\) is not there",
    ),
    "no index of shards": (
        lambda f: (in_shards(f / "unet" / NETWORK), (f / "unet" / f"{NETWORK}.index.json").unlink()),
        "unet: expected diffusion_pytorch_model.safetensors.index.json beside diffusion_pytorch_model-00001-of-00002",
    ),
    "a dangling link": (
        lambda f: ((f / "unet" / NETWORK).unlink(), (f / "unet" / NETWORK).symlink_to("../blobs/0123")),
        f"unet: {NETWORK} is not there",
    ),
    # what is there in part
    "incomplete": (
        lambda f: rename(f / "unet" / NETWORK, "abc.incomplete"),
        "unet: no weights: expected .*, found abc.incomplete",
    ),
    "truncated vae": (lambda f: truncate(f / "vae" / NETWORK), f"vae/{NETWORK}: truncated: expected at least"),
    "truncated text encoder": (
        lambda f: truncate(f / "text_encoder" / "model.safetensors"),
        "text_encoder/model.safetensors: truncated: expected at least 10616 bytes, found 5308",
    ),
    "truncated shard": (
        lambda f: truncate(in_shards(f / "unet" / NETWORK)[0]),
        "00001-of-00002.safetensors: truncated",
    ),
    "truncated .bin": (
        lambda f: (as_bin(f), truncate(f / "unet" / "diffusion_pytorch_model.bin")),
        "unet/diffusion_pytorch_model.bin: truncated",
    ),
    "empty .bin": (
        lambda f: (as_bin(f), truncate(f / "vae" / "diffusion_pytorch_model.bin", 0)),
        "vae/diffusion_pytorch_model.bin: truncated",
    ),
    "a pointer": (
        lambda f: (f / "unet" / NETWORK).write_text(POINTER),
        f"unet/{NETWORK}: a git-lfs pointer in place of the file: run `git lfs pull` in its repository",
    ),
    "a pointer of .bin": (
        lambda f: (as_bin(f), (f / "vae" / "diffusion_pytorch_model.bin").write_text(POINTER)),
        "vae/diffusion_pytorch_model.bin: a git-lfs pointer in place of the file",
    ),
    "a pointer of a vocabulary": (
        lambda f: (f / "tokenizer" / "tokenizer.json").write_text(POINTER),
        "tokenizer/tokenizer.json: a git-lfs pointer in place of the file",
    ),
    "a web page": (lambda f: (f / "unet" / NETWORK).write_text(PAGE), "a web page in place of the file"),
    "bytes too many": (
        lambda f: (f / "unet" / NETWORK).write_bytes((f / "unet" / NETWORK).read_bytes() + b"0"),
        f"{NETWORK}: damaged: expected 76504 bytes, found 76505",
    ),
    "another header": (
        lambda f: (f / "unet" / NETWORK).write_bytes(b"\x09" + b"\0" * 7 + b"[1, 2, 3]"),
        f"{NETWORK}: no safetensors file",
    ),
    "noise": (lambda f: (f / "unet" / NETWORK).write_bytes(b"\xff" * 4096), f"{NETWORK}: no safetensors file"),
    # what is wrong
    "no JSON in model_index.json": (lambda f: truncate(f / "model_index.json"), "model_index.json is no JSON"),
    "no JSON in the vae": (lambda f: truncate(f / "vae" / "config.json"), "vae/config.json is no JSON"),
    "no JSON in the schedule": (
        lambda f: truncate(f / "scheduler" / "scheduler_config.json"),
        "scheduler/scheduler_config.json is no JSON",
    ),
    "no JSON in the tokenizer": (
        lambda f: truncate(f / "tokenizer" / "tokenizer.json"),
        "tokenizer: the tokenizer can't be read",
    ),
    "no JSON in the index of shards": (
        lambda f: (in_shards(f / "unet" / NETWORK), truncate(f / "unet" / f"{NETWORK}.index.json")),
        "index.json is no JSON",
    ),
    "another index of shards": (
        lambda f: (in_shards(f / "unet" / NETWORK), (f / "unet" / f"{NETWORK}.index.json").write_text("{}")),
        "index.json: expected a weight_map of tensors and files, found none",
    ),
    "no class of the pipeline": (
        lambda f: without(f / "model_index.json", "_class_name"),
        "model_index.json: diffusers has no pipeline None",
    ),
    "a pipeline of the folder's own": (
        lambda f: edit_json(f / "model_index.json", _class_name=["pipeline", "MyPipeline"]),
        r"model_index.json: diffusers has no pipeline \['pipeline', 'MyPipeline'\]",
    ),
    "no text encoder in model_index.json": (
        lambda f: edit_json(f / "model_index.json", text_encoder=[None, None]),
        "a UNet2DConditionModel needs its text encoder; model_index.json names none",
    ),
    "a text encoder of nobody": (
        lambda f: edit_json(f / "model_index.json", text_encoder=["my_library", "MyEncoder"]),
        "model_index.json: my_library has no MyEncoder for text_encoder",
    ),
    "another class of the vae": (
        lambda f: edit_json(f / "vae" / "config.json", _class_name="DDIMScheduler"),
        "vae: diffusers has no autoencoder DDIMScheduler",
    ),
    "another width of the text encoder": (
        lambda f: edit_json(f / "text_encoder" / "config.json", intermediate_size=32),
        r"text_encoder: weights don't fit config.json \(6 mismatched_keys: .*mlp.fc1",
    ),
    "a weight of the text encoder is missing": (
        lambda f: edit_weights(
            f / "text_encoder" / "model.safetensors", lambda w: w.pop(next(n for n in w if "final_layer_norm" in n))
        ),
        r"text_encoder: weights don't fit config.json \(1 missing_keys: .*final_layer_norm",
    ),
    "NaN in the vae": (
        lambda f: edit_weights(f / "vae" / NETWORK, lambda w: w["decoder.conv_in.bias"].fill_(float("nan"))),
        "vae: weight decoder.conv_in.bias holds NaN or infinite numbers",
    ),
    "NaN in the text encoder": (
        lambda f: edit_weights(
            f / "text_encoder" / "model.safetensors", lambda w: next(iter(w.values())).fill_(float("inf"))
        ),
        "text_encoder: weight .* holds NaN or infinite numbers",
    ),
    "another class of the schedule": (
        lambda f: edit_json(f / "scheduler" / "scheduler_config.json", _class_name="UNet2DModel"),
        "scheduler: diffusers has no scheduler UNet2DModel",
    ),
    "a schedule of EDM": (
        lambda f: edit_json(f / "scheduler" / "scheduler_config.json", _class_name="EDMEulerScheduler"),
        "scheduler: EDMEulerScheduler has no alphas_cumprod; expected a discrete schedule",
    ),
    "a schedule for another prediction": (
        lambda f: edit_json(f / "scheduler" / "scheduler_config.json", prediction_type="noise_and_image"),
        "scheduler: expected a schedule of one of epsilon, v_prediction, .*, found noise_and_image",
    ),
    # what is another model
    "ControlNet": (
        lambda f: edit_json(f / "unet" / "config.json", _class_name="ControlNetModel"),
        "unet: a ControlNetModel steers another network: load the model that it belongs to",
    ),
    "ControlNet in the pipeline": (
        lambda f: edit_json(f / "model_index.json", controlnet=["diffusers", "ControlNetModel"]),
        "StableDiffusionPipeline's controlnet isn't supported",
    ),
    "FLUX": (
        lambda f: edit_json(f / "unet" / "config.json", _class_name="FluxTransformer2DModel"),
        "unet: expected one of UNet2DModel, .*, found FluxTransformer2DModel",
    ),
    "a transformers model": (
        lambda f: (f / "unet" / "config.json").write_text('{"architectures": ["CLIPModel"], "model_type": "clip"}'),
        "unet: expected one of .*, found transformers' CLIPModel",
    ),
    "an early diffusers": (
        lambda f: edit_json(f / "unet" / "config.json", _class_name="UNetUnconditionalModel"),
        "UNetUnconditionalModel is of diffusers before 0.2: get the current revision",
    ),
    "inpainting": (
        lambda f: edit_json(f / "unet" / "config.json", in_channels=9),
        "unet: the network takes 9 channels and returns 4: it needs more than x_t",
    ),
    "AudioLDM": (
        lambda f: edit_json(f / "unet" / "config.json", class_embed_type="simple_projection"),
        r"unet: the network takes more than a prompt \(class_embed_type simple_projection\), which isn't supported",
    ),
    "Kandinsky": (
        lambda f: edit_json(f / "unet" / "config.json", addition_embed_type="image", encoder_hid_dim_type="image_proj"),
        r"more than a prompt \(encoder_hid_dim_type image_proj, addition_embed_type image\)",
    ),
    "no size": (lambda f: without(f / "unet" / "config.json", "sample_size"), "unet: .* has no sample_size"),
    "a refiner": (
        lambda f: edit_json(f / "model_index.json", requires_aesthetics_score=True),
        "a refiner, which finishes pictures of another model, isn't supported",
    ),
}


def test_a_second_text_encoder_that_was_not_saved(saved: Path, tmp_path: Path) -> None:
    """As XL's is, to save memory: the folder says so, and it is no damage."""
    folder = Path(shutil.copytree(saved / "stable_diffusion_xl", tmp_path / "half"))
    shutil.rmtree(folder / "text_encoder")
    shutil.rmtree(folder / "tokenizer")
    edit_json(folder / "model_index.json", text_encoder=[None, None], tokenizer=[None, None])
    assert same(hspace.load(folder, device="cpu"), saved / "stable_diffusion_xl")


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_pipelines_are_one_clear_line(text: Path, damage: Callable[[Path], Any], message: str) -> None:
    damage(text)
    refuses(text, message)


OTHERS: dict[str, tuple[dict[str, str], str]] = {
    "nothing": ({}, "no model: expected unet/config.json or config.json, found an empty folder"),
    "a download that has begun": ({".cache/x": "", "abc.incomplete": ""}, "found parts of files; the download broke"),
    "pictures": ({"1.png": "", "2.png": "", "3.png": ""}, "found 1.png, 2.png, 3.png"),
    "a LoRA of peft": ({"adapter_config.json": "{}"}, "found a LoRA: load it into its pipeline"),
    "a LoRA of diffusers": ({"pytorch_lora_weights.safetensors": ""}, "found a LoRA: load it into its pipeline"),
    "a checkpoint": (
        {"v1-5-pruned.ckpt": ""},
        "found the file v1-5-pruned.ckpt: `hspace convert` makes a folder of it",
    ),
    "a ControlNet": ({"config.json": '{"_class_name": "ControlNetModel"}'}, "a ControlNetModel steers another network"),
    "an autoencoder": (
        {"config.json": '{"_class_name": "AutoencoderKL"}'},
        "found AutoencoderKL without its network: load the whole pipeline's folder",
    ),
    "a transformers model": (
        {"config.json": '{"model_type": "bert"}'},
        "expected one of UNet2DModel, .*, found transformers' bert",
    ),
    "a GAN": ({"config.json": '{"z_dim": 512}', "G.pth": ""}, "found a config.json without _class_name"),
    "a prior": (
        {"model_index.json": '{"_class_name": "KandinskyPriorPipeline", "prior": ["diffusers", "PriorTransformer"]}'},
        r"a KandinskyPriorPipeline has no U-Net \(or transformer\) to edit; its parts: prior",
    ),
    "a cascade": (
        {"model_index.json": '{"_class_name": "StableCascadePriorPipeline", "prior": ["diffusers", "UNet"]}'},
        "a StableCascadePriorPipeline has no U-Net",
    ),
    "no network in the pipeline": (
        {"model_index.json": '{"_class_name": "DDPMPipeline", "unet": [null, null], "scheduler": ["diffusers", "X"]}'},
        r"a DDPMPipeline has no U-Net \(or transformer\) to edit; its parts: scheduler",
    ),
    "a promise": (
        {"model_index.json": '{"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"]}'},
        "model_index.json names a unet, but unet/ is not there; the download broke off perhaps",
    ),
    "FLUX": (
        {
            "model_index.json": '{"_class_name": "FluxPipeline", "transformer": ["diffusers", "X"]}',
            "transformer/config.json": '{"_class_name": "FluxTransformer2DModel"}',
        },
        "transformer: expected one of .*, found FluxTransformer2DModel",
    ),
}


@pytest.mark.parametrize(("files", "message"), OTHERS.values(), ids=OTHERS.keys())
def test_folders_of_something_else_are_one_clear_line(tmp_path: Path, files: dict[str, str], message: str) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    refuses(folder, message)


def test_what_an_unconditional_latent_model_lacks(latent: Path) -> None:
    """Without its autoencoder it would make pictures of latents."""
    shutil.rmtree(latent / "vqvae")
    with pytest.raises(HspaceError, match=r"latent/vqvae: no autoencoder: expected config.json"):
        hspace.load(latent)


def test_cheap_checks_come_first(text: Path, saved: Path) -> None:
    """A folder where all is wrong: no gigabytes are read before small parts are known to be there."""
    edit_weights(text / "unet" / NETWORK, lambda w: w["conv_in.bias"].fill_(float("nan")))
    edit_weights(text / "vae" / NETWORK, lambda w: w["decoder.conv_in.bias"].fill_(float("nan")))
    truncate(text / "tokenizer" / "tokenizer.json")
    truncate(text / "text_encoder" / "model.safetensors")
    edit_json(text / "scheduler" / "scheduler_config.json", beta_schedule="sideways")
    for message, repaired in [
        ("scheduler: the schedule can't be used", "scheduler/scheduler_config.json"),
        ("text_encoder/model.safetensors: truncated", "text_encoder/model.safetensors"),
        ("tokenizer: the tokenizer can't be read", "tokenizer/tokenizer.json"),
        ("vae: weight decoder.conv_in.bias holds NaN", f"vae/{NETWORK}"),
        ("unet: weight conv_in.bias holds NaN", f"unet/{NETWORK}"),
    ]:
        with pytest.raises(HspaceError, match=message):
            hspace.load(text)
        shutil.copyfile(saved / "stable_diffusion" / repaired, text / repaired)
    hspace.load(text)


def test_a_vocabulary_of_sentencepiece(text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename(text / "tokenizer" / "tokenizer.json", "spiece.model")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)  # as where it is not installed
    refuses(text, r"tokenizer: its vocabulary needs sentencepiece: pip install sentencepiece protobuf$")


def test_without_transformers(text: Path, latent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    refuses(text, r"text-to-image models need transformers \(.*\): pip install 'hspace\[transformers\]'")
    assert hspace.load(latent, device="cpu").codec is not None


@contextmanager
def no_rights(path: Path) -> Iterator[None]:
    """As somebody without rights to read it: root has all."""
    mode, user = path.stat().st_mode, os.geteuid()
    if user == 0:
        for parent in list(path.parents)[:-2]:
            parent.chmod(parent.stat().st_mode | 0o011)  # pytest's folders are root's own
        os.seteuid(65534)
    else:
        path.chmod(0)
    try:
        yield
    finally:
        os.seteuid(user)
        path.chmod(mode)


@pytest.mark.parametrize("name", ["", "unet", "unet/config.json", f"unet/{NETWORK}", "model_index.json"])
def test_permission_denied(text: Path, name: str) -> None:
    for path in text.rglob("*"):
        path.chmod(0o755)
    text.chmod(0o755)
    (text / name).chmod(0o700 if os.geteuid() == 0 else 0)
    with no_rights(text / name), pytest.raises(HspaceError, match=r"can't be read \(.*Permission denied") as caught:
        hspace.load(text)
    assert str(text / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def same(model: Denoiser, folder: Path) -> bool:
    return model.weight_hash == hspace.load(folder, device="cpu").weight_hash


def test_shards(text: Path, saved: Path) -> None:
    in_shards(text / "unet" / NETWORK)
    in_shards(text / "vae" / NETWORK)
    in_shards(text / "text_encoder" / "model.safetensors")
    model = hspace.load(text, device="cpu", prompt="smile")
    assert same(model, saved / "stable_diffusion")
    assert model.notes == ()


@pytest.mark.parametrize("name", FAMILIES)
def test_bin_as_repositories_of_old_have_it(saved: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(saved / name, tmp_path / "old"))
    as_bin(folder)
    assert same(hspace.load(folder, device="cpu"), saved / name)


def test_bin_with_objects_in_it_is_not_read(text: Path) -> None:
    as_bin(text)
    torch.save({"conv_in.weight": Path("x")}, text / "unet" / "diffusion_pytorch_model.bin")  # noqa: TID251
    with pytest.raises(HspaceError, match="unet: the weights can't be read"):
        hspace.load(text)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_variant_alone_is_read_with_a_note(saved: Path, tmp_path: Path, name: str) -> None:
    folder = Path(shutil.copytree(saved / name, tmp_path / "half"))
    as_variant(folder)
    model = hspace.load(folder, device="cpu")
    network = "unet" if (folder / "unet").is_dir() else "transformer"
    assert model.dtype == torch.float32
    state = model.network.state_dict()
    for key, weight in load_file(saved / name / network / NETWORK).items():
        assert torch.equal(state[key], weight.half().float())
    (note,) = [note for note in model.notes if "variant" in note]
    assert note.startswith("the folder has a variant of the weights only: ")
    assert f"{network} fp16" in note


def test_shards_of_a_variant(text: Path, saved: Path) -> None:
    for path in in_shards(text / "unet" / NETWORK):
        rename(path, path.name.replace("model-", "model.fp16-"))
    index = text / "unet" / f"{NETWORK}.index.json"
    index.write_text(index.read_text().replace("model-", "model.fp16-"))
    rename(index, f"{NETWORK}.index.fp16.json")
    model = hspace.load(text, device="cpu")
    assert same(model, saved / "stable_diffusion")
    assert model.notes == ("the folder has a variant of the weights only: unet fp16",)


def test_the_usual_weights_come_before_variants_and_other_formats(text: Path, saved: Path) -> None:
    for name in ("diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.non_ema.safetensors"):
        (text / "unet" / name).write_bytes(b"not read")
    for name in ("diffusion_pytorch_model.bin", "diffusion_flax_model.msgpack", "model.onnx", "abc.incomplete"):
        (text / "unet" / name).write_bytes(b"not read")
    model = hspace.load(text, device="cpu")
    assert same(model, saved / "stable_diffusion")
    assert model.notes == ()


def test_what_prompts_do_not_need_may_be_missing(text: Path, saved: Path) -> None:
    safety = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    edit_json(
        text / "model_index.json", safety_checker=safety, feature_extractor=["transformers", "CLIPImageProcessor"]
    )
    assert same(hspace.load(text, device="cpu"), saved / "stable_diffusion")


def test_a_model_index_of_old(text: Path, saved: Path) -> None:
    without(text / "model_index.json", "image_encoder", "requires_safety_checker", "_diffusers_version")
    edit_json(text / "model_index.json", tokenizer=["transformers", "CLIPTokenizer"])
    assert same(hspace.load(text, device="cpu"), saved / "stable_diffusion")


def test_a_part_of_a_model(latent: Path, text: Path) -> None:
    refuses(latent / "unet", r"latent/unet: no schedule: .*; this is a part of a model, load the folder above it$")
    refuses(text / "vae", r"text/vae: found AutoencoderKL without its network: load the whole pipeline's folder$")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unet/" + NETWORK, "is a file; .*: give the folder that it is in"),
        ("notes.txt", "is a file; a model is a folder in diffusers' layout, a hub id or one of faces64$"),
        ("celeba_hq.ckpt", r"is a file; .*`hspace convert .*celeba_hq.ckpt FOLDER` makes one .*from_single_file"),
        ("single.safetensors", r"is a file; .*one of faces64: diffusers' StableDiffusionPipeline.from_single_file"),
        ("lora.safetensors", r"lora.safetensors is a LoRA: load it into its pipeline"),
        ("broken.safetensors", r"is a file; .*`hspace convert"),
    ],
)
def test_a_file_is_no_folder(text: Path, name: str, message: str) -> None:
    (text / "notes.txt").write_text("notes")
    (text / "celeba_hq.ckpt").write_bytes(b"0")
    (text / "broken.safetensors").write_bytes(b"\xff" * 20)
    save_file({"model.diffusion_model.out.2.bias": torch.zeros(4)}, text / "single.safetensors")
    save_file({"unet.down_blocks.0.attn1.to_q.lora_A.weight": torch.zeros(4)}, text / "lora.safetensors")
    refuses(text / name, message)
