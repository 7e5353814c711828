"""A tiny real model on disk, for processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from diffusers import DDIMScheduler
from tests import tiny


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusers folder: 8 px pictures, h is (8, 4, 4), float64."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny.unet().save_pretrained(folder / "unet")
    DDIMScheduler(100, clip_sample=False).save_pretrained(folder / "scheduler")
    return folder
