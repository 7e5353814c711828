"""Files appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from hspace.errors import HspaceError

__all__ = ["writing"]


@contextmanager
def writing(path: str | PathLike[str]) -> Iterator[Path]:
    """Yields a temporary name beside `path`; what is written there takes its place when the context ends well.

    After an exception the temporary file is gone, and what stood at `path` before is untouched. Missing folders are
    made.

    Raises:
        HspaceError: The folder can't be made or written.

    Example:
        >>> import tempfile, pathlib
        >>> from hspace.atomic import writing
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> with writing(folder / "new" / "text") as partial:
        ...     _ = partial.write_text("whole")
        >>> (folder / "new" / "text").read_text()
        'whole'
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The suffix stays last: writers such as Pillow choose the format by it.
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise HspaceError(f"can't write {path} ({error.strerror or error})") from error
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())  # mkstemp's files are for the owner alone
        os.replace(partial, path)
    except OSError as error:
        raise HspaceError(f"can't write {path} ({error.strerror or error})") from error
    finally:
        partial.unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
