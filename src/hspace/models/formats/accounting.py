"""Every tensor of the network comes from one of the file, of the same shape, and nothing of the file is left over."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import torch
from torch import Tensor

from hspace.errors import HspaceError
from hspace.models.formats.layout import Blueprint, Checkpoint, Origin, names

__all__ = ["account"]


def account(checkpoint: Checkpoint, blueprint: Blueprint, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """The network's state.

    Args:
        checkpoint: What there is.
        blueprint: Where modules of the network come from; the innermost that is named counts.
        shapes: What the network needs, by name.

    Raises:
        HspaceError: Tensors are missing, left over, of another shape, or not finite; names the first of them.
    """
    sources = {name: _source(name, blueprint.origins) for name in shapes}
    needed = {key for key, _ in sources.values()}
    missing = needed - checkpoint.tensors.keys()
    left_over = (checkpoint.tensors.keys() - needed) | (checkpoint.buffers.keys() - blueprint.buffers)
    if missing or left_over:
        counts = [
            f"{len(keys)} {what} ({names(keys)})"
            for what, keys in (("missing", missing), ("left over", left_over))
            if keys
        ]
        raise HspaceError(f"{checkpoint.file}: tensors don't fit the layout: {'; '.join(counts)}")
    state = {}
    for name, (key, origin) in sources.items():
        tensor = checkpoint.tensors[key]
        part = _part(origin, tensor)
        if part is None or (shaped := _shaped(part, shapes[name])) is None:
            expected, found = tuple(shapes[name]), tuple(tensor.shape if part is None else part.shape)
            raise HspaceError(f"{checkpoint.file}: {key}: expected shape {expected}, found {found}")
        state[name] = shaped
        if not bool(tensor.isfinite().all()):
            raise HspaceError(f"{checkpoint.file}: {key} holds NaN or infinite numbers")
    return state


def _source(name: str, origins: Mapping[str, Origin]) -> tuple[str, Origin]:
    """Name of a tensor in the file, found by the innermost module around it that has an origin."""
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        if origin := origins.get(".".join(parts[:end])):
            return reduce("{}.{}".format, parts[end:], origin.module), origin
    raise KeyError(name)


def _part(origin: Origin, tensor: Tensor) -> Tensor | None:
    try:
        return origin.part(tensor)
    except RuntimeError:  # it can't be divided so
        return None


def _shaped(tensor: Tensor, shape: torch.Size) -> Tensor | None:
    """A convolution of size 1 is a linear map; safetensors wants memory of its own for each."""
    if tensor.shape[: len(shape)] != shape or tensor.numel() != shape.numel():
        return None
    return tensor.reshape(shape).contiguous().clone()
