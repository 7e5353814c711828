"""Where the parts of portraits are, read from the pictures alone."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from hspace.attributes.portraits import PortraitScorer
from hspace.attributes.registry import load_scorer
from hspace.errors import HspaceError
from hspace.faces import BINARY, FACTORS, IMAGE_SIZE, PARTS, RANGES, parts
from hspace.masks import grown

__all__ = ["portrait_regions"]

_MARGIN = 2  # pixels: by how far a part read from a picture may be off


def portrait_regions(images: Float[Tensor, "n c h w"]) -> dict[str, Tensor]:
    """Masks of the parts of portraits, drawn or generated: the bundled `hspace.masks.Regions`.

    The bundled scorer reads the twelve factors of each picture, and the masks are those of the portrait with these
    factors (`hspace.faces.parts`), grown by 2 pixels.

    Args:
        images: Shape (n, 3, 64, 64), RGB in [-1, 1], any float dtype and device.

    Returns:
        For each of `hspace.faces.PARTS` its masks, shape (n, 64, 64), float32, 0 or 1, on the device of the images.
        "beard" is empty for portraits without one.

    Raises:
        HspaceError: The images have another shape, are not floats, or hold values that are not finite.

    Example:
        >>> import torch
        >>> from hspace.attributes import portrait_regions
        >>> from hspace.faces import render_seeds
        >>> images = torch.from_numpy(render_seeds(range(4))).permute(0, 3, 1, 2) / 127.5 - 1
        >>> portrait_regions(images)["mouth"].shape
        torch.Size([4, 64, 64])
    """
    rows = [parts(dict(zip(FACTORS, row, strict=True))) for row in _factors(images).tolist()]
    masks = {name: np.array([row[name] for row in rows]).reshape(-1, IMAGE_SIZE, IMAGE_SIZE) for name in PARTS}
    return {name: grown(torch.from_numpy(mask).float(), _MARGIN).to(images.device) for name, mask in masks.items()}


def _factors(images: Tensor) -> NDArray[np.float64]:
    scorer = _scorer()
    with torch.no_grad():
        scores = scorer.table(images).double().cpu().numpy()
    if not np.isfinite(scores).all():
        raise HspaceError("portrait regions are read from images with finite values only")
    mean, std = np.array([scorer.population[name] for name in FACTORS]).T
    low, high = np.array([RANGES[name] for name in FACTORS]).T
    factors = np.clip(mean + std * scores, low, high)
    read: NDArray[np.float64] = np.where([name in BINARY for name in FACTORS], factors.round(), factors)
    return read


@cache
def _scorer() -> PortraitScorer:
    return load_scorer("portraits")
