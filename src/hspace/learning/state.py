"""Where a training stands, one safetensors file: networks, averages, optimizers, replay, counts.

Random numbers are functions of the seed and the iteration (`hspace.learning.draw`): no generator has a state to keep.
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

import torch
from torch import Tensor, nn

from hspace import tensorfile
from hspace.errors import HspaceError
from hspace.jobs import State, World
from hspace.jobs.saving import difference

__all__ = ["read_state", "write_state"]

_FORMAT = "hspace-learning-1"


def write_state(
    path: str | PathLike[str],
    header: Mapping[str, Any],
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    tensors: Mapping[str, Mapping[str, Tensor]],
) -> None:
    """Write it, whole or not at all.

    Args:
        path: Where.
        header: Plain JSON types: parameters and counts.
        modules: By name, as all else.
        optimizers: Of the kind whose state is tensors, such as Adam.
        tensors: What else changes in place.

    Raises:
        HspaceError: It can't be written; what was there before is untouched.
    """
    flat = {f"{name}.{key}": value for name, group in tensors.items() for key, value in group.items()}
    for name, module in modules.items():
        flat |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        for i, state in optimizer.state_dict()["state"].items():
            flat |= {f"{name}.{i}.{key}": value for key, value in state.items()}
    tensorfile.write(path, _FORMAT, header, flat)


def read_state(
    path: str | PathLike[str],
    expected: Mapping[str, Any],
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    tensors: Mapping[str, Mapping[str, Tensor]],
    processes: World | None = None,
) -> dict[str, Any]:
    """Put everything back in place.

    Args:
        path: Of a file by `write_state`.
        expected: Entries of the header that must be the same, for the training to be the same.
        modules: As when it was written, at their start.
        optimizers: Of these modules.
        tensors: To be filled.

    Returns:
        The header.

    Raises:
        HspaceError: Not such a file; one of another training, and in what it differs.
    """
    processes = processes or World()
    read = State(*tensorfile.read(path, _FORMAT, "a training's state")) if processes.first else None
    header, found = processes.broadcast(read)
    for key, value in expected.items():
        if header.get(key) != value:
            raise HspaceError(f"{path} is of another training: its {difference(key, header.get(key), value)}")
    try:
        for name, module in modules.items():
            module.load_state_dict(_below(found, name))
        for name, group in tensors.items():
            there = _below(found, name)
            for key, tensor in group.items():
                tensor.copy_(there[key])
        for name, optimizer in optimizers.items():
            states: dict[int, dict[str, Tensor]] = {}
            for key, value in _below(found, name).items():
                i, _, entry = key.partition(".")
                states.setdefault(int(i), {})[entry] = value
            optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    except (KeyError, ValueError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise HspaceError(f"{path} is incomplete or of another training ({first})") from error
    return header


def _below(tensors: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
