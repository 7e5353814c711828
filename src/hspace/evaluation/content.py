r"""What an edit leaves of a picture: pixels, structure.

pixel   root mean square of the change of a number of the picture, pictures in [-1, 1]
SSIM    Wang et al., 2004: Gaussian windows of 1.5 pixels, range 2, mean over the picture and its channels
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from hspace.errors import HspaceError

__all__ = ["Content", "content", "ssim"]


class Content(NamedTuple):
    """How far edited pictures are from their originals, means over pairs.

    Attributes:
        pixel: Root mean square change.
        ssim: 1 for equal pictures.
    """

    pixel: float
    ssim: float


def content(originals: Float[Tensor, "n c y x"], edited: Float[Tensor, "n c y x"]) -> Content:
    """Of pairs of pictures in [-1, 1].

    Raises:
        HspaceError: Different numbers or shapes.

    Example:
        >>> import torch
        >>> from hspace.evaluation.content import content
        >>> x = torch.rand(2, 3, 16, 16)
        >>> content(x, x), round(content(x, x + 0.5).pixel, 3)
        (Content(pixel=0.0, ssim=1.0), 0.5)
    """
    pixel = (edited - originals).square().mean((1, 2, 3)).sqrt()
    return Content(float(pixel.mean()), float(ssim(originals, edited).mean()))


def ssim(a: Float[Tensor, "n c y x"], b: Float[Tensor, "n c y x"]) -> Float[Tensor, " n"]:
    """Structural similarity of pairs of pictures in [-1, 1].

    Raises:
        HspaceError: Different numbers or shapes.
    """
    if a.shape != b.shape:
        raise HspaceError(f"pictures are compared in pairs, not {tuple(a.shape)} with {tuple(b.shape)}")
    x, y = (pictures.detach().cpu().double().numpy() for pictures in (a, b))
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2

    def smooth(z: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(gaussian_filter(z, (0, 0, 1.5, 1.5), truncate=3.5))

    mean_x, mean_y = smooth(x), smooth(y)
    var_x, var_y = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2
    cov = smooth(x * y) - mean_x * mean_y
    map_of = ((2 * mean_x * mean_y + c1) * (2 * cov + c2)) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return torch.from_numpy(map_of.mean((1, 2, 3)))
