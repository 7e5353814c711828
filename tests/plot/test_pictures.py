from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

import hspace
from hspace.diffusion import SeedLatents
from hspace.directions import Directions, Edit
from hspace.errors import HspaceError
from hspace.plot import crossed, grid, strip, to_uint8

SamplerOf = Callable[..., hspace.Sampler]
Pixels = NDArray[np.uint8]

GAP = 4  # between tiles


def pixels_of(image: Image.Image) -> Pixels:
    return np.asarray(image.convert("RGB"))


def enlarged(images: torch.Tensor, factor: int) -> Pixels:
    return to_uint8(images).repeat(factor, 1).repeat(factor, 2)


def tile(sheet: Image.Image, row: int, column: int, rows: int, columns: int, size: tuple[int, int]) -> Pixels:
    """Of a sheet with one group: counted from the lower right corner, for labels stand left and above."""
    y = sheet.height - (rows - row) * (size[0] + GAP)
    x = sheet.width - (columns - column) * (size[1] + GAP)
    return pixels_of(sheet)[y : y + size[0], x : x + size[1]]


def has_ink(pixels: Pixels) -> bool:
    return bool((pixels < 128).any())


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=20))
def test_bytes_are_within_one_half_of_the_picture(values: list[float]) -> None:
    images = torch.tensor(values).reshape(-1, 1, 1, 1)
    expected = (np.clip(values, -1, 1) + 1) * 127.5
    found = to_uint8(images)
    assert found.shape == (len(values), 1, 1, 3)
    assert (np.abs(found[:, 0, 0] - expected[:, None]) <= 0.5 + 1e-4).all()


def test_latents_are_no_pictures() -> None:
    with pytest.raises(HspaceError, match="1 or 3 channels, not 4"):
        to_uint8(torch.zeros(1, 4, 8, 8))


def test_grey_pictures_become_rgb() -> None:
    grey = torch.rand(2, 1, 4, 5) * 2 - 1
    assert np.array_equal(to_uint8(grey), to_uint8(grey.expand(2, 3, 4, 5)))


