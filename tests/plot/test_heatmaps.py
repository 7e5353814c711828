from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import hspace
from hspace.plot import grid, heatmaps, to_uint8

Pixels = NDArray[np.uint8]

GAP = 4  # between tiles


def tile(sheet: Image.Image, row: int, column: int, rows: int, columns: int, side: int = 96) -> Pixels:
    """Counted from the lower right corner, for labels stand left and above."""
    y = sheet.height - (rows - row) * (side + GAP)
    x = sheet.width - (columns - column) * (side + GAP)
    return np.asarray(sheet.convert("RGB"))[y : y + side, x : x + side]


def one_map(maps: torch.Tensor, images: torch.Tensor | None = None) -> Pixels:
    """The tile of the only map over the only picture."""
    images = torch.zeros(1, 3, 96, 96) if images is None else images
    return tile(heatmaps(images, maps[None, None]), 0, 1, 1, 2)


def warmth(pixels: Pixels) -> NDArray[np.int_]:
    """Red above blue: grey pictures have none, neither has the cold end of the colours."""
    rgb = pixels.astype(np.int_)
    return np.asarray(rgb[..., 0] - rgb[..., 2])


def pictures(n: int, side: int = 96, channels: int = 3) -> torch.Tensor:
    return torch.rand(n, channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize(("side", "channels"), [(8, 3), (8, 1), (96, 3), (96, 1)])
def test_a_row_is_the_picture_and_its_maps(side: int, channels: int) -> None:
    images, maps = pictures(2, side, channels), torch.rand(2, 3, side, side)
    sheet = heatmaps(images, maps)
    assert sheet.size == (GAP + 4 * (96 + GAP), GAP + 2 * (96 + GAP))
    plain = to_uint8(images).repeat(96 // side, 1).repeat(96 // side, 2)
    for row in range(2):
        assert np.array_equal(tile(sheet, row, 0, 2, 4), plain[row])
        for column in range(3):
            alone = heatmaps(images[row : row + 1], maps[row : row + 1, column : column + 1])
            assert np.array_equal(tile(sheet, row, 1 + column, 2, 4), tile(alone, 0, 1, 1, 2))
            assert not np.array_equal(tile(sheet, row, 1 + column, 2, 4), plain[row])


def test_heat_is_where_the_map_is_large_and_the_rest_is_the_picture_in_grey() -> None:
    images, spot = pictures(1), torch.zeros(96, 96)
    spot[20:40, 50:80] = 3.0
    drawn = one_map(spot, images)
    hot = spot.numpy() > 0
    assert (warmth(drawn)[hot] > 60).all()
    cold = drawn[~hot].astype(int)
    assert (cold.max(1) - cold.min(1) <= 4).all()
    luma = to_uint8(images)[0] @ np.array([0.299, 0.587, 0.114])
    assert np.corrcoef(cold.mean(1), luma[~hot])[0, 1] > 0.999
    assert cold.mean() > 0.4 * luma.mean()  # and is still seen


def test_more_heat_is_brighter() -> None:
    ramp = torch.linspace(0, 1, 96).expand(96, 96)
    brightness = one_map(ramp, -torch.ones(1, 3, 96, 96)).mean((0, 2))
    assert (np.diff(brightness) >= 0).all()
    assert brightness[-1] > brightness[0] + 100


@pytest.mark.parametrize("scale", [1e-60, 1e-42, 1e-7, 1.0, 1e30, 1e300])
def test_every_map_is_scaled_by_its_own_maximum(scale: float) -> None:
    values = torch.rand(96, 96, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    difference = one_map(scale * values).astype(int) - one_map(values)
    assert np.abs(difference).max() <= 1


def test_an_empty_map_stays_cold() -> None:
    images, maps = pictures(1), torch.zeros(1, 2, 96, 96)
    maps[0, 1, 10, 10] = 1
    sheet = heatmaps(images, maps)
    empty, spot = tile(sheet, 0, 1, 1, 3), tile(sheet, 0, 2, 1, 3)
    differs = (empty != spot).any(2)
    assert differs[10, 10]
    assert differs.sum() == 1


def test_maps_of_a_latent_grid_are_enlarged_bilinearly() -> None:
    maps = torch.rand(12, 12, generator=torch.Generator().manual_seed(0))
    values = maps.numpy()
    centres = np.clip((np.arange(96) + 0.5) / 8 - 0.5, 0, 11)  # of pixels, in cells
    across = np.array([np.interp(centres, np.arange(12), row) for row in values])
    large = np.array([np.interp(centres, np.arange(12), column) for column in across.T]).T
    difference = one_map(maps).astype(int) - one_map(torch.from_numpy(large))
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("cells", [96, 12])
def test_the_outline_of_a_mask_is_drawn_on_its_picture_only(cells: int) -> None:
    images, maps = torch.zeros(2, 3, 96, 96), torch.rand(2, 2, cells, cells)
    masks = torch.zeros(2, cells, cells)
    masks[0, cells // 4 : cells // 2, cells // 3 : cells // 4 * 3] = 1  # rows 24 to 47, columns 32 to 71
    masks[1] = 1
    sheet, plain = heatmaps(images, maps, masks=masks), heatmaps(images, maps)
    differs = [[(tile(sheet, i, j, 2, 3) != tile(plain, i, j, 2, 3)).any(2) for j in range(3)] for i in range(2)]
    assert not any(differs[i][j].any() for i in range(2) for j in (1, 2))
    ys, xs = np.nonzero(differs[0][0])
    margin = 1 if cells == 96 else 4
    assert abs(ys.min() - 23) <= margin
    assert abs(ys.max() - 48) <= margin
    assert abs(xs.min() - 31) <= margin
    assert abs(xs.max() - 72) <= margin
    assert not differs[0][0][24 + 4 : 48 - 4, 32 + 4 : 72 - 4].any()  # a line, nothing in it
    assert differs[0][0].any(1)[24:48].all()  # all around
    assert differs[0][0].any(0)[32:72].all()
    inner = differs[1][0][2:-2, 2:-2]  # of all the picture: its border
    assert not inner.any()
    assert all(edge.all() for edge in (differs[1][0][0], differs[1][0][-1], differs[1][0][:, 0], differs[1][0][:, -1]))
    colours = {tuple(colour) for colour in tile(sheet, 1, 0, 2, 3)[0].tolist()}
    assert all(colorsys.rgb_to_hsv(*colour)[1] > 0.5 for colour in colours)


def test_one_mask_serves_all_rows() -> None:
    images, maps, mask = pictures(3), torch.rand(3, 1, 96, 96), torch.zeros(1, 96, 96)
    mask[0, 10:50, 20:60] = 1
    by_one, by_each = (heatmaps(images, maps, masks=masks) for masks in (mask, mask.expand(3, 96, 96)))
    assert np.array_equal(np.asarray(by_one), np.asarray(by_each))
    assert not np.array_equal(tile(by_one, 2, 0, 3, 2), tile(grid(images, 1), 2, 0, 3, 1))


def test_labels_stand_at_their_rows_and_columns() -> None:
    sheet = heatmaps(torch.ones(2, 3, 96, 96), torch.rand(2, 2, 8, 8), titles=["a", ""], heads=["", "b", ""])
    pixels = np.asarray(sheet.convert("L")) < 128
    left, top = sheet.width - 3 * (96 + GAP), sheet.height - 2 * (96 + GAP)
    assert pixels[top : top + 96, :left].any()
    assert not pixels[top + 96 :, :left].any()
    columns = [pixels[:top, left + i * (96 + GAP) : left + (i + 1) * (96 + GAP)].any() for i in range(3)]
    assert columns == [False, True, False]


IMAGES, MAPS = torch.zeros(2, 3, 16, 16), torch.ones(2, 3, 8, 8)
NAN = torch.full((2, 3, 8, 8), float("nan"))


@pytest.mark.parametrize(
    ("images", "maps", "options", "message"),
    [
        (IMAGES[:0], MAPS, {}, "for each of 0 pictures, found 2"),
        (IMAGES[:0], MAPS[:0], {}, "at least 1 map"),
        (IMAGES, MAPS[:, :0], {}, "at least 1 map"),
        (IMAGES, MAPS[:1], {}, "for each of 2 pictures, found 1"),
        (IMAGES, -MAPS, {}, "maps must be 0 or more, found -1"),
        (IMAGES, NAN, {}, "maps hold NaN or infinite"),
        (IMAGES, MAPS / 0, {}, "maps hold NaN or infinite"),
        (IMAGES, MAPS[..., :4], {}, "maps of 8 x 4 .* pictures of 16 x 16"),
        (IMAGES, MAPS, {"titles": ["one"]}, "a title for each row, 2, found 1"),
        (IMAGES, MAPS, {"heads": ["a", "b", "c"]}, "a head for the picture and each map, 4, found 3"),
        (IMAGES, MAPS, {"masks": torch.ones(3, 16, 16)}, "a mask for each of 2 pictures, or one for all, found 3"),
        (IMAGES, MAPS, {"masks": torch.ones(0, 16, 16)}, "at least 1 mask"),
        (IMAGES, MAPS, {"masks": torch.ones(2, 16, 8)}, "masks of 16 x 8"),
        (IMAGES, MAPS, {"masks": -torch.ones(2, 16, 16)}, "masks must be 0 or more, found -1"),
    ],
)
def test_what_can_not_be_drawn(images: torch.Tensor, maps: torch.Tensor, options: dict[str, Any], message: str) -> None:
    with pytest.raises(hspace.HspaceError, match=message):
        heatmaps(images, maps, **options)
