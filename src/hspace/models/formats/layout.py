"""What a format has to say of a checkpoint: the network it becomes, where each tensor comes from, the schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn

from hspace.errors import HspaceError
from hspace.models.networks import NETWORKS

__all__ = ["Blueprint", "Checkpoint", "Format", "Origin", "build", "choose", "names"]


@dataclass(frozen=True)
class Checkpoint:
    """A file as it was read.

    Args:
        file: Its name, for errors.
        tensors: The network's, in float32.
        buffers: Those of the diffusion process around it, where the file has them.
        version: Of the package that wrote it, where the file says so.
    """

    file: str
    tensors: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    version: str | None = None


@dataclass(frozen=True)
class Origin:
    """The module of the original that a module, with all in it, comes from.

    Args:
        module: Its name there.
        part: What of its tensors is taken.
    """

    module: str
    part: Callable[[Tensor], Tensor] = lambda tensor: tensor


@dataclass(frozen=True)
class Blueprint:
    """What a checkpoint becomes.

    Args:
        network: Name of its class: UNet2DModel or one of `hspace.models.networks`.
        config: What that class is built with.
        origins: Where its modules come from, by their names.
        schedule: What diffusers' DDIMScheduler is built with.
        notes: What had to be assumed.
        buffers: Those of the checkpoint's buffers that belong to the layout.
    """

    network: str
    config: Mapping[str, Any]
    origins: Mapping[str, Origin]
    schedule: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    buffers: frozenset[str] = frozenset()


@runtime_checkable
class Format(Protocol):
    """One layout of original checkpoints, a module of this package."""

    TITLE: str
    OPTIONS: frozenset[str]

    def recognises(self, keys: frozenset[str]) -> bool:
        """Whether a network with tensors of these names is of this layout."""
        ...

    def blueprint(self, checkpoint: Checkpoint, options: Mapping[str, Any]) -> Blueprint:
        """What it becomes; `options` are those of OPTIONS that the user has given."""
        ...


def build(blueprint: Blueprint) -> nn.Module:
    """The network without memory for its weights, which say their shapes.

    Raises:
        HspaceError: There is no such network.
    """
    kind: Any = {"UNet2DModel": UNet2DModel, **NETWORKS}[blueprint.network]
    try:
        with torch.device("meta"):
            network: nn.Module = kind(**blueprint.config)
    except (ValueError, AssertionError, ZeroDivisionError) as error:
        raise HspaceError(f"can't build the network ({error})") from error
    return network


def choose(checkpoint: Checkpoint, key: str) -> Tensor:
    """A tensor that the layout can't be without.

    Raises:
        HspaceError: It is missing.
    """
    if key not in checkpoint.tensors:
        raise HspaceError(f"{checkpoint.file}: tensor {key} is missing")
    return checkpoint.tensors[key]


def names(keys: object, most: int = 3) -> str:
    """The first of some names.

    Example:
        >>> from hspace.models.formats.layout import names
        >>> names({"b", "a", "d", "c"})
        'a, b, c, ...'
    """
    listed = sorted(map(str, keys))  # type: ignore[call-overload]
    return ", ".join(listed[:most]) + (", ..." if len(listed) > most else "")
