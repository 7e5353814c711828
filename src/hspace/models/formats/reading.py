"""Checkpoint files: tensors, never objects, which may run code; of weights and their moving average, the latter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from hspace.errors import HspaceError
from hspace.hub import short
from hspace.models.formats.layout import Checkpoint, names

__all__ = ["Weights", "read_checkpoint"]

Weights = Literal["ema", "model"]

_EMA = ("ema", "model_ema", "ema_model", "ema_state_dict")
_MODEL = ("model", "state_dict", "model_state_dict", "network", "unet")
_PREFIXES = ("module.", "_orig_mod.")  # of DataParallel and torch.compile


def read_checkpoint(file: Path, weights: Weights | None = None) -> Checkpoint:
    """The network's tensors in a file, those of the moving average where there are any.

    Args:
        file: .pt, .pth, .ckpt (read with weights_only) or .safetensors.
        weights: Which; None: "ema" where there are such, else "model".

    Raises:
        HspaceError: No such file, no tensors in it, or more than tensors; no such weights.
    """
    content = _load(file)
    found = dict(_state_dicts(content))
    if not found:
        raise HspaceError(f"{file}: expected a checkpoint with named tensors, found {_description(content)}")
    if weights is None:
        weights = "ema" if "ema" in found else "model"
    if weights not in found:
        raise HspaceError(f"{file}: has no {weights!r} weights, only {names(found)}")
    tensors, buffers = _split(found[weights])
    version = content.get("version") if isinstance(content, Mapping) else None
    return Checkpoint(str(file), tensors, buffers, version if isinstance(version, str) else None)


def _load(file: Path) -> Any:
    if not file.is_file():
        raise HspaceError(f"{file}: expected a checkpoint file, found {'a folder' if file.is_dir() else 'nothing'}")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)  # noqa: TID251 - a foreign checkpoint
    except Exception as error:  # unpickling, zip archives and safetensors each have their own
        if "Unsupported global" in str(error) or "Unsupported class" in str(error):
            raise HspaceError(
                f"{file}: holds other objects than tensors, which are not read since they can run code; "
                "save its state_dict alone"
            ) from error
        raise HspaceError(f"{file}: no readable checkpoint, truncated perhaps ({short(error)})") from error


def _state_dicts(content: Any) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """What a file has, as "model" and "ema"."""
    if _holds_tensors(content):
        yield "model", content
    elif isinstance(content, Mapping):
        for kind, keys in (("model", _MODEL), ("ema", _EMA)):
            if key := next((key for key in keys if _holds_tensors(content.get(key))), None):
                yield kind, content[key]
    elif isinstance(content, (list, tuple)):  # DDIM's: weights, optimizer, epoch, step, moving average
        listed = [item for item in content if _holds_tensors(item)]
        yield from zip(("model", "ema"), listed[:1] + listed[1:][-1:], strict=False)


def _holds_tensors(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and any(isinstance(item, Tensor) for item in value.values())
        and all(isinstance(key, str) for key in value)
    )


def _split(state: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The network's tensors, and those around it."""
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    if any(key.startswith("ema_model.") for key in tensors):  # ema_pytorch: both copies, and counters
        tensors = _behind("ema_model.", tensors)
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in tensors):
            tensors = _behind(prefix, tensors)
    network = _behind("model.", tensors)
    around = {key: value for key, value in tensors.items() if not key.startswith("model.")} if network else {}
    network = network or tensors
    return {key: value.float() if value.is_floating_point() else value for key, value in network.items()}, around


def _behind(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _description(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"entries {names(content)}" if content else "nothing in it"
    return f"a {type(content).__name__}"
