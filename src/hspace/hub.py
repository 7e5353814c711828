"""Checkpoints of others: repositories of the hub, their configurations, and what other libraries say of them."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hspace.errors import HspaceError

__all__ = ["Snapshot", "read_json", "short", "snapshot"]

_TIMEOUT = 10  # seconds for the hub's first answer


class Snapshot(NamedTuple):
    """A repository's local copy.

    Args:
        folder: Where it is.
        files: All that the repository has, downloaded or not; none where the hub did not answer.
        revision: Its commit; None where the hub did not answer.
    """

    folder: Path
    files: tuple[str, ...] = ()
    revision: str | None = None


def snapshot(hub_id: str, wanted: Callable[[Sequence[str]], list[str]], known: str) -> Snapshot:
    """The local copy of a hub repository, downloaded if need be.

    The hub is asked first, so that an interrupted download goes on; without a network the local copy has to do.

    Args:
        hub_id: owner/name.
        wanted: Patterns of the files to download, of the names of all.
        known: What else the name could have been, for errors.

    Raises:
        HspaceError: No such repository, a gated one, or no network and no local copy.
    """
    from huggingface_hub import model_info, snapshot_download
    from huggingface_hub.errors import HFValidationError

    if hub_id.count("/") != 1:
        raise HspaceError(f"unknown model {hub_id!r}: {known}; hub ids look like owner/name")
    try:
        info = model_info(hub_id, timeout=_TIMEOUT)
        files = tuple(file.rfilename for file in info.siblings or ())
        # Of the default branch, not of info.sha: only then is the copy found again without a network.
        return Snapshot(Path(snapshot_download(hub_id, allow_patterns=wanted(files))), files, info.sha)
    except HFValidationError as error:
        raise HspaceError(f"unknown model {hub_id!r}: {known} and it is no hub id") from error
    except Exception as error:  # the hub's client has a dozen kinds for "not there" and "no network"
        try:
            return Snapshot(Path(snapshot_download(hub_id, local_files_only=True)))
        except OSError as local:
            if part := getattr(local, "snapshot_path", None):  # of what was not asked for some is not there
                return Snapshot(Path(part))
            raise HspaceError(f"can't get model {hub_id!r} from the hub ({short(error)}); {known}") from error


def read_json(path: Path, missing: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        HspaceError: There is no such file (the message is `missing`), or it holds something else.
    """
    if not path.is_file():
        raise HspaceError(missing)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise HspaceError(f"{path} is no JSON ({short(error)})") from error
    if not isinstance(data, dict):
        raise HspaceError(f"{path} is no JSON object but {type(data).__name__}")
    return data


def short(error: Exception) -> str:
    r"""What an error of another library says, on one line and no longer than people read.

    Example:
        >>> from hspace.hub import short
        >>> short(OSError("no such\n  file"))
        'no such file'
    """
    return textwrap.shorten(str(error), 240, placeholder=" ...") or type(error).__name__
