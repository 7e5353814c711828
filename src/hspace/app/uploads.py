"""Files that visitors send: how large they may be, and photos as what the model sees."""

from __future__ import annotations

import threading
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from hspace.errors import HspaceError
from hspace.photos import read_photos

__all__ = ["FORMATS", "MAX_BYTES", "MAX_PIXELS", "MAX_UPLOAD", "read_photo"]

MAX_BYTES = 20 * 2**20
"""Of a file."""
MAX_UPLOAD = 4 * MAX_BYTES
"""Of files that come together, such as a recipe with its directions."""
MAX_PIXELS = 25_000_000
"""Of a photo: 25 megapixels."""
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
"""Pillow's names. It knows some forty more, each with a decoder of its own that nobody needs here."""

_one = threading.Lock()  # a photo of 25 megapixels takes some 400 MB while it is decoded: one at a time


def read_photo(path: Path, image_shape: tuple[int, ...]) -> Float[Tensor, "1 c h w"]:
    """A visitor's photo, its size looked at before it is decoded.

    Args:
        path: The upload.
        image_shape: (c, h, w) of the model's pictures.

    Returns:
        float32 in [-1, 1].

    Raises:
        HspaceError: More than `MAX_BYTES` or `MAX_PIXELS`, none of `FORMATS`, damaged. It names the file, no folder.

    Example:
        >>> import tempfile, pathlib
        >>> from PIL import Image
        >>> from hspace.app.uploads import read_photo
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "wide.png"
        >>> Image.new("1", (9000, 3000)).save(path)
        >>> try:
        ...     read_photo(path, (3, 64, 64))
        ... except ValueError as error:
        ...     print(error)
        wide.png: no readable picture (9000 x 3000 pixels, the limit is 25 megapixels)
    """
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise HspaceError(f"{path}: {size / 2**20:.1f} MB, the limit is {MAX_BYTES / 2**20:g} MB")
        with _one:
            return read_photos([path], image_shape, max_pixels=MAX_PIXELS, formats=FORMATS)
    except OSError as error:
        raise HspaceError(f"{path.name}: can't be read any more, upload it again") from error
    except HspaceError as error:  # a visitor knows the file by its name, and not the folders of this machine
        raise HspaceError(str(error).replace(str(path), path.name)) from error
