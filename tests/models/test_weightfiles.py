"""Of files of weights: which are read, and that no damage to their length goes unseen."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save, save_file

from hspace.errors import HspaceError
from hspace.models.weightfiles import Library, check_weights, tensor_names, weight_files

WHOLE = save({"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(4, dtype=torch.float16)}, {"format": "pt"})


@pytest.mark.parametrize(
    ("library", "names", "wanted", "variant"),
    [
        ("diffusers", [], None, None),
        ("diffusers", ["model.safetensors", "config.json", "model.onnx", "openvino_model.bin"], None, None),
        ("transformers", ["diffusion_pytorch_model.safetensors"], None, None),
        ("diffusers", ["diffusion_pytorch_model.bin"], ["diffusion_pytorch_model.bin"], None),
        (
            "diffusers",
            ["diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.safetensors"],
            ["diffusion_pytorch_model.bin"],  # of the usual precision
            None,
        ),
        (
            "diffusers",
            ["diffusion_pytorch_model.non_ema.safetensors", "diffusion_pytorch_model.fp16.safetensors"],
            ["diffusion_pytorch_model.fp16.safetensors"],
            "fp16",
        ),
        ("transformers", ["pytorch_model.bin", "model.safetensors"], ["model.safetensors"], None),
        ("transformers", ["pytorch_model.fp16.bin", "model.fp16.safetensors"], ["model.fp16.safetensors"], "fp16"),
        (
            "transformers",
            ["model-00002-of-00002.safetensors", "model-00001-of-00002.safetensors", "model.safetensors.index.json"],
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
            None,
        ),
        (
            "diffusers",  # as it was before diffusers 0.30
            ["diffusion_pytorch_model-00001-of-00001.fp16.safetensors"],
            ["diffusion_pytorch_model-00001-of-00001.fp16.safetensors"],
            "fp16",
        ),
    ],
)
def test_one_of_many(library: Library, names: list[str], wanted: list[str] | None, variant: str | None) -> None:
    found = weight_files(names, library)
    assert (None if found is None else list(found.names)) == wanted
    assert (None if found is None else found.variant) == variant
    if found is not None:
        assert found.safetensors == found.names[0].endswith("safetensors")
        assert (found.index is not None) == ("-of-" in found.names[0])


@given(st.integers(0, len(WHOLE) - 1))
def test_no_truncation_goes_unseen(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    folder = tmp_path_factory.mktemp("cut")
    file = folder / "model.safetensors"
    file.write_bytes(WHOLE)
    assert check_weights(folder, "transformers").names == ("model.safetensors",)
    file.write_bytes(WHOLE[:length])
    with pytest.raises(HspaceError, match=r"model.safetensors: truncated: expected at least \d+ bytes, found"):
        check_weights(folder, "transformers")


@given(st.binary(min_size=8, max_size=64))
def test_noise_is_no_file_of_weights(tmp_path_factory: pytest.TempPathFactory, noise: bytes) -> None:
    folder = tmp_path_factory.mktemp("noise")
    (folder / "model.safetensors").write_bytes(noise)
    with pytest.raises(HspaceError, match=r"model.safetensors: "):
        check_weights(folder, "transformers")
    assert tensor_names(folder / "model.safetensors") == []


def test_names_without_reading(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2), "b": torch.zeros(3)}, tmp_path / "x.safetensors")
    assert sorted(tensor_names(tmp_path / "x.safetensors")) == sorted(load_file(tmp_path / "x.safetensors"))
    assert tensor_names(tmp_path / "nothing.safetensors") == []
