"""What modules return: tensors, alone or in tuples, lists, dicts and dataclasses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor

__all__ = ["is_known", "mapped", "tensors"]

_CONSTANTS = (type(None), bool, int, float, complex, str, torch.dtype, torch.device, torch.Size)


def mapped(function: Callable[[Tensor], Tensor], value: Any) -> Any:
    """The same value with other tensors; what is no tensor and holds none that we know of stays itself.

    Example:
        >>> import torch
        >>> from hspace.models.outputs import mapped
        >>> mapped(lambda x: x + 1, (torch.zeros(1), {"skips": [torch.ones(1)]}, None))
        (tensor([1.]), {'skips': [tensor([2.])]}, None)
    """
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, _CONSTANTS):
        return value
    if isinstance(value, (tuple, list)):
        items = [mapped(function, item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if is_dataclass(value) and not isinstance(value, type):  # diffusers' outputs are also dicts, and keep both in step
        return replace(value, **{field.name: mapped(function, getattr(value, field.name)) for field in fields(value)})
    if isinstance(value, dict):
        return type(value)((key, mapped(function, item)) for key, item in value.items())
    return value


def tensors(value: Any) -> list[Tensor]:
    """Those in a value, in the order in which `mapped` meets them."""
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    mapped(keep, value)
    return found


def is_known(value: Any) -> bool:
    """Whether a value is of nothing but tensors, constants and containers that `mapped` can make anew."""
    if isinstance(value, (Tensor, *_CONSTANTS)):
        return True
    if isinstance(value, (tuple, list)):
        return all(map(is_known, value))
    if is_dataclass(value) and not isinstance(value, type):
        return all(field.init and is_known(getattr(value, field.name)) for field in fields(value))
    return isinstance(value, dict) and all(map(is_known, value.values()))
