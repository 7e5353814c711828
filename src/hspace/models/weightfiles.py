"""The files of a network's weights: which of those in its folder are read, and whether they are whole.

Names, sizes and first bytes tell it, so that it is known before gigabytes are read or downloaded.

| name | what |
|---|---|
| `diffusion_pytorch_model.safetensors` | diffusers' |
| `model.safetensors`, `pytorch_model.bin` | transformers' |
| `diffusion_pytorch_model.fp16.safetensors` | a variant: half precision, without moving average, ... |
| `diffusion_pytorch_model-00001-of-00002.safetensors` | a shard; `...safetensors.index.json` tells what is where |
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zipfile import is_zipfile

from hspace.errors import HspaceError
from hspace.hub import AGAIN, POINTER, read_json, short

__all__ = ["Library", "WeightFiles", "check_no_pointer", "check_weights", "tensor_names", "weight_files"]

Library = Literal["diffusers", "transformers"]
"""Whose names they are."""

_USUAL: dict[Library, str] = {
    "diffusers": "diffusion_pytorch_model.safetensors",
    "transformers": "model.safetensors",
}
_NAME = re.compile(
    r"(?P<stem>diffusion_pytorch_model|pytorch_model|model)(\.(?P<variant>\w+))?"
    r"(-(?P<shard>\d{5})-of-(?P<shards>\d{5}))?(\.(?P<old_variant>\w+))?\.(?P<kind>safetensors|bin)"
)
_PAGE = (b"<!doctype", b"<html")  # saved in place of the file


@dataclass(frozen=True)
class WeightFiles:
    """The files of one network.

    Args:
        names: Without folder; of shards as many as there are.
        index: The file that says which tensor is in which shard; None where there are no shards.
        variant: As in `from_pretrained(variant=)`; None for the usual weights.
        safetensors: Or .bin, which is read with weights_only.
    """

    names: tuple[str, ...]
    index: str | None
    variant: str | None
    safetensors: bool


def weight_files(names: Collection[str], library: Library) -> WeightFiles | None:
    """Those of a folder's files that are read: the usual ones if there are any, else a variant; rather safetensors.

    Args:
        names: Of all files in the folder.
        library: Whose network it is.

    Returns:
        None where there are no weights.

    Example:
        >>> from hspace.models.weightfiles import weight_files
        >>> weight_files(["model.fp16.safetensors", "model.safetensors", "model.onnx"], "transformers").names
        ('model.safetensors',)
        >>> weight_files(["diffusion_pytorch_model.fp16.safetensors"], "diffusers").variant
        'fp16'
    """
    found: dict[tuple[bool, bool, str, bool], list[re.Match[str]]] = {}
    for match in filter(None, map(_NAME.fullmatch, sorted(names))):
        if (match["stem"] == "diffusion_pytorch_model") != (library == "diffusers"):
            continue
        variant = match["variant"] or match["old_variant"]
        # In the order in which they are wanted: of variants fp16 before non_ema, and one file before shards.
        order = (variant is not None, match["kind"] == "bin", variant or "", match["shard"] is not None)
        found.setdefault(order, []).append(match)
    if not found:
        return None
    (_, is_bin, variant, sharded), matches = min(found.items())
    suffix = f".{variant}" if variant else ""
    index = f"{matches[0]['stem']}.{matches[0]['kind']}.index{suffix}.json" if sharded else None
    return WeightFiles(tuple(match[0] for match in matches), index, variant or None, not is_bin)


def check_weights(folder: Path, library: Library) -> WeightFiles:
    """The files of a network's weights, all there and whole.

    Args:
        folder: The network's.
        library: Whose network it is.

    Raises:
        HspaceError: There are none, a shard is missing, one is truncated or no file of weights at all.
    """
    try:
        return _checked(folder, library)
    except OSError as error:
        raise HspaceError(f"{error.filename or folder}: can't be read ({error.strerror})") from error


def _checked(folder: Path, library: Library) -> WeightFiles:
    names = [path.name for path in folder.iterdir()]
    files = weight_files(names, library)
    if files is None:
        partial = next((name for name in names if name.endswith((".incomplete", ".part", ".tmp"))), None)
        found = partial or ", ".join(sorted(names)[:4]) or "nothing"
        raise HspaceError(f"{folder}: no weights: expected {_USUAL[library]}, found {found}; {AGAIN}")
    wanted = files.names
    if files.index is not None:
        index = read_json(
            folder / files.index, f"{folder}: expected {files.index} beside {files.names[0]}, found none; {AGAIN}"
        )
        shards = index.get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
            raise HspaceError(f"{folder / files.index}: expected a weight_map of tensors and files, found none")
        wanted = tuple(sorted(set(shards.values())))
    for number, name in enumerate(wanted, 1):
        if not (folder / name).is_file():
            part = f" (weights {number} of {len(wanted)})" if len(wanted) > 1 else ""
            raise HspaceError(f"{folder}: {name}{part} is not there; {AGAIN}")
        _check_whole(folder / name)
    return files


def tensor_names(path: Path) -> list[str]:
    """Of a safetensors file, from its header; none where it can't be read."""
    try:
        return [name for name in _header(path)[0] if name != "__metadata__"]
    except (OSError, ValueError):
        return []


def check_no_pointer(path: Path) -> bytes:
    """The first bytes of a file.

    Raises:
        HspaceError: They say that git-lfs has yet to get the rest.
    """
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(POINTER):
        raise HspaceError(f"{path}: a git-lfs pointer in place of the file: run `git lfs pull` in its repository")
    return start


def _check_whole(path: Path) -> None:
    size = path.stat().st_size
    start = check_no_pointer(path)
    if start.lower().startswith(_PAGE):
        raise HspaceError(f"{path}: a web page in place of the file; {AGAIN}")
    if path.suffix == ".safetensors":
        expected = _size(path) if size >= 8 else 8
        if size != expected:
            what = "truncated: expected at least" if size < expected else "damaged: expected"
            raise HspaceError(f"{path}: {what} {expected} bytes, found {size}; {AGAIN}")
    elif not size or (start.startswith(b"PK") and not is_zipfile(path)):  # the list of a zip is at its end
        raise HspaceError(f"{path}: truncated; {AGAIN}")


def _size(path: Path) -> int:
    """What the header says; of a truncated header, where that would end."""
    try:
        header, begin = _header(path)
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        return begin + max(ends, default=0)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
        if length + 8 > path.stat().st_size and length < 2**30:
            return length + 8
        raise HspaceError(f"{path}: no safetensors file ({short(error)}); {AGAIN}") from error


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Tensors by name, and where their data begin: https://github.com/huggingface/safetensors#format."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("its header is longer than itself")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    return header, 8 + length
