"""Where in the picture: maps laid over pictures as heat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, pad

from hspace.errors import HspaceError
from hspace.masks import grown
from hspace.plot.pictures import table, tiles_of, to_uint8

__all__ = ["heatmaps"]

_COLOURS = "inferno"
_LUMA = (0.299, 0.587, 0.114)  # of ITU-R BT.601
_COLD, _HOT = 0.5, 0.9  # share of the colour in the blend: where it is cold, the picture shows
_LINE, _RIM = (0, 255, 190), (0, 0, 0)  # of an outline: bright inside, dark outside, seen on any picture


def heatmaps(
    images: Float[Tensor, "n c y x"],
    maps: Float[Tensor, "rows k h w"],
    *,
    titles: Sequence[str] | None = None,
    heads: Sequence[str] | None = None,
    masks: Float[Tensor, "m my mx"] | None = None,
) -> Image.Image:
    """A row for each picture: the picture itself, then its maps as heat over a grey version of it.

    Every map is scaled by its own largest value; one that is zero everywhere stays cold. Maps and masks of another
    grid, such as that of the latents, are brought to the size of the picture bilinearly.

    Args:
        images: In [-1, 1].
        maps: k for each picture, 0 or more: `saliency_` of `hspace.Jacobian` at one timestep.
        titles: Labels of the rows.
        heads: Labels of the k + 1 columns, that of the picture first.
        masks: In [0, 1], one for each picture or one for all: the outline (of 0.5) is drawn on the picture.

    Raises:
        HspaceError: Numbers of rows, titles, heads or masks that don't match, maps or masks of other proportions than
            the pictures, negative or not finite numbers in them.

    Example:
        >>> import torch
        >>> from hspace.plot import heatmaps
        >>> heatmaps(torch.zeros(2, 3, 64, 64), torch.rand(2, 3, 8, 8)).size
        (532, 268)
    """
    n, k, size = len(images), maps.shape[1], (images.shape[2], images.shape[3])
    _check("map", maps, size)
    if len(maps) != n:
        raise HspaceError(f"expected maps for each of {n} pictures, found {len(maps)} rows of them")
    if titles is not None and len(titles) != n:
        raise HspaceError(f"expected a title for each row, {n}, found {len(titles)}")
    if heads is not None and len(heads) != k + 1:
        raise HspaceError(f"expected a head for the picture and each map, {k + 1}, found {len(heads)}")
    pictures = torch.from_numpy(to_uint8(images)).permute(0, 3, 1, 2).float() / 255
    tiles = tiles_of(torch.cat([pictures[:, None], _heat(pictures, maps)], 1).flatten(0, 1) * 2 - 1)
    rows = tiles.reshape(n, k + 1, *tiles.shape[1:])
    if masks is not None:
        _check("mask", masks, size)
        if len(masks) not in (1, n):
            raise HspaceError(f"expected a mask for each of {n} pictures, or one for all, found {len(masks)}")
        for row, mask in zip(rows, masks.expand(n, -1, -1), strict=True):
            _outline(row[0], mask)
    return table(list(rows), titles or (), heads or ())


def _check(what: str, values: Tensor, size: tuple[int, int]) -> None:
    if not values.numel():
        raise HspaceError(f"expected at least 1 {what} to show, found shape {tuple(values.shape)}")
    if not bool(values.isfinite().all()):
        raise HspaceError(f"{what}s hold NaN or infinite numbers")
    if bool((values < 0).any()):
        raise HspaceError(f"{what}s must be 0 or more, found {float(values.min()):g}")
    h, w = values.shape[-2:]
    if h * size[1] != w * size[0]:
        raise HspaceError(f"{what}s of {h} x {w} don't have the proportions of pictures of {size[0]} x {size[1]}")


def _heat(pictures: Float[Tensor, "n 3 y x"], maps: Float[Tensor, "n k h w"]) -> Float[Tensor, "n k 3 y x"]:
    values = _resized(maps, (pictures.shape[2], pictures.shape[3]))
    largest = values.amax((2, 3), keepdim=True)
    values = torch.where(largest > 0, values / largest, 0)
    colours = torch.from_numpy(colormaps[_COLOURS](values.numpy())[..., :3]).permute(0, 1, 4, 2, 3)
    grey = torch.einsum("ncyx,c->nyx", pictures, torch.tensor(_LUMA))[:, None, None]
    share = (_COLD + (_HOT - _COLD) * values)[:, :, None]
    return (share * colours + (1 - share) * grey).float()


def _resized(maps: Tensor, size: tuple[int, int]) -> Float[Tensor, "n k y x"]:
    """In float64: what is tiny in float32 is not lost to the division by the largest."""
    return interpolate(maps.detach().cpu().double(), size, mode="bilinear", antialias=True)


def _outline(tile: NDArray[np.uint8], mask: Float[Tensor, "h w"]) -> None:
    """Draws the edge of a mask on a picture: a line along its inside, a dark rim around it."""
    inside = (_resized(mask[None, None], (tile.shape[0], tile.shape[1]))[0, 0] >= 0.5).double()
    width = max(1, min(tile.shape[:2]) // 128)
    shrunk = 1 - grown(pad(1 - inside, [width] * 4, value=1), width)[width:-width, width:-width]  # closed at the border
    tile[(grown(inside, 1) > inside).numpy()] = _RIM
    tile[(inside > shrunk).numpy()] = _LINE
