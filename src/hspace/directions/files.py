"""Directions on disk: one safetensors file.

Tensors: `vectors` (k, S, *h_shape) and `measured.NAME` (S, k). Metadata: `hspace` holds JSON with the format, the
setting (model id, weight hash, tap, shape of h, grid, eta, injection) and name and origin of every direction.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import Any, get_args

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hspace.atomic import writing
from hspace.diffusion.schedule import Injection
from hspace.diffusion.setting import Setting
from hspace.errors import HspaceError

__all__ = ["read", "write"]

FORMAT = "hspace-directions-1"


def write(
    path: str | PathLike[str],
    vectors: Tensor,
    measured: Mapping[str, Tensor],
    setting: Setting,
    labels: Sequence[Mapping[str, Any]],
) -> None:
    """Write the file, whole or not at all.

    Raises:
        HspaceError: It can't be written; what was there before is untouched.
    """
    header = {"format": FORMAT, "setting": setting.to_json(), "directions": list(labels)}
    tensors = {f"measured.{name}": value.detach().cpu().clone() for name, value in measured.items()}  # shares no memory
    tensors["vectors"] = vectors.detach().cpu().contiguous()
    try:
        with writing(path) as partial:
            save_file(tensors, partial, {"hspace": json.dumps(header)})
    except SafetensorError as error:
        raise HspaceError(f"can't write {path} ({error})") from error


def read(path: str | PathLike[str]) -> tuple[Tensor, dict[str, Tensor], Setting, list[dict[str, Any]]]:
    """Vectors, what was measured, the setting, and name and origin of each.

    Raises:
        HspaceError: Names the file, what was expected and what was found.
    """
    path = Path(path)
    if not path.is_file():
        raise HspaceError(f"{path}: expected a file of directions, found {'a folder' if path.is_dir() else 'nothing'}")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("hspace", "{}"))
            found = header.get("format") if isinstance(header, dict) else None
            if found != FORMAT:
                found = found or f"tensors {', '.join(sorted(file.keys())[:3])} without hspace metadata"
                raise HspaceError(f"{path}: expected a file of format {FORMAT}, found {found}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise HspaceError(f"{path}: no readable safetensors file, truncated perhaps ({error})") from error
    if not _is_setting(header.get("setting")):
        raise HspaceError(f"{path}: the setting that the directions were found in is incomplete or damaged")
    try:
        setting, labels, vectors = Setting.from_json(header["setting"]), header["directions"], tensors.pop("vectors")
    except KeyError as error:
        raise HspaceError(f"{path}: incomplete, {error} is missing") from error
    except HspaceError as error:
        raise HspaceError(f"{path}: {error}") from error
    if not _are_labels(labels):
        raise HspaceError(f"{path}: expected a list with name and origin of every direction, found {str(labels)[:80]}")
    if not all(tensor.is_floating_point() for tensor in (vectors, *tensors.values())):
        raise HspaceError(f"{path}: expected tensors of floating-point numbers, found others")
    expected = (len(labels), len(setting.schedule), *setting.h_shape)
    if tuple(vectors.shape) != expected:
        raise HspaceError(f"{path}: expected vectors of shape {expected}, found {tuple(vectors.shape)}")
    if not bool(vectors.isfinite().all()):
        raise HspaceError(f"{path}: vectors hold NaN or infinite numbers")
    return vectors, {name.removeprefix("measured."): value for name, value in tensors.items()}, setting, labels


def _is_setting(data: Any) -> bool:
    """Whether JSON has the fields and types of a setting, for every step as many numbers, on a grid that descends."""
    match data:
        case {
            "model_id": str(),
            "weight_hash": str(),
            "tap": str(),
            "h_shape": [*shape],
            "schedule": {
                "timesteps": [*timesteps],
                "alphas": [*alphas],
                "etas": [*etas],
                "final_alpha": final_alpha,
                "train_timesteps": train_timesteps,
            },
            "injection": injection,
        }:
            return (
                all(isinstance(number, int) for number in (*shape, *timesteps, train_timesteps))
                and all(isinstance(number, (int, float)) for number in (*alphas, *etas, final_alpha))
                and len(timesteps) == len(alphas) == len(etas) > 0
                and all(high > low for high, low in pairwise(timesteps))
                and injection in get_args(Injection)
            )
    return False


def _are_labels(labels: Any) -> bool:
    return isinstance(labels, list) and all(
        isinstance(label, dict) and isinstance(label.get("name"), str) and isinstance(label.get("origin"), dict)
        for label in labels
    )
