from __future__ import annotations

import fnmatch
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import pytest
import torch
from huggingface_hub.hf_api import ModelInfo
from tests.attributes.tiny_transformers import in_hub_cache
from torch import Tensor

from hspace.attributes import ImageClassifier
from hspace.attributes.repository import find
from hspace.errors import HspaceError


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("vit", "unknown model 'vit': no folder of that name; hub ids look like owner/name"),
        ("a/b/c", "unknown model 'a/b/c'"),
        ("no good/name!", "unknown model 'no good/name!': no folder of that name and it is no hub id"),
        ("nobody/nothing", "can't get model 'nobody/nothing' from the hub .*; no folder of that name"),
        (__file__, r"test_repository\.py is a file; expected the folder of a transformers model"),
    ],
)
def test_what_is_not_there_is_one_clear_line(source: str, message: str) -> None:
    with pytest.raises(HspaceError, match=message) as caught:
        find(source)
    assert "\n" not in str(caught.value)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "no transformers model: expected config.json"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json is no JSON"),
    "no object": (lambda f: (f / "config.json").write_text("[]"), "config.json is no JSON object but list"),
    "no kind": (lambda f: (f / "config.json").write_text("{}"), "found a model of unknown kind"),
    "truncated weights": (lambda f: truncate(f / "model.safetensors"), "the network can't be loaded"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "the network can't be loaded .*model.safetensors"),
    "no processor": (lambda f: (f / "preprocessor_config.json").unlink(), "the image processor can't be loaded"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_folders_are_one_clear_line(
    classifier_folder: Path, tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(classifier_folder, folder)
    damage(folder)
    with pytest.raises(HspaceError, match=message) as caught:
        ImageClassifier(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_hub_id_without_a_network_is_its_local_copy(
    classifier_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: Tensor
) -> None:
    in_hub_cache(tmp_path, classifier_folder, "nobody/tiny")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    found = ImageClassifier("nobody/tiny", device="cpu")
    assert found.model_id == "nobody/tiny"
    expected = ImageClassifier(classifier_folder, device="cpu")(images[:2])
    assert all(torch.equal(scores, expected[name]) for name, scores in found(images[:2]).items())


class Hub:
    """Answers as the hub would; tests have no network."""

    def __init__(self, files: list[str]) -> None:
        self.files = files
        self.fetched: list[str] = []

    def model_info(self, repo_id: str, timeout: float) -> ModelInfo:
        siblings = [{"rfilename": name} for name in self.files]
        return ModelInfo(id=repo_id, sha="1" * 40, siblings=siblings, tags=[])

    def snapshot_download(self, repo_id: str, allow_patterns: list[str], revision: str | None = None) -> str:
        assert revision == ("1" * 40 if self.fetched else None)  # the copy of a branch is found again offline
        self.fetched += [name for name in self.files if any(fnmatch.fnmatch(name, p) for p in allow_patterns)]
        return str(self.folder)

    folder: Path


@pytest.mark.parametrize(
    ("weights", "wanted"),
    [
        (["model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors"], ["model.safetensors"]),
        (["model-00001-of-00002.safetensors", "tf_model.h5"], ["model-00001-of-00002.safetensors"]),
        (["pytorch_model.bin", "flax_model.msgpack", "onnx/model.onnx"], ["pytorch_model.bin"]),
    ],
)
def test_only_the_weights_that_are_read_are_downloaded_and_last(
    classifier_folder: Path, monkeypatch: pytest.MonkeyPatch, weights: list[str], wanted: list[str]
) -> None:
    small = ["config.json", "preprocessor_config.json", "merges.txt"]
    hub = Hub([*small, *weights, "README.md", "onnx/config.json"])
    hub.folder = classifier_folder
    monkeypatch.setattr(huggingface_hub, "model_info", hub.model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    checkpoint = find("nobody/tiny")
    assert (checkpoint.architecture, hub.fetched) == ("ViTForImageClassification", small)
    assert checkpoint.complete() == classifier_folder
    assert hub.fetched == small + wanted


def test_a_download_that_breaks_off_is_told(classifier_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(["config.json", "model.safetensors"])
    hub.folder = classifier_folder
    monkeypatch.setattr(huggingface_hub, "model_info", hub.model_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    checkpoint = find("nobody/tiny")
    monkeypatch.undo()
    with pytest.raises(HspaceError, match="can't get the weights of 'nobody/tiny' from the hub"):
        checkpoint.complete()
