"""Checkpoints of others: repositories of the hub, their configurations, and what other libraries say of them."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hspace.errors import HspaceError

__all__ = ["AGAIN", "POINTER", "Snapshot", "problem_of", "read_json", "short", "snapshot"]

AGAIN = "the download broke off perhaps: download it again"
"""What to do about files that are missing or damaged, for errors."""

POINTER = b"version https://git-lfs"
"""What a file begins with that git-lfs has yet to get."""

_TIMEOUT = 10  # seconds for the hub's first answer
_LOG_IN = "log in by `hf auth login` or HF_TOKEN"


class Snapshot(NamedTuple):
    """A repository's local copy.

    Args:
        folder: Where it is.
        files: All that the repository has, downloaded or not; none where the hub did not answer.
        revision: Its commit; None where the hub did not answer.
        problem: Why it did not; None where it did.
    """

    folder: Path
    files: tuple[str, ...] = ()
    revision: str | None = None
    problem: str | None = None


def snapshot(hub_id: str, wanted: Callable[[Sequence[str]], list[str]], known: str) -> Snapshot:
    """The local copy of a hub repository, downloaded if need be.

    The hub is asked first, so that an interrupted download goes on; where it does not answer, or no longer has the
    repository, the local copy has to do, as much of it as there is.

    Args:
        hub_id: owner/name.
        wanted: Patterns of the files to download, of the names of all.
        known: What else the name could have been, for errors.

    Raises:
        HspaceError: No such repository, a private or gated one, or no network, and no local copy.
    """
    from huggingface_hub import model_info, snapshot_download
    from huggingface_hub.errors import HFValidationError

    if hub_id.count("/") != 1:
        address = re.search(r"huggingface\.co/([^/\s]+/[^/?#\s]+)", hub_id)
        example = f"owner/name, this one {address[1]}" if address else "owner/name"
        raise HspaceError(f"unknown model {hub_id!r}: {known}; hub ids look like {example}")
    try:
        info = model_info(hub_id, timeout=_TIMEOUT)
        files = tuple(file.rfilename for file in info.siblings or ())
        # Of the default branch, not of info.sha: only then is the copy found again without a network.
        return Snapshot(Path(snapshot_download(hub_id, allow_patterns=wanted(files))), files, info.sha)
    except HFValidationError as error:
        raise HspaceError(f"unknown model {hub_id!r}: {known} and it is no hub id") from error
    except HspaceError:  # of `wanted`
        raise
    except Exception as error:  # the hub's client has a dozen kinds for "not there" and "no network"
        problem = problem_of(error)
        try:
            return Snapshot(Path(snapshot_download(hub_id, local_files_only=True)), problem=problem)
        except OSError as local:
            if part := getattr(local, "snapshot_path", None):  # of what was not asked for some is not there
                return Snapshot(Path(part), problem=problem)
            raise HspaceError(
                f"can't get model {hub_id!r} from the hub ({problem}), and there is no copy of it here; {known}"
            ) from error


def problem_of(error: BaseException) -> str:
    """What an error of the hub's client comes to, and what to do about it.

    Clients before 1.0 went through requests, later ones go through httpx: what their errors have in common are names.

    Example:
        >>> from hspace.hub import problem_of
        >>> problem_of(TimeoutError("timed out"))
        'it does not answer: try again later'
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "LocalEntryNotFoundError" in kinds and error.__cause__ is not None:
        return problem_of(error.__cause__)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if "OfflineModeIsEnabled" in kinds:
        return "HF_HUB_OFFLINE is set"
    if "GatedRepoError" in kinds:
        return f"it is gated: accept its terms on its page there, and {_LOG_IN}"
    if "RepositoryNotFoundError" in kinds:
        return f"there is no such model, or a private one: then {_LOG_IN}"
    if status in (401, 403):
        return f"it refuses access: {_LOG_IN}"
    if status == 429:
        return "it has too many requests from here: try again in some minutes"
    if isinstance(status, int):
        return f"it answers with error {status}: try again later"
    if kinds & {"TimeoutException", "Timeout", "TimeoutError"}:
        return "it does not answer: try again later"
    if kinds & {"ConnectError", "ConnectionError", "ProxyError", "NetworkError", "ProtocolError"}:
        return f"it can't be reached, is there a network? {short(error)}"
    return short(error)


def read_json(path: Path, missing: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        HspaceError: There is no such file (the message is `missing`), or it holds something else.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise HspaceError(missing) from error
    except OSError as error:
        raise HspaceError(f"{path} can't be read ({error.strerror})") from error
    if content.startswith(POINTER):
        raise HspaceError(f"{path} is a git-lfs pointer, no JSON: run `git lfs pull` in its repository")
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise HspaceError(f"{path} is no JSON ({short(error)}); {AGAIN}") from error
    if not isinstance(data, dict):
        raise HspaceError(f"{path} is no JSON object but {type(data).__name__}")
    return data


def short(error: BaseException) -> str:
    r"""What an error of another library says, on one line and no longer than people read.

    Example:
        >>> from hspace.hub import short
        >>> short(OSError("no such\n  file"))
        'no such file'
    """
    return textwrap.shorten(str(error), 240, placeholder=" ...") or type(error).__name__
