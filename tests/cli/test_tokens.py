"""The commands on a transformer's tokens, by way of an adapter in a file."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from tests.cli.conftest import Run

ADAPTER = """
import torch
from tests import transformers

def pixart():
    return transformers.denoiser("pixart", dtype=torch.float32)

def brightness(images):
    return {"bright": images.mean((1, 2, 3)), "red": images[:, 0].mean((1, 2))}
"""


def test_find_inspect_edit_with_a_mask_and_report(run: Run, tmp_path: Path) -> None:
    (tmp_path / "adapter.py").write_text(ADAPTER)
    model = ("-m", "adapter.py:pixart", "--device", "cpu")
    result = run("pca", *model, "-n", 8, "-k", 2, "-s", 2, "-o", "pcs.safetensors")
    assert result.exit_code == 0, result.output
    result = run("inspect", "pcs.safetensors")
    assert "transformer.transformer_blocks.1, 16 x 8" in result.stdout
    for name, options in (("whole", ()), ("left", ("--mask", "0,0,4,8"))):
        result = run("edit", "pcs.safetensors", *model, "-d", "pc0", *options, "--seeds", "0:1", "-o", f"{name}.png")
        assert result.exit_code == 0, result.output
    assert Image.open("whole.png").tobytes() != Image.open("left.png").tobytes()
    judged = ("--scorer", "adapter.py:brightness", "-n", 2, "--controls", 20)
    result = run("report", "pcs.safetensors", *model, *judged, "-o", "report.html")
    assert result.exit_code == 0, result.output
    assert "transformer.transformer_blocks.1" in (tmp_path / "report.html").read_text()
