"""Masks: which part of the picture is meant, as an array, a file, a box or the name of a region."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d

from hspace.errors import HspaceError

__all__ = ["Mask", "Regions", "as_masks", "grid_of", "grown", "over_h"]

Mask: TypeAlias = Tensor | NDArray[Any] | str | PathLike[str] | tuple[int, int, int, int]
"""An array (H, W) of numbers in [0, 1] or bool; the path of a PNG; a box (x0, y0, x1, y1) in pixels, x1 and y1
excluded, or its text "x0,y0,x1,y1"; or the name of a region."""

_BOX = re.compile(",".join([r"\s*([+-]?\d+)\s*"] * 4))


@runtime_checkable
class Regions(Protocol):
    """Anything that can be called with pictures and answers with a mask a picture for each region it knows.

    Example:
        >>> import torch
        >>> from hspace.masks import Regions
        >>> def bright(images):
        ...     return {"bright": (images.mean(1) > 0).float()}
        >>> isinstance(bright, Regions)
        True
        >>> bright(torch.ones(2, 3, 8, 8))["bright"].shape
        torch.Size([2, 8, 8])
    """

    def __call__(self, images: Float[Tensor, "n c h w"], /) -> Mapping[str, Tensor]:
        """Find the regions.

        Args:
            images: In [-1, 1].

        Returns:
            For each region's name its masks, shape (n, h, w), in [0, 1] or bool.
        """
        ...


def as_masks(
    mask: Mask,
    size: tuple[int, int],
    *,
    scale: int = 1,
    regions: Regions | None = None,
    images: Float[Tensor, "n c h w"] | None = None,
) -> Float[Tensor, "m y x"]:
    """Read a mask, check it and bring it to the grid of a model's output.

    A text is a box if it looks like one, else a region if `regions` has that name, else the path of a file.

    Args:
        mask: What `Mask` says. Files are read as grey levels of 8 bits, 0 to 255 standing for 0 to 1.
        size: Height and width of the model's output.
        scale: Pixels of the picture along one cell of the output: 1 for pixel models, 8 for most latent ones. Masks
            are given at the size of the picture and averaged over each cell; one of the output's own size is taken
            as it is. Boxes are in pixels of the picture.
        regions: Finds named regions in pictures.
        images: The pictures to find them in, n of them. Needed with `regions` for any text that is no box.

    Returns:
        float32 in [0, 1] on the CPU, shape (m, *size): m = n for a region, m = 1 (the same for all pictures) otherwise.

    Raises:
        HspaceError: The mask has the wrong size, is empty, leaves [0, 1] or is not finite; the box is not increasing
            or leaves the picture; the file is missing or no image of 8 bits; the region is unknown, or empty in a
            picture (its row is named).

    Example:
        >>> from hspace.masks import as_masks
        >>> as_masks("2,0,4,1", (2, 4))
        tensor([[[0., 0., 1., 1.],
                 [0., 0., 0., 0.]]])
        >>> as_masks((0, 0, 3, 2), (1, 2), scale=2)
        tensor([[[1.0000, 0.5000]]])
    """
    if isinstance(mask, str):
        if box := _BOX.fullmatch(mask):
            x0, y0, x1, y1 = (int(number) for number in box.groups())
            return as_masks((x0, y0, x1, y1), size, scale=scale)
        found = _regions(mask, regions, images)
        if mask in found and images is not None:
            region = f"region {mask!r}"
            return _fitted(region, _tensor(region, found[mask]), size, scale, (len(images),))
        if not os.path.exists(mask):
            known = f"no region of {', '.join(found)}" if regions else "no region, since no regions were given"
            raise HspaceError(f"mask {mask!r} is no box x0,y0,x1,y1, {known}, and no existing file")
    if isinstance(mask, tuple):
        return _fitted("box", _box(mask, size, scale), size, scale)
    if isinstance(mask, str | PathLike):
        return _fitted(f"mask {os.fspath(mask)}", _read(mask), size, scale)
    return _fitted("mask", _tensor("mask", mask), size, scale)


def grown(masks: Float[Tensor, "*n y x"], pixels: int) -> Float[Tensor, "*n y x"]:
    """Dilate masks by a square: each pixel becomes the largest of those at most `pixels` rows and columns away.

    Args:
        masks: Shape (..., y, x).
        pixels: 0 changes nothing.

    Raises:
        HspaceError: `pixels` is negative.

    Example:
        >>> import torch
        >>> from hspace.masks import grown
        >>> grown(torch.tensor([[0.0, 0.0, 0.0, 1.0]]), 1)
        tensor([[0., 0., 1., 1.]])
    """
    if pixels < 0:
        raise HspaceError(f"masks grow by 0 pixels or more, not {pixels}")
    y, x = masks.shape[-2:]
    flat = masks.reshape(-1, 1, y, x)
    return max_pool2d(flat, 2 * pixels + 1, stride=1, padding=pixels).reshape(masks.shape)


def grid_of(h_shape: Sequence[int], size: Sequence[int]) -> tuple[int, int] | None:
    """Height and width of the grid that an h lies on; None: on none.

    h is (c, y, x), or tokens (y x, d) row by row, whose grid has the proportions of x_t.

    Args:
        h_shape: Of one sample.
        size: Height and width of x_t.

    Example:
        >>> from hspace.masks import grid_of
        >>> grid_of((128, 8, 8), (64, 64)), grid_of((32, 384), (32, 64)), grid_of((33, 384), (32, 64))
        ((8, 8), (4, 8), None)
    """
    if len(h_shape) == 3:
        return h_shape[1], h_shape[2]
    if len(h_shape) != 2:
        return None
    height, width = size
    y = math.isqrt(h_shape[0] * height // width)
    return (y, h_shape[0] // y) if y and h_shape[0] % y == 0 and y * width == h_shape[0] // y * height else None


def over_h(mask: Float[Tensor, "y x"], h_shape: Sequence[int]) -> Tensor:
    """A mask on the grid of h in a shape that multiplies h: (y, x) for (c, y, x), (y x, 1) for tokens (y x, d).

    Example:
        >>> import torch
        >>> from hspace.masks import over_h
        >>> over_h(torch.eye(2), (4, 8)).flatten().tolist()
        [1.0, 0.0, 0.0, 1.0]
    """
    return mask.reshape(-1, 1) if len(h_shape) == 2 else mask


def _regions(name: str, regions: Regions | None, images: Tensor | None) -> Mapping[str, Tensor]:
    if regions is None:
        return {}
    if images is None:
        raise HspaceError(f"mask {name!r} may be a region, which is found in images: expected images, found none")
    return regions(images)


def _box(box: tuple[int, int, int, int], size: tuple[int, int], scale: int) -> Tensor:
    height, width = (scale * side for side in size)
    if len(box) != 4:
        raise HspaceError(f"a box has four numbers x0,y0,x1,y1, not {len(box)}")
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        raise HspaceError(
            f"box {','.join(map(str, box))}: expected 0 <= x0 < x1 <= {width} and 0 <= y0 < y1 <= {height}"
        )
    mask = torch.zeros(height, width)
    mask[y0:y1, x0:x1] = 1
    return mask


def _read(path: str | PathLike[str]) -> Tensor:
    name = os.fspath(path)
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):  # Pillow would cut them off at 255
                raise HspaceError(f"mask {name} has more than 8 bits a pixel (mode {image.mode}), expected 8")
            grey = np.array(image.convert("L"), dtype=np.float32)
    except HspaceError:
        raise
    except FileNotFoundError as error:
        raise HspaceError(f"mask {name}: there is no such file") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # a broken PNG raises SyntaxError
        reason, *_ = f"{error}".split("\n")
        raise HspaceError(f"mask {name} is no readable image: {reason}") from error
    return torch.from_numpy(grey / 255)


def _tensor(what: str, mask: Tensor | NDArray[Any]) -> Tensor:
    array = mask if isinstance(mask, Tensor) else np.asarray(mask)
    if isinstance(array, Tensor) and not array.is_complex():
        return array.detach().to("cpu", torch.float32, copy=True)
    if isinstance(array, np.ndarray) and array.dtype.kind in "biuf":
        return torch.from_numpy(array.astype(np.float32, order="C"))  # a copy: torch reads no reversed array
    raise HspaceError(f"{what} must be an array of bool or of numbers in [0, 1], not of {array.dtype}")


def _fitted(what: str, mask: Tensor, size: tuple[int, int], scale: int, rows: tuple[int, ...] = ()) -> Tensor:
    """Checks a mask, or with `rows` = (n,) one for each of n pictures, and brings it to the grid."""
    height, width = size
    picture, grid = (*rows, scale * height, scale * width), (*rows, height, width)
    if mask.shape not in (picture, grid):
        expected = f"{picture}" if scale == 1 else f"{picture} (the picture) or {grid} (the model's output)"
        raise HspaceError(f"{what} has shape {tuple(mask.shape)}, expected {expected}")
    masks = mask if rows else mask[None]
    if not masks.isfinite().all():
        raise HspaceError(f"{what} has values that are not finite, expected [0, 1]")
    if ((masks < 0) | (masks > 1)).any():
        raise HspaceError(f"{what} has values from {masks.min():g} to {masks.max():g}, expected [0, 1]")
    empty = ~(masks > 0).flatten(1).any(1)
    if empty.any() and not rows:
        raise HspaceError(f"{what} is empty: it has no pixel above 0")
    if empty.any():
        first = int(empty.nonzero()[0])
        raise HspaceError(f"{what} is empty in {int(empty.sum())} of {len(masks)} pictures, first in row {first}")
    return masks if mask.shape == grid else avg_pool2d(masks[:, None], scale)[:, 0]
