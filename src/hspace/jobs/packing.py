"""Tensors and JSON as one row of bytes, for the way from process to process: safetensors, exact and without pickle."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import torch
from safetensors.torch import load, save
from torch import Tensor

__all__ = ["State", "pack", "unpack"]

_JSON = "json"  # the one entry beside those of `tensors`, which are prefixed


class State(NamedTuple):
    """What something is made of.

    Attributes:
        data: Plain JSON types.
        tensors: By name.
    """

    data: dict[str, Any]
    tensors: dict[str, Tensor]

    def under(self, name: str) -> State:
        """The part that `joined` put there."""
        prefix = f"{name}."
        tensors = {key.removeprefix(prefix): x for key, x in self.tensors.items() if key.startswith(prefix)}
        return State(self.data[name], tensors)

    @staticmethod
    def joined(parts: dict[str, State]) -> State:
        """Several in one, each under a name without a dot."""
        tensors = {f"{name}.{key}": x for name, part in parts.items() for key, x in part.tensors.items()}
        return State({name: part.data for name, part in parts.items()}, tensors)


def pack(state: State) -> Tensor:
    """(n,) bytes on the CPU.

    Example:
        >>> import torch
        >>> from hspace.jobs.packing import State, pack, unpack
        >>> there = unpack(pack(State({"n": 3}, {"x": torch.ones(2, dtype=torch.bfloat16)})))
        >>> there.data, there.tensors["x"].dtype
        ({'n': 3}, torch.bfloat16)
    """
    text = json.dumps(state.data).encode()
    flat = {_JSON: torch.frombuffer(bytearray(text), dtype=torch.uint8)}
    flat |= {f"tensor.{name}": x.detach().cpu().contiguous().clone() for name, x in state.tensors.items()}
    return torch.frombuffer(bytearray(save(flat)), dtype=torch.uint8)


def unpack(packed: Tensor) -> State:
    """The inverse of `pack`."""
    # Clones are aligned in memory as fresh tensors are; last bits of what is computed with them depend on that.
    found = {name: x.clone() for name, x in load(packed.numpy().tobytes()).items()}
    data = json.loads(found.pop(_JSON).numpy().tobytes())
    return State(data, {name.removeprefix("tensor."): x for name, x in found.items()})
