"""Tensors with a JSON header in one safetensors file: what directions and inversions are kept in.

The metadata entry `hspace` is JSON with the name of the format and whatever the format's owner puts there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hspace.atomic import writing
from hspace.errors import HspaceError

__all__ = ["read", "write"]


def write(path: str | PathLike[str], kind: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write the file, whole or not at all.

    Args:
        path: Where.
        kind: Name of the format.
        header: Plain JSON types.
        tensors: By name; copied, so that they may share memory.

    Raises:
        HspaceError: It can't be written; what was there before is untouched.
    """
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    try:
        with writing(path) as partial:
            save_file(copies, partial, {"hspace": json.dumps({"format": kind, **header})})
    except SafetensorError as error:
        raise HspaceError(f"can't write {path} ({error})") from error


def read(path: str | PathLike[str], kind: str, what: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Header and tensors.

    Args:
        path: Where.
        kind: Name of the format that is expected.
        what: What people call such a file, "directions", say.

    Raises:
        HspaceError: Names the file, what was expected and what was found.
    """
    path = Path(path)
    if not path.is_file():
        raise HspaceError(f"{path}: expected a file of {what}, found {'a folder' if path.is_dir() else 'nothing'}")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("hspace", "{}"))
            found = header.get("format") if isinstance(header, dict) else None
            if found != kind:
                found = found or f"tensors {', '.join(sorted(file.keys())[:3])} without hspace metadata"
                raise HspaceError(f"{path}: expected a file of format {kind}, found {found}")
            # Copies are aligned in memory as fresh tensors are; last bits of what is computed with them depend on that.
            return header, {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise HspaceError(f"{path}: no readable safetensors file, truncated perhaps ({error})") from error
