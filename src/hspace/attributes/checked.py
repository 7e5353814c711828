"""Any scorer's answer, checked: what a user's function returns is not taken on trust."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.attributes.protocol import Scorer
from hspace.errors import HspaceError

__all__ = ["scored"]


def scored(scorer: Scorer, images: Float[Tensor, "n c h w"]) -> dict[str, Tensor]:
    """Call a scorer, without gradients, and check what it answers.

    Args:
        scorer: Any callable; its scores may be tensors, numpy arrays or lists.
        images: RGB in [-1, 1].

    Returns:
        For each attribute's name its scores, shape (n,), float64, on the CPU.

    Raises:
        HspaceError: The answer is no mapping from names to n finite numbers each, or is empty. What the scorer raises
            itself comes through.

    Example:
        >>> import torch
        >>> from hspace.attributes import scored
        >>> scored(lambda images: {"brightness": images.mean((1, 2, 3)).tolist()}, torch.zeros(2, 3, 8, 8))
        {'brightness': tensor([0., 0.], dtype=torch.float64)}
    """
    with torch.no_grad():
        answer: Any = scorer(images)
    if not isinstance(answer, Mapping):
        found = type(answer).__name__
        raise HspaceError(f"the scorer returned {found}, not a mapping from attributes' names to scores")
    if not answer:
        raise HspaceError("the scorer returned no attributes")
    return {_name(name): _column(name, scores, len(images)) for name, scores in answer.items()}


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise HspaceError(f"the scorer returned an attribute whose name is no text: {name!r}")
    return name


def _column(name: Any, scores: Any, pictures: int) -> Tensor:
    try:
        column = torch.as_tensor(scores).detach().cpu()
        if column.is_complex():
            raise TypeError(column.dtype)
        column = column.to(torch.float64, copy=True)  # a scorer may write its next answer to the same memory
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise HspaceError(
            f"the scorer returned for {name!r} a {type(scores).__name__} that can't be read as numbers"
        ) from error
    if column.ndim != 1:
        raise HspaceError(
            f"the scorer returned scores of {name!r} of shape {tuple(column.shape)}, expected ({pictures},)"
        )
    if len(column) != pictures:
        raise HspaceError(f"the scorer returned {len(column)} scores of {name!r} for {pictures} pictures")
    bad = (~column.isfinite()).nonzero()
    if len(bad):
        first = int(bad[0])
        value = "NaN" if column[first].isnan() else f"{float(column[first])}"
        raise HspaceError(f"the scorer returned {value} for {name!r} (picture {first + 1} of {pictures})")
    return column
