"""What a scorer is: it turns images into named numbers, one number an image and name."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

__all__ = ["Scorer"]


@runtime_checkable
class Scorer(Protocol):
    """Anything that can be called with images and answers with one score an image for each of its attributes.

    Example:
        >>> import torch
        >>> from hspace.attributes import Scorer
        >>> def brightness(images):
        ...     return {"brightness": images.mean(dim=(1, 2, 3))}
        >>> isinstance(brightness, Scorer)
        True
        >>> brightness(torch.zeros(2, 3, 8, 8))["brightness"].shape
        torch.Size([2])
    """

    def __call__(self, images: Float[Tensor, "n 3 h w"], /) -> dict[str, Tensor]:
        """Score images.

        Args:
            images: RGB in [-1, 1].

        Returns:
            For each attribute's name, its scores, shape (n,).
        """
        ...
