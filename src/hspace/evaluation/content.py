r"""What an edit leaves of a picture: pixels, structure, features.

pixel       root mean square of the change of a number of the picture, pictures in [-1, 1]
SSIM        Wang et al., 2004: Gaussian windows of 1.5 pixels, range 2, mean over the picture and its channels
features    1 - cosine of feature vectors, those of a scorer or of CLIP
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from hspace.errors import HspaceError

__all__ = ["Distance", "content", "of_features", "pixel", "ssim"]

Distance = Callable[[Tensor, Tensor], Tensor]
"""Pairs of pictures in [-1, 1], (n, c, y, x) twice, to n numbers."""


def pixel(originals: Float[Tensor, "n c y x"], edited: Float[Tensor, "n c y x"]) -> Float[Tensor, " n"]:
    """Root mean square change.

    Raises:
        HspaceError: Different numbers or shapes.
    """
    _check_pairs(originals, edited)
    return (edited - originals).square().mean((1, 2, 3)).sqrt()


def ssim(a: Float[Tensor, "n c y x"], b: Float[Tensor, "n c y x"]) -> Float[Tensor, " n"]:
    """Structural similarity of pairs of pictures in [-1, 1].

    Raises:
        HspaceError: Different numbers or shapes.
    """
    _check_pairs(a, b)
    x, y = (pictures.detach().cpu().double().numpy() for pictures in (a, b))
    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2

    def smooth(z: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(gaussian_filter(z, (0, 0, 1.5, 1.5), truncate=3.5))

    mean_x, mean_y = smooth(x), smooth(y)
    var_x, var_y = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2
    cov = smooth(x * y) - mean_x * mean_y
    map_of = ((2 * mean_x * mean_y + c1) * (2 * cov + c2)) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return torch.from_numpy(map_of.mean((1, 2, 3)))


def of_features(features: Callable[[Tensor], Tensor]) -> Distance:
    """Distance by feature vectors, 1 - cosine: 0 for the same direction, 2 for opposite ones.

    Args:
        features: Pictures (n, c, y, x) to vectors (n, d), such as those of a scorer.

    Example:
        >>> import torch
        >>> from hspace.evaluation.content import of_features
        >>> distance = of_features(lambda images: images.flatten(1))
        >>> x = torch.rand(2, 3, 4, 4)
        >>> distance(x, -x).float().tolist()
        [2.0, 2.0]
    """

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return 1 - torch.nn.functional.cosine_similarity(features(a).double(), features(b).double(), dim=1)

    return distance


DISTANCES: Mapping[str, Distance] = MappingProxyType({"pixel": pixel, "ssim": ssim})
"""Those that need nothing."""


def content(
    originals: Float[Tensor, "n c y x"],
    edited: Float[Tensor, "n c y x"],
    distances: Mapping[str, Distance] = DISTANCES,
) -> dict[str, float]:
    """Means over pairs of pictures in [-1, 1], by distance.

    Args:
        originals: Pictures.
        edited: What became of them.
        distances: By name.

    Raises:
        HspaceError: Different numbers or shapes; a distance that gives no number for a pair.

    Example:
        >>> import torch
        >>> from hspace.evaluation.content import content
        >>> x = torch.rand(2, 3, 16, 16)
        >>> content(x, x), round(content(x, x + 0.5)["pixel"], 3)
        ({'pixel': 0.0, 'ssim': 1.0}, 0.5)
    """
    return {name: float(x.double().mean()) for name, x in of_pairs(originals, edited, distances).items()}


def of_pairs(
    originals: Float[Tensor, "n c y x"], edited: Float[Tensor, "n c y x"], distances: Mapping[str, Distance]
) -> dict[str, Float[Tensor, " n"]]:
    """The distances of every pair.

    Raises:
        HspaceError: As `content`.
    """
    _check_pairs(originals, edited)
    found = {}
    for name, distance in distances.items():
        values = distance(originals, edited)
        if tuple(values.shape) != (len(originals),):
            raise HspaceError(f"the distance {name!r} gave {tuple(values.shape)} numbers for {len(originals)} pairs")
        if not bool(values.isfinite().all()):
            raise HspaceError(f"the distance {name!r} gave a number that is not finite")
        found[name] = values
    return found


def _check_pairs(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise HspaceError(f"pictures are compared in pairs, not {tuple(a.shape)} with {tuple(b.shape)}")
