"""Paint on a transparent picture is a mask at the size of the model."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hspace.app.brush import painted
from hspace.errors import HspaceError

HEAD = "data:image/png;base64,"


def url(content: bytes) -> str:
    return HEAD + base64.b64encode(content).decode()


def layer(box: tuple[int, int, int, int], kind: str = "PNG") -> str:
    image, file = Image.new("RGBA", (64, 32)), io.BytesIO()
    image.paste((255, 0, 170, 255), box)
    image.save(file, kind)
    return url(file.getvalue())


def test_paint_covers_what_it_covers_by_half() -> None:
    mask = painted(layer((8, 0, 30, 32)), (4, 8))  # 8 layer pixels to one of the mask
    assert mask is not None
    assert (np.array(mask)[0] > 0).tolist() == [False, True, True, True, False, False, False, False]  # 30 = 3.75 x 8
    assert set(np.unique(np.array(mask))) == {0, 255}


def test_a_fine_stroke_is_one() -> None:
    mask = painted(layer((7, 3, 10, 5)), (4, 8))  # 1 x 2 and 2 x 2 of two cells of 8 x 8
    assert mask is not None
    assert np.argwhere(np.array(mask)).tolist() == [[0, 1]]


def test_nothing_is_nothing() -> None:
    assert painted(None, (4, 8)) is None
    assert painted("", (4, 8)) is None
    assert painted(layer((0, 0, 0, 0)), (4, 8)) is None


def bomb(width: int, height: int) -> str:
    """A PNG of a few bytes that claims to be huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return url(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


@pytest.mark.parametrize(
    "wrong",
    [
        "nothing",
        HEAD + "no base 64!",
        url(b"no picture"),
        url(b"\x89PNG\r\n\x1a\n"),
        layer((0, 0, 8, 8), "TIFF"),
        "file:///etc/passwd",
        bomb(9000, 9000),
        bomb(60000, 60000),
        HEAD + "A" * 2**22,
    ],
    ids=["text", "base64", "content", "truncated", "format", "path", "large", "bomb", "long"],
)
def test_what_is_no_picture_or_too_large_is_refused(wrong: str) -> None:
    with pytest.raises(HspaceError, match=r"paint it again"):
        painted(wrong, (4, 8))
