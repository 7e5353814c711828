"""A tiny real model on disk, directions found in it, and the command line to run on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import Result
from diffusers import DDIMScheduler
from tests import tiny
from typer.testing import CliRunner

from hspace.cli import app

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder: 8 px pictures, h is (8, 4, 4)."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny.unet(dtype=torch.float32).save_pretrained(folder / "unet")
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
