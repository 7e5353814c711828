"""Grids and strips of pictures, labelled, as PIL images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from hspace.diffusion import Chosen, Inversion, Latents, Prefixes, Sampler, SeedLatents
from hspace.directions import Direction, Directions, Edit
from hspace.errors import HspaceError
from hspace.progress import Progress

__all__ = ["crossed", "grid", "strip", "to_uint8"]

_SHORTEST = 96  # pictures are enlarged by whole factors to at least this, so that labels fit and details show
_GAP, _TEXT = 4, 16
_INK, _PAPER = (30, 30, 30), (255, 255, 255)


def to_uint8(images: Float[Tensor, "n c y x"]) -> UInt8[NDArray[np.uint8], "n y x 3"]:
    """Pictures in [-1, 1] as bytes; grey ones become RGB; numbers beyond are clipped.

    Raises:
        HspaceError: Other than 1 or 3 channels, as latents have.

    Example:
        >>> import torch
        >>> from hspace.plot import to_uint8
        >>> to_uint8(torch.tensor([-1.0, 0.0, 1.5]).reshape(3, 1, 1, 1))[:, 0, 0, 0].tolist()
        [0, 128, 255]
    """
    if images.shape[1] not in (1, 3):
        raise HspaceError(
            f"pictures have 1 or 3 channels, not {images.shape[1]}: latents become pictures by model.to_pictures"
        )
    pixels = ((images.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    return np.repeat(pixels, 3, axis=3) if pixels.shape[3] == 1 else pixels


def grid(images: Float[Tensor, "n c y x"], columns: int | None = None) -> Image.Image:
    """Pictures side by side, row by row.

    Args:
        images: In [-1, 1].
        columns: Default: a square, or nearly.

    Example:
        >>> import torch
        >>> from hspace.plot import grid
        >>> grid(torch.zeros(6, 3, 64, 64)).size
        (400, 268)
    """
    tiles = tiles_of(images)
    columns = columns or int(np.ceil(np.sqrt(len(tiles))))
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    return table(rows)


def strip(
    sampler: Sampler,
    latents: Latents | Iterable[int],
    directions: Direction | Directions | Edit | Sequence[Direction | Edit],
    strengths: Sequence[float] = (-3.0, -1.5, 0.0, 1.5, 3.0),
    *,
    titles: Sequence[str] | None = None,
    progress: Progress = False,
) -> Image.Image:
    """What directions do: a row for each seed or direction, a column for each strength.

    With one direction every row is a seed. With several, every row is a direction and the seeds stand side by side.

    Args:
        sampler: Draws them, all in one batched run; what edits have not changed yet is computed once for each seed.
        latents: Or seeds.
        directions: One, a set, or edits (whose strengths are multiplied by those of the columns).
        strengths: In standard deviations of h along the direction.
        titles: Labels of the rows; default: names and seeds.

    Example:
        >>> import hspace
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2)
        >>> pcs = hspace.PCA(n_components=2).fit(sampler, seeds=range(4)).directions_
        >>> hspace.plot.strip(sampler, [0], pcs, strengths=[-2, 0, 2]).height
        316
    """
    rows = sampler.as_latents(latents)
    edits: list[Direction | Edit] = [directions] if isinstance(directions, Direction | Edit) else list(directions)
    if not len(strengths):
        raise HspaceError("a strip needs at least 1 strength")
    several = len(edits) > 1
    if titles is not None and len(titles) != (len(edits) if several else len(rows)):
        raise HspaceError(f"expected a title for each row, {len(edits) if several else len(rows)}, found {len(titles)}")
    chosen = [row for row in range(len(rows)) for _ in strengths] * len(edits)
    changes: list[Direction | Edit | None] = []
    for edit in edits:
        changes += [strength * edit if strength else None for strength in strengths] * len(rows)
    tiles = tiles_of(sampler.run(rows[chosen], changes, prefixes=Prefixes(), progress=progress))
    seeds = _names(rows)
    names = [edit.name for edit in edits]
    lines, groups = (names, seeds) if several else (seeds, names)
    heads = [f"{strength:+g}" if strength else "0" for strength in strengths]
    return table(np.array_split(tiles, len(lines)), titles or lines, heads, groups)


def crossed(
    left: Float[Tensor, "r c y x"],
    above: Float[Tensor, "k c y x"],
    inside: Float[Tensor, "n c y x"],
    titles: Sequence[str],
    heads: Sequence[str],
) -> Image.Image:
    """A table of pictures that come of two others each: one to the left, one above.

    Args:
        left: A picture for each row.
        above: One for each column.
        inside: r * k pictures, row by row.
        titles: Of the rows.
        heads: Of the columns.

    Example:
        >>> import torch
        >>> from hspace.plot import crossed
        >>> crossed(*(torch.zeros(n, 3, 64, 64) for n in (1, 2, 2)), ["a"], ["b", "c"]).height
        292
    """
    side, top, middle = tiles_of(left), tiles_of(above), tiles_of(inside)
    blank = np.full_like(side[:1], 255)
    middle = middle.reshape(len(side), len(top), *middle.shape[1:])
    rows = [
        np.concatenate([blank, top]),
        *(np.concatenate([one[None], row]) for one, row in zip(side, middle, strict=True)),
    ]
    return table(rows, ["", *titles], ["", *heads])


def _names(rows: Latents) -> list[str]:
    if isinstance(rows, SeedLatents):
        return [f"seed {seed}" for seed in rows.seeds]
    return list(rows.names) if isinstance(rows, Inversion | Chosen) else [str(i) for i in range(len(rows))]


def tiles_of(images: Float[Tensor, "n c y x"]) -> UInt8[NDArray[np.uint8], "n ty tx 3"]:
    """Pictures as bytes, enlarged by a whole factor where they are small."""
    if not len(images):
        raise HspaceError("no pictures to show")
    pixels = to_uint8(images)
    factor = max(1, -(-_SHORTEST // min(pixels.shape[1:3])))
    return pixels.repeat(factor, axis=1).repeat(factor, axis=2)


def table(
    rows: Sequence[NDArray[np.uint8]],
    titles: Sequence[str] = (),
    heads: Sequence[str] = (),
    groups: Sequence[str] = ("",),
) -> Image.Image:
    """Tiles in rows; `titles` to the left, `heads` over the columns of every group, group names over them."""
    height, width = rows[0].shape[1:3]
    columns = max(len(row) for row in rows)
    font = ImageFont.load_default(_TEXT)
    left = int(max(font.getlength(title) for title in titles)) + 3 * _GAP if titles else _GAP
    top = (_TEXT + 2 * _GAP) * (bool(heads) + bool(groups[0])) + _GAP
    gutters = 3 * _GAP * (len(groups) - 1)
    size = (left + columns * (width + _GAP) + gutters, top + len(rows) * (height + _GAP))
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)

    def x_of(column: int) -> int:
        return int(left + column * (width + _GAP) + 3 * _GAP * (column * len(groups) // columns))

    for i, group in enumerate(groups if groups[0] else ()):
        first, last = i * columns // len(groups), (i + 1) * columns // len(groups) - 1
        draw.text(((x_of(first) + x_of(last) + width) / 2, _GAP), group, _INK, font, anchor="ma")
    for column in range(columns if heads else 0):
        draw.text((x_of(column) + width / 2, top - _GAP), heads[column % len(heads)], _INK, font, anchor="md")
    for i, row in enumerate(rows):
        y = top + i * (height + _GAP)
        if titles:
            draw.text((left - 2 * _GAP, y + height / 2), titles[i], _INK, font, anchor="rm")
        for column, tile in enumerate(row):
            sheet.paste(Image.fromarray(tile), (x_of(column), y))
    return sheet
