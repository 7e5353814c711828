"""Files that a recipe names: where they were, and a hash by which they are known again wherever they are now."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from hspace.directions import fields
from hspace.errors import HspaceError

__all__ = ["Source", "hash_of"]


@dataclass(frozen=True)
class Source:
    """A file by name and content.

    Attributes:
        file: Path, absolute or from the recipe's folder.
        sha256: Of the content, hexadecimal.
    """

    file: str
    sha256: str

    @classmethod
    def of(cls, path: str | PathLike[str]) -> Source:
        """A file as it is now.

        Raises:
            HspaceError: There is none, or it can't be read.
        """
        return cls(os.path.abspath(path), hash_of(path))

    def to_json(self) -> dict[str, Any]:
        """As plain JSON types."""
        return {"file": self.file, "sha256": self.sha256}

    @classmethod
    def from_json(cls, data: Any, file: str = "file") -> Source:
        """The inverse of `to_json`; the name may stand under another key.

        Raises:
            HspaceError: A field is missing or of the wrong type.
        """
        return cls(fields.text(data, file), fields.text(data, "sha256"))

    def seen_from(self, old: Path, new: Path) -> Source:
        """The same file for a recipe that moves from one folder to another."""
        file = os.path.abspath(old / self.file)
        try:
            return Source(Path(os.path.relpath(file, new)).as_posix(), self.sha256)
        except ValueError:  # on another drive
            return Source(file, self.sha256)

    def found(self, folder: Path) -> Path:
        """Where the file is now: under its name, or under any name in the recipe's folder.

        Raises:
            HspaceError: Nowhere; with the hash that was expected and the one that was found.
        """
        path = folder / self.file
        there = hash_of(path) if path.is_file() else None
        if there == self.sha256:
            return path
        for other in sorted(folder.glob("*.safetensors")):
            if other != path and hash_of(other) == self.sha256:
                return other
        found = "no such file" if there is None else f"sha256 {there}"
        raise HspaceError(
            f"{path}: the recipe needs the file with sha256 {self.sha256}, found {found}, "
            f"nor is it among the *.safetensors of {folder}"
        )


def hash_of(path: str | PathLike[str]) -> str:
    """SHA-256 of a file's content, hexadecimal.

    Raises:
        HspaceError: There is no such file, or it can't be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise HspaceError(f"{path}: can't be read ({error.strerror or error})") from error
