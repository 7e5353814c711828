"""Where a transformers model is: a folder, or a repository of the hub."""

from __future__ import annotations

import json
import textwrap
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

from hspace.errors import HspaceError

__all__ = ["Checkpoint", "find", "short"]

_TIMEOUT = 10  # seconds for the hub's first answer
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
            >>> from hspace.attributes.hub import Checkpoint
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
        except Exception as error:  # see _download
            raise HspaceError(f"can't get the weights of {self.name!r} from the hub ({short(error)})") from error


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


def short(error: Exception) -> str:
    r"""What an error of another library says, on one line and no longer than people read.

    Example:
        >>> from hspace.attributes.hub import short
        >>> short(OSError("no such\n  file"))
        'no such file'
    """
    return textwrap.shorten(str(error), 240, placeholder=" ...") or type(error).__name__


def _download(hub_id: str) -> Checkpoint:
    """Small files only. The hub is asked first; without a network the local copy has to do."""
    from huggingface_hub import model_info, snapshot_download
    from huggingface_hub.errors import HFValidationError

    unknown = f"unknown model {hub_id!r}: no folder of that name"
    if hub_id.count("/") != 1:
        raise HspaceError(f"{unknown}; hub ids look like owner/name")
    try:
        info = model_info(hub_id, timeout=_TIMEOUT)
        # In the top folder only: others hold copies for other programs.
        files = [file.rfilename for file in info.siblings or () if "/" not in file.rfilename]
        small = [name for name in files if name.endswith((".json", ".txt", ".model"))]
        folder = Path(snapshot_download(hub_id, revision=info.sha, allow_patterns=small))
    except HFValidationError as error:
        raise HspaceError(f"{unknown} and it is no hub id") from error
    except Exception as error:  # the hub's client has a dozen kinds for "not there" and "no network"
        try:
            folder = Path(snapshot_download(hub_id, local_files_only=True))
        except OSError:
            reason = f"can't get model {hub_id!r} from the hub ({short(error)})"
            raise HspaceError(f"{reason}; a folder of that name does not exist") from error
        return Checkpoint(hub_id, folder, _config(folder, hub_id))
    weights = _WEIGHTS[0] if any(name.endswith(".safetensors") for name in files) else _WEIGHTS[1]
    return Checkpoint(hub_id, folder, _config(folder, hub_id), info.sha, weights)


def _config(folder: Path, name: str) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise HspaceError(f"{name}: no transformers model: expected config.json")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HspaceError(f"{path} is no JSON ({short(error)})") from error
    if not isinstance(config, dict):
        raise HspaceError(f"{path} is no JSON object but {type(config).__name__}")
    return config
