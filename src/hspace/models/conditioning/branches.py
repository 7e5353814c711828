"""Classifier-free guidance as more rows of one pass: first those without the condition, then those with it.

That is the order of diffusers' pipelines, and so last bits are theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

__all__ = ["UNCONDITIONAL", "Branches", "Inputs"]

Inputs = Mapping[str, Any]
"""Keyword arguments of a network for one row: tensors with 1 in front, or mappings of them."""


@dataclass(frozen=True, eq=False)
class Branches:
    """The passes that make one prediction; the last one is the conditional.

    Args:
        inputs: What each pass gets beside x_t and t.
        guidance_scale: How far the prediction goes from the first to the last.
        shift_all: Whether a shift of h goes into all of them, or into the last only.
    """

    inputs: tuple[Inputs, ...] = ({},)
    guidance_scale: float = 1.0
    shift_all: bool = True
    _there: dict[tuple[torch.device, torch.dtype], tuple[Inputs, ...]] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return len(self.inputs)

    def rows(self, x: Tensor) -> Tensor:
        """(n, ...) for every pass."""
        return x if len(self) == 1 else torch.cat([x] * len(self))

    def arguments(self, n: int, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
        """Keyword arguments of the network for n rows of every pass; they go to a device once."""
        if (device, dtype) not in self._there:
            self._there[device, dtype] = tuple(_sent(each, device, dtype) for each in self.inputs)
        return _joined(self._there[device, dtype], n)

    def merged(self, output: Tensor) -> Tensor:
        """The guided prediction."""
        if len(self) == 1:
            return output
        without, own = output.chunk(2)
        return without + self.guidance_scale * (own - without)

    def own(self, h: Tensor) -> Tensor:
        """h of the conditional pass."""
        return h if len(self) == 1 else h.chunk(len(self))[-1]

    def others(self, h: Tensor) -> Tensor | None:
        """h of the other passes."""
        return None if len(self) == 1 else h[: len(h) - len(h) // len(self)]

    def spread(self, changed: Tensor, own: Tensor, others: Tensor | None) -> Tensor:
        """h of all passes once that of the conditional one has changed: the others move as far, or stay."""
        if others is None:
            return changed
        if self.shift_all:
            others = others + (changed - own).to(others).repeat(len(self) - 1, *[1] * (own.ndim - 1))
        return torch.cat([others, changed.to(others)])

    def hook(self, change: Callable[[Tensor], Tensor | None]) -> Callable[[Tensor], Tensor | None]:
        """What a change of the conditional pass' h does to h of all rows."""

        def changed(h: Tensor) -> Tensor | None:
            own = self.own(h)
            new = change(own)
            return None if new is None else self.spread(new, own, self.others(h))

        return change if len(self) == 1 else changed


UNCONDITIONAL = Branches()


def _sent(inputs: Inputs, device: torch.device, dtype: torch.dtype) -> Inputs:
    """On a device; numbers in the network's precision, except whole ones and masks."""
    there: dict[str, Any] = {}
    for name, value in inputs.items():
        if isinstance(value, Mapping):
            there[name] = _sent(value, device, dtype)
        elif isinstance(value, Tensor):
            there[name] = value.to(device, dtype if value.is_floating_point() else None)
        else:
            there[name] = value
    return there


def _joined(inputs: tuple[Inputs, ...], n: int) -> dict[str, Any]:
    """n rows of each."""
    joined: dict[str, Any] = {}
    for name, first in inputs[0].items():
        values = tuple(each[name] for each in inputs)
        if isinstance(first, Mapping):
            joined[name] = _joined(values, n)
        elif isinstance(first, Tensor):
            joined[name] = torch.cat([value.expand(n, *value.shape[1:]) for value in values])
        else:
            joined[name] = first
    return joined
