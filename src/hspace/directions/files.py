"""Directions on disk: one safetensors file.

Tensors: `vectors` (k, S, *h_shape) and `measured.NAME` (S, k). Metadata: `hspace` holds JSON with the format, the
setting (model id, weight hash, tap, shape of h, grid, eta, injection) and name and origin of every direction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from torch import Tensor

from hspace import tensorfile
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
    tensors = {f"measured.{name}": value for name, value in measured.items()}
    header = {"setting": setting.to_json(), "directions": list(labels)}
    tensorfile.write(path, FORMAT, header, {**tensors, "vectors": vectors})


def read(path: str | PathLike[str]) -> tuple[Tensor, dict[str, Tensor], Setting, list[dict[str, Any]]]:
    """Vectors, what was measured, the setting, and name and origin of each.

    Raises:
        HspaceError: Names the file, what was expected and what was found.
    """
    header, tensors = tensorfile.read(path, FORMAT, "directions")
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
    expected = (len(labels), len(setting.timesteps), *setting.h_shape)
    if tuple(vectors.shape) != expected:
        raise HspaceError(f"{path}: expected vectors of shape {expected}, found {tuple(vectors.shape)}")
    if not bool(vectors.isfinite().all()):
        raise HspaceError(f"{path}: vectors hold NaN or infinite numbers")
    return vectors, {name.removeprefix("measured."): value for name, value in tensors.items()}, setting, labels


def _are_labels(labels: Any) -> bool:
    return isinstance(labels, list) and all(
        isinstance(label, dict) and isinstance(label.get("name"), str) and isinstance(label.get("origin"), dict)
        for label in labels
    )
