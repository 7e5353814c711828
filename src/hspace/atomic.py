"""Files and folders appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

from hspace.errors import HspaceError

__all__ = ["check_new_folder", "writing", "writing_folder"]


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


@contextmanager
def writing_folder(folder: str | PathLike[str]) -> Iterator[Path]:
    """Yields a temporary folder beside `folder`, which takes its name when the context ends well.

    After an exception the temporary folder is gone.

    Raises:
        HspaceError: There is a file or a folder with something in it already, or it can't be written.

    Example:
        >>> import tempfile, pathlib
        >>> from hspace.atomic import writing_folder
        >>> folder = pathlib.Path(tempfile.mkdtemp()) / "new"
        >>> with writing_folder(folder) as partial:
        ...     _ = (partial / "text").write_text("whole")
        >>> (folder / "text").read_text()
        'whole'
    """
    folder = Path(os.path.abspath(folder))
    check_new_folder(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise HspaceError(f"can't write {folder} ({error.strerror or error})") from error
    try:
        yield partial
        partial.chmod(0o777 & ~_umask())  # mkdtemp's folders are for the owner alone
        if folder.is_dir():
            folder.rmdir()  # an empty one; not every system puts a folder in its place
        os.replace(partial, folder)
    except OSError as error:
        raise HspaceError(f"can't write {folder} ({error.strerror or error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_new_folder(folder: str | PathLike[str]) -> None:
    """Nothing is there yet, or an empty folder.

    Raises:
        HspaceError: There is a file, or a folder with something in it.
    """
    folder = Path(folder)
    if folder.is_dir():
        if first := next(iter(sorted(path.name for path in folder.iterdir())), None):
            raise HspaceError(f"can't write {folder}: expected a new or empty folder, found one with {first} in it")
    elif folder.exists() or folder.is_symlink():
        raise HspaceError(f"can't write {folder}: expected a new or empty folder, found a file")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
