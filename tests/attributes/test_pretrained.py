from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hspace.attributes.pretrained import as_bytes
from hspace.errors import HspaceError


def test_every_byte_comes_back() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    for dtype in (torch.float32, torch.float64, torch.float16):
        assert (as_bytes(pixels.to(dtype) / 127.5 - 1) == pixels.reshape(1, 16, 16, 1).numpy()).all()


def test_channels_stay_in_order_and_numbers_beyond_are_clipped() -> None:
    images = torch.tensor([-9.0, 0.5, 9.0]).reshape(1, 3, 1, 1).expand(2, 3, 4, 5)
    assert as_bytes(images).shape == (2, 4, 5, 3)
    assert as_bytes(images)[1, 3, 4].tolist() == [0, 191, 255]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 8, 8), r"images of shape \(n, 3, h, w\) or \(n, 1, h, w\), not \(3, 8, 8\)"),
        (torch.zeros(2, 8, 8, 3), r"not \(2, 8, 8, 3\)"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r"expected float images in \[-1, 1\], not torch.uint8"),
        (torch.tensor([0.0, torch.inf]).reshape(2, 1, 1, 1), "picture 2 of 2 holds NaN or infinite numbers"),
    ],
)
def test_bad_pictures_are_named(images: Tensor, message: str) -> None:
    with pytest.raises(HspaceError, match=message):
        as_bytes(images)