@pytest.mark.parametrize(
    ("n", "columns", "shape", "across", "factor"),
    [
        (6, None, (3, 64, 64), 3, 2),
        (5, None, (1, 64, 64), 3, 2),
        (1, None, (3, 200, 120), 1, 1),
        (7, 7, (3, 8, 16), 7, 12),
        (7, 2, (1, 16, 8), 2, 12),
    ],
)
def test_a_grid_is_its_pictures_row_by_row(
    n: int, columns: int | None, shape: tuple[int, int, int], across: int, factor: int
) -> None:
    images = torch.rand(n, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    sheet, rows = grid(images, columns), -(-n // across)
    height, width = shape[1] * factor, shape[2] * factor
    assert sheet.size == (GAP + across * (width + GAP), GAP + rows * (height + GAP))
    rest = pixels_of(sheet).copy()
    for i, expected in enumerate(enlarged(images, factor)):
        row, column = divmod(i, across)
        assert np.array_equal(tile(sheet, row, column, rows, across, (height, width)), expected)
        y, x = GAP + row * (height + GAP), GAP + column * (width + GAP)
        rest[y : y + height, x : x + width] = 255
    assert (rest == 255).all()


def test_a_grid_of_nothing_is_refused() -> None:
    with pytest.raises(hspace.HspaceError, match="no pictures"):
        grid(torch.zeros(0, 3, 8, 8))


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8, 8), (3, 8, 16)])
def test_a_strip_of_one_direction(sampler_of: SamplerOf, shape: tuple[int, int, int]) -> None:
    """A row for each seed, a column for each strength; every tile is what the sampler draws."""
    sampler = sampler_of(shape)
    h_shape = sampler.model.h_shape
    direction = hspace.Direction(torch.ones(2, *h_shape), sampler.setting(), "smile")
    strengths = [-2.0, 0.0, 1.5]
    sheet = strip(sampler, [3, 7], direction, strengths)
    size = shape[1] * 12, shape[2] * 12
    for column, strength in enumerate(strengths):
        drawn = enlarged(sampler.run([3, 7], strength * direction if strength else None), 12)
        for row in range(2):
            found = tile(sheet, row, column, 2, 3, size)
            assert np.abs(found.astype(int) - drawn[row]).max() <= 1
    assert not np.array_equal(tile(sheet, 0, 0, 2, 3, size), tile(sheet, 0, 1, 2, 3, size))

    pixels, (height, width) = pixels_of(sheet), size
    left, top = sheet.width - 3 * (width + GAP), sheet.height - 2 * (height + GAP)
    for row in range(2):  # the seed, left of its row
        y = top + row * (height + GAP)
        assert has_ink(pixels[y : y + height, :left])
    for column in range(3):  # the strength, above its column
        x = left + column * (width + GAP)
        assert has_ink(pixels[top // 2 : top, x : x + width])
    assert has_ink(pixels[: top // 2, left:])  # the name
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):  # nothing is cut
        assert not has_ink(edge)


def test_a_strip_of_several_directions(sampler: hspace.Sampler, directions: Directions) -> None:
    """A row for each direction, the seeds side by side."""
    strengths = [-1.0, 0.0, 1.0]
    sheet = strip(sampler, [3, 7], directions, strengths)
    pixels, plain = pixels_of(sheet), enlarged(sampler.run([3, 7]), 12)
    top = sheet.height - 2 * (96 + GAP)
    right = sheet.width - 3 * (96 + GAP)
    left = right - 3 * GAP - 3 * (96 + GAP)
    for row, direction in enumerate(directions):
        y = top + row * (96 + GAP)
        assert has_ink(pixels[y : y + 96, : left - 1])  # its name
        for seed, start in enumerate((left, right)):
            x = start + 96 + GAP
            assert np.abs(pixels[y : y + 96, x : x + 96].astype(int) - plain[seed]).max() <= 1
            edited = enlarged(sampler.run([3 + 4 * seed], direction), 12)[0]
            x += 96 + GAP
            assert np.abs(pixels[y : y + 96, x : x + 96].astype(int) - edited).max() <= 1


def test_an_edit_and_latents_make_a_strip_as_direction_and_seeds_do(
    sampler: hspace.Sampler, directions: Directions
) -> None:
    latents = SeedLatents((3, 7), sampler.model.image_shape)
    by_seed = strip(sampler, [3, 7], directions["smile"], [0.0, 2.0])
    by_edit = strip(sampler, latents, Edit.of(directions["smile"], 2.0), [0.0, 1.0])
    for row in range(2):
        for column in range(2):
            assert np.array_equal(
                tile(by_seed, row, column, 2, 2, (96, 96)), tile(by_edit, row, column, 2, 2, (96, 96))
            )


def test_titles_stand_at_the_rows_and_make_room_for_themselves(sampler: hspace.Sampler, directions: Directions) -> None:
    short, long = (
        strip(sampler, [3], directions, [1.0], titles=[title, title]) for title in ("a", "a rather long title of a row")
    )
    assert long.width > short.width + 100
    assert np.array_equal(pixels_of(long)[:, -96:], pixels_of(short)[:, -96:])
    assert has_ink(pixels_of(long)[-96:, 20 : long.width - 120])


@pytest.mark.parametrize(
    ("latents", "strengths", "titles", "message"),
    [
        ([1], [], None, "at least 1 strength"),
        ([], [1.0], None, "no seeds"),
        ([1], [float("nan")], None, "finite number, not nan"),
        ([1], [1.0], ["one"], "a title for each row, 2, found 1"),
    ],
)
def test_what_can_not_be_drawn(
    sampler: hspace.Sampler,
    directions: Directions,
    latents: list[int],
    strengths: list[float],
    titles: list[str] | None,
    message: str,
) -> None:
    with pytest.raises(hspace.HspaceError, match=message):
        strip(sampler, latents, directions, strengths, titles=titles)


def test_a_table_of_crossed_pictures_has_each_in_its_place() -> None:
    def flat(values: list[float]) -> torch.Tensor:
        return torch.tensor(values).reshape(-1, 1, 1, 1).expand(-1, 3, 96, 96)

    layout = [[None, 0.1, 0.2, 0.3], [-0.1, 0.4, 0.5, 0.6], [-0.2, 0.7, 0.8, 0.9]]
    sheet = pixels_of(
        crossed(flat([-0.1, -0.2]), flat(layout[0][1:]), flat([*layout[1][1:], *layout[2][1:]]), "ab", "xyz")
    )
    corners = {}
    for row, values in enumerate(layout):
        for column, value in enumerate(values):
            if value is not None:
                y, x = np.nonzero((sheet == to_uint8(flat([value]))[0, 0, 0]).all(2))
                assert len(y) >= 96 * 96
                corners[row, column] = (int(np.median(y)), int(np.median(x)))
    for (row, column), (y, x) in corners.items():
        assert abs(y - corners[row, 3][0]) <= 1  # a label's smooth edge may have a shade too
        assert abs(x - corners[2, column][1]) <= 1
    for axis, line in ((1, [(2, column) for column in range(4)]), (0, [(row, 3) for row in range(3)])):
        places = [corners[place][axis] for place in line]
        assert all(b - a >= 96 for a, b in pairwise(places))
