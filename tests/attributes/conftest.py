"""Models and pictures that more than one file's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.attributes.tiny_transformers import save_classifier, save_clip
from torch import Tensor


@pytest.fixture(scope="session")
def classifier_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("classifier"), ["calm", "smile", "frown"])


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def pictures() -> list[Image.Image]:
    """40 pictures, more than go through a network at a time, wider than high."""
    noise = torch.randint(0, 256, (40, 20, 24, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    noise[::2] //= 2
    return [Image.fromarray(pixels.numpy()) for pixels in noise]


@pytest.fixture(scope="session")
def images(pictures: list[Image.Image]) -> Tensor:
    """The same as tensors in [-1, 1]."""
    pixels = [torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8) for picture in pictures]
    return torch.stack(pixels).reshape(40, 20, 24, 3).permute(0, 3, 1, 2) / 127.5 - 1
