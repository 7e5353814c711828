"""A tiny real model on disk, directions found in it, and the command line to run on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from diffusers import DDIMScheduler, UNet2DModel
from typer.testing import CliRunner

from hspace.cli import app

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder: 8 px pictures, h is (8, 4, 4)."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8,
        block_out_channels=(4, 8),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        norm_num_groups=2,
        add_attention=False,
    )
    unet.save_pretrained(folder / "unet")
    DDIMScheduler(100, clip_sample=False, prediction_type="v_prediction").save_pretrained(folder / "scheduler")
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def invoke(*args: object) -> Result:
        return CliRunner().invoke(app, [str(arg) for arg in args])

    return invoke


@pytest.fixture
def directions_file(run: Run, tiny_folder: Path, tmp_path: Path) -> Path:
    """Three components of the tiny model on 4 steps."""
    file = tmp_path / "pcs.safetensors"
    result = run("pca", "-m", tiny_folder, "-n", 12, "-k", 3, "-s", 4, "-o", file, "--device", "cpu")
    assert result.exit_code == 0, result.output
    return file
