"""Distances by name: CLIP against transformers itself, functions of the user's, clear words where one is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import transformers
from tests.attributes.tiny_transformers import save_clip

from hspace.errors import HspaceError
from hspace.evaluation import load_distance


def test_clip_against_transformers(tmp_path: Path) -> None:
    folder = save_clip(tmp_path / "clip")
    name, distance = load_distance(f"clip:{folder}", device="cpu")
    assert name == "clip"
    images = torch.rand(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    images = ((images + 1) * 127.5).round() / 127.5 - 1  # bytes, which is what the processor sees
    images = images.transpose(1, 2).reshape(2, 4, 3, 16, 16)
    network = transformers.CLIPModel.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    embedded = []
    for batch in images:
        pixels = [((x.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy() for x in batch]
        values = processor(pixels, return_tensors="pt", input_data_format="channels_last")
        with torch.no_grad():
            output = network.get_image_features(**values)
        embedded.append(output if isinstance(output, torch.Tensor) else output.pooler_output)
    expected = 1 - torch.nn.functional.cosine_similarity(*embedded)
    torch.testing.assert_close(distance(images[0], images[1]).float(), expected, rtol=1e-4, atol=1e-5)
    assert float(distance(images[0], images[0]).abs().max()) < 1e-6


def test_a_function_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def far(a, b):\n    return (a - b).abs().amax((1, 2, 3))\n")
    name, distance = load_distance(f"{tmp_path / 'mine.py'}:far")
    assert name == "far"
    assert distance(torch.zeros(2, 3, 2, 2), torch.ones(2, 3, 2, 2)).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("far", "no distance 'far': expected clip:MODEL, lpips or module:function"),
        ("clip:", "no distance 'clip:'"),
        ("lpips:net", "LPIPS has the networks alex, vgg and squeeze, not 'net'"),
        ("clip:no/such/folder", "no/such/folder"),
        ("no_such_module:far", "no_such_module"),
    ],
)
def test_refusals(name: str, message: str) -> None:
    with pytest.raises(HspaceError, match=message):
        load_distance(name)


def test_lpips_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its networks are those of torchvision, which is not among ours."""
    monkeypatch.setitem(sys.modules, "lpips", None)  # wherever it is installed: an import fails
    with pytest.raises(HspaceError, match=r"LPIPS needs the packages lpips and torchvision, and their weights \("):
        load_distance("lpips")
