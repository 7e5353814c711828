"""Models of the hub: of a repository's files those that are read are downloaded, once it is known to be a model."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path

from hspace.errors import HspaceError
from hspace.hub import Snapshot, snapshot
from hspace.models.bundled import BUNDLED
from hspace.models.parts import Parts, no_model, parts_of
from hspace.models.weightfiles import weight_files

__all__ = ["download"]

_DESCRIPTION = re.compile(
    r"((unet|transformer|scheduler|vae|vqvae|text_encoder\w*|tokenizer\w*)/)?"
    r"(model_index|config|scheduler_config|tokenizer_config)\.json"
)
_OF_TOKENIZERS = (".json", ".txt", ".model")  # vocab.json, merges.txt, spiece.model


def download(hub_id: str) -> Snapshot:
    """The local copy of a hub repository, downloaded if need be: descriptions first, then what they name.

    Raises:
        HspaceError: No such repository, or a private or gated one, or no network, and no local copy; or one that is no
            model, before its weights are downloaded.
    """
    known = f"there is no folder of that name, and the bundled models are {', '.join(BUNDLED)}"
    small = snapshot(hub_id, lambda files: list(filter(_DESCRIPTION.fullmatch, files)), known)
    if small.problem is not None:
        return small
    if not small.folder.is_dir():  # nothing was wanted
        raise HspaceError(no_model(hub_id, {name.partition("/")[0] for name in small.files}))
    needed = _needed(small, parts_of(small.folder), hub_id)
    return snapshot(hub_id, lambda _: [glob.escape(name) for name in needed], known)


def _needed(repository: Snapshot, parts: Parts, hub_id: str) -> list[str]:
    """Of a repository's files those that are read: neither other formats and variants nor parts that aren't used."""
    needed = [name for name in repository.files if _DESCRIPTION.fullmatch(name)]
    for part in parts.weights:
        inside = _inside(repository.files, part.folder, repository.folder)
        weights = weight_files(list(inside), part.library)
        if weights is None:
            found = ", ".join(sorted(inside)[:4])
            raise HspaceError(f"{hub_id}: no weights of its {part.name}: expected safetensors or .bin, found {found}")
        needed += [inside[name] for name in (*weights.names, weights.index) if name in inside]
    for part in parts.tokenizers:
        inside = _inside(repository.files, part.folder, repository.folder)
        needed += [path for name, path in inside.items() if name.endswith(_OF_TOKENIZERS)]
    return sorted(set(needed))


def _inside(files: Sequence[str], folder: Path, root: Path) -> dict[str, str]:
    """Files right in a folder of a repository: their paths by their names."""
    prefix = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
    return {name.removeprefix(prefix): name for name in files if name.rpartition("/")[0] == prefix.rstrip("/")}
