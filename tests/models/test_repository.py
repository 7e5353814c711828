"""Repositories of the hub, over HTTP: what is asked for, and what is said where it can't be had."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
from tests import pipelines
from tests.hub_server import BAD_TOKEN, GATED, LOG_IN, NOT_FOUND, Hub, point_client, serving

import hspace
import hspace.hub
from hspace.errors import HspaceError
from hspace.models.repository import download

TINY = "nobody/tiny"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with serving() as hub:
        point_client(hub.address, tmp_path / "cache", monkeypatch)
        yield hub


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    pipelines.stable_diffusion().save_pretrained(folder)
    return folder


def test_a_repository_loads_as_its_folder_does_and_then_without_a_network(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add_folder(TINY, folder)
    model = hspace.load(TINY, device="cpu")
    assert model.model_id == TINY
    assert model.weight_hash == hspace.load(folder, device="cpu").weight_hash
    asked = list(hub.fetched)
    assert sorted(asked) == sorted(set(asked))
    hspace.load(TINY, device="cpu")
    assert hub.fetched == asked
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert hspace.load(TINY, device="cpu").weight_hash == model.weight_hash


def offline(hub: Hub, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


def refused(hub: Hub, patch: pytest.MonkeyPatch) -> None:
    point_client("http://127.0.0.1:9", Path(huggingface_hub.constants.HF_HUB_CACHE), patch)  # nobody listens there


def silent(hub: Hub, patch: pytest.MonkeyPatch) -> None:
    hub.silent = True
    patch.setattr(hspace.hub, "_TIMEOUT", 0.2)


def failing(*failure: Any) -> Callable[[Hub, pytest.MonkeyPatch], None]:
    return lambda hub, patch: hub.failures.update({TINY: failure})


OUT_OF_REACH: dict[str, tuple[Callable[[Hub, pytest.MonkeyPatch], None], str]] = {
    "offline": (offline, "HF_HUB_OFFLINE is set"),
    "no network": (refused, "it can't be reached, is there a network?"),
    "no answer": (silent, "it does not answer: try again later"),
    "missing": (failing(*NOT_FOUND), "there is no such model, or a private one: then log in by `hf auth login`"),
    "private": (failing(*LOG_IN), "there is no such model, or a private one: then log in by `hf auth login`"),
    "gated": (failing(*GATED), "it is gated: accept its terms on its page there, and log in by `hf auth login`"),
    "a wrong token": (failing(*BAD_TOKEN), "it refuses access: log in by `hf auth login` or HF_TOKEN"),
    "forbidden": (failing(403, {}), "it refuses access"),
    "too many requests": (failing(429, {}), "it has too many requests from here: try again in some minutes"),
    "a server error": (failing(503, {}), "it answers with error 503: try again later"),
}


@pytest.mark.parametrize(("fail", "message"), OUT_OF_REACH.values(), ids=OUT_OF_REACH.keys())
def test_out_of_reach_without_a_copy(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, fail: Callable[[Hub, pytest.MonkeyPatch], None], message: str
) -> None:
    fail(hub, monkeypatch)
    with pytest.raises(HspaceError) as caught:
        hspace.load(TINY)
    assert f"can't get model 'nobody/tiny' from the hub ({message}" in str(caught.value)
    assert "there is no folder of that name, and the bundled models are faces64" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("fail", "message"), OUT_OF_REACH.values(), ids=OUT_OF_REACH.keys())
def test_out_of_reach_with_half_a_copy(
    hub: Hub,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    fail: Callable[[Hub, pytest.MonkeyPatch], None],
    message: str,
) -> None:
    hub.add_folder(TINY, folder)
    copy = download(TINY).folder
    (copy / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    fail(hub, monkeypatch)
    with pytest.raises(
        HspaceError, match=r"vae: no weights: .*; 'nobody/tiny' can't be completed from the hub"
    ) as caught:
        hspace.load(TINY)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_copy_goes_on_where_it_broke_off(hub: Hub, folder: Path) -> None:
    hub.add_folder(TINY, folder)
    copy = download(TINY).folder
    (copy / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    hub.fetched.clear()
    hspace.load(TINY, device="cpu")
    assert hub.fetched in ([], ["vae/diffusion_pytorch_model.safetensors"])  # the client keeps files by content


def test_a_download_that_breaks_off_is_told(hub: Hub, folder: Path) -> None:
    """After the client has tried some times."""
    hub.add_folder(TINY, folder)
    hub.broken = {"unet/diffusion_pytorch_model.safetensors"}
    with pytest.raises(HspaceError, match=r"unet: no weights: .*; 'nobody/tiny' can't be completed from the hub \(it"):
        hspace.load(TINY)
    hub.broken = set()
    assert hspace.load(TINY, device="cpu").model_id == TINY


def test_gated_files_of_a_repository_that_is_seen(hub: Hub, folder: Path) -> None:
    """So the real hub has it: the list of files is public, the files are not."""
    hub.add_folder(TINY, folder)
    hub.file_failures[TINY] = GATED
    with pytest.raises(HspaceError, match=r"nobody/tiny' .*it is gated: accept its terms on its page"):
        hspace.load(TINY)


def test_a_folder_comes_before_the_hub(hub: Hub, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(HspaceError, match=r"'models/sd15' from the hub \(there is no such model.*no folder of that"):
        hspace.load("models/sd15")
    shutil.copytree(folder, "models/sd15")
    hub.failures["models/sd15"] = (500, {})
    assert hspace.load("models/sd15", device="cpu").model_id == "sd15"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("https://huggingface.co/google/ddpm-cat-256/tree/main", "like owner/name, this one google/ddpm-cat-256$"),
        ("models/sd15/unet", "unknown model 'models/sd15/unet': there is no folder of that name"),
        ("no good/name!", "unknown model 'no good/name!': there is no folder of that name, .* and it is no hub id"),
        ("", "unknown model ''"),
        ("x" * 5000, "unknown model 'xxx"),
        ("nul\0/byte", "unknown model"),
    ],
)
def test_names_of_nothing(hub: Hub, name: str, message: str) -> None:
    with pytest.raises(HspaceError, match=message) as caught:
        hspace.load(name)
    assert "\n" not in str(caught.value)


def test_no_weights_of_what_is_no_model(hub: Hub) -> None:
    hub.repositories = {
        "nobody/bert": {"config.json": b'{"architectures": ["BertModel"]}', "model.safetensors": b"0" * 100},
        "nobody/gan": {"config.json": b'{"z_dim": 512}', "generator.pth": b"0" * 100},
        "nobody/data": {"data/train.parquet": b"0" * 100, "README.md": b"data"},
        "nobody/lora": {"pytorch_lora_weights.safetensors": b"0" * 100},
        "nobody/flax": {
            "unet/config.json": b'{"_class_name": "UNet2DModel", "sample_size": 8}',
            "unet/diffusion_flax_model.msgpack": b"0" * 100,
            "scheduler/scheduler_config.json": b"{}",
        },
        "nobody/ncsnpp": {
            "config.json": b'{"_class_name": "UNet2DModel", "sample_size": 8}',
            "diffusion_pytorch_model.safetensors": b"0" * 100,
            "scheduler_config.json": b'{"_class_name": "ScoreSdeVeScheduler"}',
        },
    }
    messages = {
        "nobody/ncsnpp": "ScoreSdeVeScheduler has no alphas_cumprod",
        "nobody/bert": "found transformers' BertModel",
        "nobody/gan": "found a config.json without _class_name",
        "nobody/data": "nobody/data: no model: expected unet/config.json or config.json, found README.md, data",
        "nobody/lora": "nobody/lora: no model: .* found a LoRA: load it into its pipeline",
        "nobody/flax": "no weights of its unet: expected safetensors or .bin, found config.json, diffusion_flax_model",
    }
    for hub_id, message in messages.items():
        with pytest.raises(HspaceError, match=message):
            hspace.load(hub_id)
    assert {name.rpartition(".")[2] for name in hub.fetched} == {"json"}


def weights(part: str, stem: str = "diffusion_pytorch_model", more: tuple[str, ...] = ()) -> list[str]:
    """As most repositories have them: twice in each of two formats."""
    kinds = ("safetensors", "fp16.safetensors", "bin", "fp16.bin", *more)
    return [f"{part}/{'pytorch_model' if stem == 'model' and 'bin' in kind else stem}.{kind}" for kind in kinds]


TOKENIZER = ["merges.txt", "special_tokens_map.json", "tokenizer_config.json", "vocab.json"]
STABLE_DIFFUSION_1 = [
    *[".gitattributes", "README.md", "model_index.json", "v1-inference.yaml"],
    *["v1-5-pruned-emaonly.ckpt", "v1-5-pruned-emaonly.safetensors", "v1-5-pruned.ckpt", "v1-5-pruned.safetensors"],
    *["feature_extractor/preprocessor_config.json", "safety_checker/config.json", "scheduler/scheduler_config.json"],
    *[f"tokenizer/{name}" for name in TOKENIZER],
    *["text_encoder/config.json", "unet/config.json", "vae/config.json"],
    *weights("safety_checker", "model"),
    *weights("text_encoder", "model"),
    *weights("unet", more=("non_ema.safetensors", "non_ema.bin")),
    *weights("vae"),
]
STABLE_DIFFUSION_XL = [
    *[".gitattributes", "LICENSE.md", "README.md", "comparison.png", "model_index.json", "pipeline.png"],
    *["sd_xl_base_1.0.safetensors", "sd_xl_base_1.0_0.9vae.safetensors", "sd_xl_offset_example-lora_1.0.safetensors"],
    *["scheduler/scheduler_config.json", "text_encoder/config.json", "text_encoder_2/config.json", "unet/config.json"],
    *[f"{part}/{name}" for part in ("tokenizer", "tokenizer_2") for name in TOKENIZER],
    *["vae/config.json", "vae_1_0/config.json", "vae_decoder/config.json", "vae_encoder/config.json"],
    *[f"text_encoder/{name}" for name in ("flax_model.msgpack", "model.onnx", "openvino_model.bin")],
    *[f"text_encoder{i}/model{kind}.safetensors" for i in ("", "_2") for kind in ("", ".fp16")],
    *[f"unet/{name}" for name in ("diffusion_flax_model.msgpack", "model.onnx", "model.onnx_data")],
    *["unet/openvino_model.bin", "unet/openvino_model.xml", "vae_decoder/model.onnx", "vae_encoder/model.onnx"],
    *[f"{part}/diffusion_pytorch_model{kind}.safetensors" for part in ("unet", "vae") for kind in ("", ".fp16")],
    *["vae_1_0/diffusion_pytorch_model.safetensors", "vae_1_0/diffusion_pytorch_model.fp16.safetensors"],
]
LATENT_DIFFUSION = [
    *[".gitattributes", "README.md", "inference.py", "model_index.json", "scheduler/scheduler_config.json"],
    *["unet/config.json", "unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.safetensors"],
    *["vqvae/config.json", "vqvae/diffusion_pytorch_model.bin", "vqvae/diffusion_pytorch_model.safetensors"],
]
SIDE_BY_SIDE = [
    *[".gitattributes", "README.md", "config.json", "model_index.json", "scheduler_config.json"],
    *["diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors", "images/generated_image_0.png"],
]
OLD = [name for name in LATENT_DIFFUSION if not name.endswith(".safetensors")]
HALF = [name for name in STABLE_DIFFUSION_1 if not name.endswith((".bin", "model.safetensors"))]
SHARDED = [
    *["model_index.json", "scheduler/scheduler_config.json", "unet/config.json", "vae/config.json"],
    *["text_encoder/config.json", *(f"tokenizer/{name}" for name in TOKENIZER), *weights("text_encoder", "model")],
    *[f"unet/diffusion_pytorch_model{of}-0000{i}-of-00002.safetensors" for of in ("", ".fp16") for i in (1, 2)],
    *[
        "unet/diffusion_pytorch_model.safetensors.index.json",
        "unet/diffusion_pytorch_model.safetensors.index.fp16.json",
    ],
    *weights("vae"),
]
BOTH = ["model_index.json", "scheduler/scheduler_config.json", "unet/config.json"]
TEXT = [*BOTH, "text_encoder/config.json", "vae/config.json", *(f"tokenizer/{name}" for name in TOKENIZER)]
UNET, VAE = "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model"

LISTINGS: dict[str, tuple[Callable[[], Any], list[str], set[str]]] = {
    "stable-diffusion-v1-5": (
        pipelines.stable_diffusion,
        STABLE_DIFFUSION_1,
        {*TEXT, f"{UNET}.safetensors", f"{VAE}.safetensors", "text_encoder/model.safetensors"},
    ),
    "stable-diffusion-xl-base-1.0": (
        pipelines.stable_diffusion_xl,
        STABLE_DIFFUSION_XL,
        {
            *[*TEXT, "text_encoder_2/config.json", *(f"tokenizer_2/{name}" for name in TOKENIZER)],
            *[f"{UNET}.safetensors", f"{VAE}.safetensors"],
            *["text_encoder/model.safetensors", "text_encoder_2/model.safetensors"],
        },
    ),
    "ldm-celebahq-256": (
        pipelines.ldm,
        LATENT_DIFFUSION,
        {*BOTH, "vqvae/config.json", f"{UNET}.safetensors", "vqvae/diffusion_pytorch_model.safetensors"},
    ),
    "ddpm-celebahq-256": (
        pipelines.ddpm,
        SIDE_BY_SIDE,
        {"config.json", "model_index.json", "scheduler_config.json", "diffusion_pytorch_model.safetensors"},
    ),
    ".bin only": (
        pipelines.ldm,
        OLD,
        {*BOTH, "vqvae/config.json", f"{UNET}.bin", "vqvae/diffusion_pytorch_model.bin"},
    ),
    "fp16 and non_ema only": (
        pipelines.stable_diffusion,
        HALF,
        {*TEXT, f"{UNET}.fp16.safetensors", f"{VAE}.fp16.safetensors", "text_encoder/model.fp16.safetensors"},
    ),
    "shards": (
        pipelines.stable_diffusion,
        SHARDED,
        {
            *[*TEXT, f"{UNET}-00001-of-00002.safetensors", f"{UNET}-00002-of-00002.safetensors"],
            *[f"{UNET}.safetensors.index.json", f"{VAE}.safetensors", "text_encoder/model.safetensors"],
        },
    ),
}


@pytest.mark.parametrize(("pipeline", "listing", "wanted"), LISTINGS.values(), ids=LISTINGS.keys())
def test_of_a_repository_only_what_is_read_is_downloaded(
    hub: Hub, tmp_path: Path, pipeline: Callable[[], Any], listing: list[str], wanted: set[str]
) -> None:
    pipeline().save_pretrained(tmp_path / "saved")
    content = {name: name.encode() for name in listing}  # all different: what is the same is downloaded once
    for i, path in enumerate((tmp_path / "saved").rglob("*.json")):
        name = path.relative_to(tmp_path / "saved").as_posix()
        side_by_side = name.partition("/")[2]
        for kept in {name, side_by_side} & content.keys():
            if kept != "config.json" or name.startswith("unet/"):
                content[kept] = path.read_bytes() + b" " * i
    hub.repositories["nobody/real"] = content
    download("nobody/real")
    assert set(hub.fetched) == wanted
    assert len(hub.fetched) == len(wanted)


def test_the_command_line_says_it_in_one_line(hub: Hub, tmp_path: Path) -> None:
    """As a shell has it: HF_ENDPOINT and all."""
    hub.failures = {"nobody/gated": GATED}
    environment = os.environ | {
        "HF_ENDPOINT": hub.address,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "home"),
        "NO_PROXY": "127.0.0.1",
    }
    environment.pop("HF_TOKEN", None)
    command = [sys.executable, "-m", "hspace", "sample", "-m", "nobody/gated"]
    process = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (2, "")
    (line,) = process.stderr.strip().splitlines()
    assert line.startswith("hspace: can't get model 'nobody/gated' from the hub (it is gated: accept its terms")
