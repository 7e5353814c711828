"""Picture files of any kind as what a model sees.

Pictures are turned as their EXIF data say, laid on white where they are transparent, brought to 8 bits, to the model's
channels and to its size: "crop" cuts the middle square (or the model's shape) out and keeps proportions, "fit" keeps
all of the picture and fills up with the colour of its edges' mean, "stretch" changes proportions.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from hspace.errors import HspaceError

__all__ = ["Fit", "Unreadable", "photo_files", "read_photos", "readable"]

Fit = Literal["crop", "fit", "stretch"]
Unreadable = Literal["refuse", "skip"]
"""What becomes of a file that is no readable picture, among many."""

_TILE = (322, 323)  # TIFF's tags of the width and height of a tile
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I")


def read_photos(
    paths: Sequence[str | PathLike[str]],
    image_shape: tuple[int, ...],
    *,
    fit: Fit = "crop",
    max_pixels: int | None = None,
    formats: tuple[str, ...] | None = None,
) -> Float[Tensor, "n c h w"]:
    """Read pictures.

    Args:
        paths: Files.
        image_shape: (c, h, w) of the model's pictures (`picture_shape`), c 1 (grey) or 3 (RGB).
        fit: How a picture of another shape is brought to (h, w), see above.
        max_pixels: Of a picture, by its header, before anything is decoded. None: Pillow's limit against
            decompression bombs alone, which is 179 megapixels.
        formats: Pillow's names of those that are opened; None: all that it knows.

    Returns:
        float32 in [-1, 1], shape (n, c, h, w).

    Raises:
        HspaceError: No path at all; a file that is missing, no picture of these formats, damaged or larger than the
            limit (named); a number of channels that is neither 1 nor 3.

    Example:
        >>> import tempfile, pathlib
        >>> from PIL import Image
        >>> from hspace.photos import read_photos
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "wide.png"
        >>> Image.new("L", (90, 30), 255).save(path)
        >>> photos = read_photos([path], (3, 64, 64))
        >>> photos.shape, float(photos.min())
        (torch.Size([1, 3, 64, 64]), 1.0)
    """
    channels, height, width = image_shape
    if not paths:
        raise HspaceError("no pictures: at least 1 is needed")
    if channels not in (1, 3):
        raise HspaceError(f"pictures have 1 or 3 channels, the model's have {channels}")
    if fit not in get_args(Fit):
        raise HspaceError(f"fit must be one of {', '.join(get_args(Fit))}, not {fit!r}")
    pixels = np.stack(  # (n, h, w, 3)
        [_fitted(_open(Path(path), max_pixels, formats), (width, height), fit) for path in paths]
    )
    photos = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1
    if channels == 1:
        weights = torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)  # luma, as Pillow's "L"
        photos = (photos * weights).sum(1, keepdim=True)
    return photos


def photo_files(folder: str | PathLike[str]) -> list[Path]:
    """The pictures of a folder, by the names of their files, sorted; folders in it are not looked into.

    Raises:
        HspaceError: No such folder, or no picture in it.

    Example:
        >>> import tempfile, pathlib
        >>> from PIL import Image
        >>> from hspace.photos import photo_files
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> Image.new("L", (8, 8)).save(folder / "a.png")
        >>> _ = (folder / "notes.txt").write_text("no picture")
        >>> [path.name for path in photo_files(folder)]
        ['a.png']
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise HspaceError(
            f"{folder}: expected a folder of pictures, found {'a file' if folder.exists() else 'nothing'}"
        )
    known = Image.registered_extensions()
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in known and path.is_file())
    if not found:
        raise HspaceError(f"{folder}: no pictures in this folder")
    return found


def readable(
    paths: Sequence[str | PathLike[str]], unreadable: Unreadable = "refuse"
) -> tuple[list[int], dict[str, str]]:
    """Which of many files are readable pictures; every one is opened, so that a long job does not stop half-way.

    Args:
        paths: Files.
        unreadable: "refuse" ends at the first one that is not; "skip" leaves them out.

    Returns:
        Indices of those that are, and for the others the reason by name.

    Raises:
        HspaceError: One is not, and is refused; or none is.

    Example:
        >>> from hspace.photos import readable
        >>> try:
        ...     readable(["nothing.png"], "skip")
        ... except ValueError as error:
        ...     print(error)
        none of 1 pictures is readable; the first: nothing.png: no readable picture (no such file)
    """
    if unreadable not in get_args(Unreadable):
        raise HspaceError(f"unreadable must be one of {', '.join(get_args(Unreadable))}, not {unreadable!r}")
    kept, skipped = [], {}
    for i, path in enumerate(paths):
        try:
            _open(Path(path))
            kept.append(i)
        except HspaceError as error:
            if unreadable == "refuse":
                raise
            skipped[str(path)] = str(error)
    if skipped and not kept:
        raise HspaceError(f"none of {len(paths)} pictures is readable; the first: {next(iter(skipped.values()))}")
    return kept, skipped


def _open(path: Path, max_pixels: int | None = None, formats: tuple[str, ...] | None = None) -> Image.Image:
    """RGB, upright, on white."""
    try:
        with Image.open(path, formats=formats) as opened:
            if max_pixels is not None:
                _check_pixels(opened, max_pixels)
            image = ImageOps.exif_transpose(opened)
            if image.mode == "F":
                raise ValueError("floating-point pixels have no known range")
            if image.mode in _SIXTEEN_BITS:
                wide = np.asarray(image, dtype=np.float64)
                image = Image.fromarray((wide / 257).round().clip(0, 255).astype(np.uint8))
            image = image.convert("RGBA")
    except (OSError, SyntaxError, ValueError, EOFError, KeyError, struct.error, Image.DecompressionBombError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        reason = "no such file" if isinstance(error, FileNotFoundError) else text
        raise HspaceError(f"{path}: no readable picture ({reason})") from error
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


def _check_pixels(opened: Image.Image, most: int) -> None:
    """By the header; a tile of a TIFF is decoded whole, however small the picture is that it covers."""
    tags = getattr(opened, "tag_v2", {})
    for width, height in (opened.size, tuple(tags.get(tag, 0) for tag in _TILE)):
        if width * height > most:
            raise ValueError(f"{width} x {height} pixels, the limit is {most / 1e6:g} megapixels")


def _fitted(image: Image.Image, size: tuple[int, int], fit: Fit) -> NDArray[np.uint8]:
    lanczos = Image.Resampling.LANCZOS
    if fit == "crop":
        fitted = ImageOps.fit(image, size, lanczos)
    elif fit == "stretch":
        fitted = image.resize(size, lanczos)
    else:
        edges = np.asarray(image)
        rim = np.concatenate([edges[0], edges[-1], edges[:, 0], edges[:, -1]]).mean(0)
        r, g, b = (int(value) for value in rim.round())
        fitted = ImageOps.pad(image, size, lanczos, color=(r, g, b))
    return np.array(fitted)
