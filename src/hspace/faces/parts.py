"""Where the parts of a portrait are: masks read off the drawing itself, part after part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hspace.faces.population import Factors
from hspace.faces.portraits import DRAWN, IMAGE_SIZE, stages

__all__ = ["PARTS", "parts"]

# Wrinkles are left out: lines on what is there already. From the last drawn to the first, which is how ties go.
_DRAWN_AS: dict[str, tuple[str, ...]] = {
    "eyes": ("eyes", "glasses"),
    "mouth": ("mouth",),
    "beard": ("beard",),
    "nose": ("nose",),
    "skin": ("head",),
    "hair": ("back_hair", "fringe"),
    "body": ("body",),
    "background": ("background",),
}
_ON_THE_HEAD = ("eyes", "mouth", "beard", "nose", "skin")

PARTS: tuple[str, ...] = ("face", *_DRAWN_AS)
"""Names of the parts."""


def parts(factors: Factors) -> dict[str, NDArray[np.bool_]]:
    """Masks of the visible parts of one portrait.

    The portrait is drawn part after part, and what a part changes is its own until a later one covers it; of each
    pixel of the reduced picture, the part that has most of it gets it. All parts but "face" are thus disjoint and
    together the whole picture:

    ==============  ===================================================
    eyes            with the brows and the frame of the glasses
    mouth           lips and what is between them
    beard           empty where there is none
    nose
    skin            of the head: face and ears, not the neck
    hair            behind the head and the fringe
    body            neck and clothes
    background
    **face**        union of eyes, mouth, beard, nose and skin
    ==============  ===================================================

    Args:
        factors: As for `render`.

    Returns:
        For each of `PARTS` a mask of shape (64, 64), bool.

    Raises:
        ValueError: As by `render`.

    Example:
        >>> from hspace.faces import parts, sample_factors
        >>> masks = parts(sample_factors(0) | {"beard": 0.0})
        >>> masks["mouth"].shape, bool(masks["mouth"].any()), bool(masks["beard"].any())
        ((64, 64), True, False)
    """
    label = {drawn: i for i, names in enumerate(_DRAWN_AS.values()) for drawn in names}
    drawing = stages(factors, [name for name in DRAWN if name in label])
    name, image = next(drawing)
    before = _pixels(image)
    labels = np.full(before.shape, label[name], np.uint8)
    for name, image in drawing:
        now = _pixels(image)
        labels[now != before] = label[name]
        before = now
    cell = len(labels) // IMAGE_SIZE
    cells = labels.reshape(IMAGE_SIZE, cell, IMAGE_SIZE, cell)
    most = np.stack([(cells == i).sum((1, 3)) for i in range(len(_DRAWN_AS))]).argmax(0)
    masks = {name: most == i for i, name in enumerate(_DRAWN_AS)}
    return {"face": np.logical_or.reduce([masks[name] for name in _ON_THE_HEAD]), **masks}


def _pixels(image: Image.Image) -> NDArray[np.uint32]:
    return np.array(image.convert("RGBA")).view(np.uint32)[:, :, 0]  # one number a pixel: quicker to compare
