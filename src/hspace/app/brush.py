"""What was drawn over a picture, as a mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from hspace.errors import HspaceError

__all__ = ["drawn"]

_LARGEST = 4096  # pixels along a side of a layer
_STROKE = 127  # of 255: paint that covers at least half of a pixel


def drawn(layers: Sequence[Path], size: tuple[int, int]) -> Image.Image | None:
    """Where there is paint on transparent layers, brought to another size.

    Args:
        layers: PNG files.
        size: Height and width.

    Returns:
        Grey levels of 8 bits, 255 where there is paint; None where there is none at all.

    Raises:
        HspaceError: No readable picture, or one that is too large.

    Example:
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> from hspace.app.brush import drawn
        >>> layer = Image.new("RGBA", (4, 4))
        >>> layer.paste((255, 0, 0, 255), (0, 0, 2, 2))
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "layer.png"
        >>> layer.save(path)
        >>> list(drawn([path], (2, 2)).tobytes())
        [255, 0, 0, 0]
    """
    height, width = size
    paint = np.zeros((height, width), np.uint8)
    for path in layers:
        try:
            with Image.open(path, formats=["PNG"]) as layer:
                if max(layer.size) > _LARGEST:
                    raise HspaceError(f"a mask has at most {_LARGEST} pixels along a side, not {max(layer.size)}")
                alpha = layer.convert("RGBA").getchannel("A").resize((width, height), Image.Resampling.BOX)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            if isinstance(error, HspaceError):
                raise
            raise HspaceError("what was drawn came as no readable picture: draw it again") from error
        paint = np.maximum(paint, np.array(alpha))
    covered = paint > _STROKE
    return Image.fromarray(covered.astype(np.uint8) * 255) if covered.any() else None
