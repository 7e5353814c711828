"""Tensors and JSON as one row of bytes, for the way from process to process: safetensors, exact and without pickle."""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

import torch
from safetensors.torch import load, save
from torch import Tensor

__all__ = ["State", "pack", "packed_size", "unpack"]

_JSON = "json"  # the one entry beside those of `tensors`, which are prefixed
_ORDER = {  # in which safetensors lays out what it saves, last ones first, and what it calls them
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int16: "I16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int32: "I32",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
}


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


def packed_size(state: State) -> int:
    """Bytes that `pack` makes of it, without any: its tensors may be those of the meta device.

    Example:
        >>> import torch
        >>> from hspace.jobs.packing import State, pack, packed_size
        >>> packed_size(State({}, {"x": torch.empty(10**6, device="meta")}))
        4000154
        >>> len(pack(State({}, {"x": torch.empty(10**6)})))
        4000154
    """
    shapes: dict[str, tuple[torch.dtype, list[int]]] = {_JSON: (torch.uint8, [len(json.dumps(state.data).encode())])}
    shapes |= {f"tensor.{name}": (x.dtype, list(x.shape)) for name, x in state.tensors.items()}
    ranks = list(_ORDER)
    header, end = {}, 0
    for name, (dtype, shape) in sorted(shapes.items(), key=lambda item: (-ranks.index(item[1][0]), item[0])):
        first, end = end, end + math.prod(shape) * dtype.itemsize
        header[name] = {"dtype": _ORDER[dtype], "shape": shape, "data_offsets": [first, end]}
    text = len(json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode())
    return 8 + -(-text // 8) * 8 + end


def unpack(packed: Tensor) -> State:
    """The inverse of `pack`."""
    # Clones are aligned in memory as fresh tensors are; last bits of what is computed with them depend on that.
    found = {name: x.clone() for name, x in load(packed.numpy().tobytes()).items()}
    data = json.loads(found.pop(_JSON).numpy().tobytes())
    return State(data, {name.removeprefix("tensor."): x for name, x in found.items()})
