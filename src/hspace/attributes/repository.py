"""Where a transformers model is: a folder, or a repository of the hub."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from hspace.errors import HspaceError
from hspace.hub import problem_of, read_json, snapshot

__all__ = ["Checkpoint", "find"]

_WEIGHTS = ("model.safetensors", "model-*.safetensors"), ("pytorch_model.bin", "pytorch_model-*.bin")  # best first


class Checkpoint(NamedTuple):
    """A model's folder, its config.json, and what to download still before it is loaded.

    Args:
        name: As the user named it.
        folder: With the small files at least.
        config: What config.json says.
        revision: Of the hub's repository whose weights are to be downloaded; None where there is nothing to download.
        weights: Patterns of the files of its weights.
    """

    name: str
    folder: Path
    config: dict[str, Any]
    revision: str | None = None
    weights: tuple[str, ...] = ()

    @property
    def architecture(self) -> str:
        """transformers' class of the model, else the kind that config.json names.

        Example:
            >>> from pathlib import Path
            >>> from hspace.attributes.repository import Checkpoint
            >>> Checkpoint("mine", Path("mine"), {"architectures": ["CLIPModel"], "model_type": "clip"}).architecture
            'CLIPModel'
        """
        found = self.config.get("architectures") or [self.config.get("model_type", "a model of unknown kind")]
        return str(found[0] if isinstance(found, list) else found)

    def complete(self) -> Path:
        """The folder with the weights, downloaded if need be.

        Raises:
            HspaceError: The download fails.
        """
        if self.revision is None:
            return self.folder
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(self.name, revision=self.revision, allow_patterns=list(self.weights)))
        except Exception as error:  # as many kinds as in hspace.hub
            raise HspaceError(f"can't get the weights of {self.name!r} from the hub ({problem_of(error)})") from error


def find(source: str | PathLike[str]) -> Checkpoint:
    """A folder, or the small files of a hub repository: enough to say what kind of model it is.

    Raises:
        HspaceError: Nothing of that name, a gated repository, no network and no local copy, or no config.json.
    """
    name = str(source)
    if Path(name).is_dir():
        return Checkpoint(name, Path(name), _config(Path(name), name))
    if Path(name).exists():
        raise HspaceError(f"{name} is a file; expected the folder of a transformers model, as save_pretrained makes it")
    return _download(name)


def _download(hub_id: str) -> Checkpoint:
    """Small files only; the weights come when `Checkpoint.complete` asks for them."""

    def small(files: Sequence[str]) -> list[str]:
        return [name for name in _top(files) if name.endswith((".json", ".txt", ".model"))]

    found = snapshot(hub_id, small, "no folder of that name")
    config = _config(found.folder, hub_id)
    if found.revision is None:
        return Checkpoint(hub_id, found.folder, config)
    weights = _WEIGHTS[0] if any(name.endswith(".safetensors") for name in _top(found.files)) else _WEIGHTS[1]
    return Checkpoint(hub_id, found.folder, config, found.revision, weights)


def _top(files: Sequence[str]) -> list[str]:
    """Those in no folder: folders hold copies for other programs."""
    return [name for name in files if "/" not in name]


def _config(folder: Path, name: str) -> dict[str, Any]:
    return read_json(folder / "config.json", f"{name}: no transformers model: expected config.json")
