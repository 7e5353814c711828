"""What was painted over a picture, as a mask."""

from __future__ import annotations

import base64
import binascii
import io

import numpy as np
from PIL import Image

from hspace.errors import HspaceError

__all__ = ["painted"]

_HEAD = "data:image/png;base64,"
_LONGEST = 2**21  # letters of a data URL
_LARGEST = 4096  # pixels along a side
_STROKE = 127  # of 255: paint that covers half of a pixel


def painted(url: str | None, size: tuple[int, int]) -> Image.Image | None:
    """Where there is paint on a transparent picture, brought to another size.

    Args:
        url: A PNG as a data URL; None: nothing was painted.
        size: Height and width.

    Returns:
        Grey levels of 8 bits, 255 where there is paint; None where there is none at all.

    Raises:
        HspaceError: No readable picture, or one that is too large.

    Example:
        >>> import base64, io
        >>> from PIL import Image
        >>> from hspace.app.brush import painted
        >>> layer, file = Image.new("RGBA", (4, 4)), io.BytesIO()
        >>> layer.paste((255, 0, 0, 255), (0, 0, 2, 2))
        >>> layer.save(file, "PNG")
        >>> url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
        >>> list(painted(url, (2, 2)).tobytes())
        [255, 0, 0, 0]
    """
    if not url:
        return None
    height, width = size
    try:
        if not url.startswith(_HEAD) or len(url) > _LONGEST:
            raise ValueError
        content = base64.b64decode(url.removeprefix(_HEAD), validate=True)
        with Image.open(io.BytesIO(content), formats=["PNG"]) as layer:
            if max(layer.size) > _LARGEST:  # before it is decoded
                raise ValueError
            alpha = layer.convert("RGBA").getchannel("A").resize((width, height), Image.Resampling.BOX)
    except (OSError, SyntaxError, ValueError, binascii.Error, Image.DecompressionBombError) as error:
        raise HspaceError("what was painted came as no readable picture: paint it again") from error
    paint = np.array(alpha)
    covered = paint > min(_STROKE, int(paint.max()) // 2)  # a fine brush on a coarse grid is still a stroke
    return Image.fromarray(covered.astype(np.uint8) * 255) if covered.any() else None
