"""Labels of pictures from folders and tables, as `hspace supervised` takes them."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hspace.discovery import split
from hspace.errors import HspaceError
from hspace.photos import photo_files

__all__ = ["from_folders", "from_table"]

_WORDS = {"true": 1.0, "yes": 1.0, "false": 0.0, "no": 0.0, "": math.nan, "nan": math.nan, "na": math.nan}


def from_folders(positive: Path, negative: Path) -> tuple[list[Path], list[float]]:
    """Pictures of both folders and their labels, 1 and 0."""
    with_it, without_it = photo_files(positive), photo_files(negative)
    return with_it + without_it, [1.0] * len(with_it) + [0.0] * len(without_it)


def from_table(
    folder: Path,
    table: Path,
    columns: Sequence[str],
    *,
    file_column: str | None = None,
    threshold: float | None = None,
    quantile: float | None = None,
) -> tuple[list[Path], Mapping[str, Sequence[float] | NDArray[np.float64]]]:
    """Pictures of a folder and, for each column, their labels.

    Args:
        folder: Of the pictures.
        table: A CSV with a head: a column with the names of files, the others with labels or numbers.
        columns: The ones to take.
        file_column: The one with the names; default: the first.
        threshold: Numbers above it are 1, the rest 0.
        quantile: Share of the pictures in each class, the highest and the lowest.

    Raises:
        HspaceError: The table can't be read or is empty, has no such column, or a cell that is no number; none of its
            files is in the folder.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, head = list(reader), reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise HspaceError(f"{table}: no readable table of labels ({reason})") from error
    if not rows:
        raise HspaceError(f"{table}: no rows in this table of labels")
    names = file_column or head[0]
    for column in (names, *columns):
        if column not in head:
            raise HspaceError(f"{table}: no column {column!r}; there are {', '.join(head)}")
    paths = [(i, folder / (row[names] or "?")) for i, row in enumerate(rows)]
    there = [(i, path) for i, path in paths if path.is_file()]
    if not there:
        raise HspaceError(f"{table}: none of the {len(rows)} files of column {names!r} is in {folder}")
    kept = [i for i, _ in there]
    labels: dict[str, Sequence[float] | NDArray[np.float64]] = {}
    for column in columns:
        numbers = [_number(rows[i][column], table, i + 2, column) for i in kept]
        try:
            many = threshold is not None or quantile is not None
            labels[column] = split(numbers, threshold=threshold, quantile=quantile) if many else numbers
        except HspaceError as error:
            raise HspaceError(f"{table}: column {column!r}: {error}") from error
    return [path for _, path in there], labels


def _number(text: str | None, table: Path, line: int, column: str) -> float:
    text = (text or "").strip().lower()
    try:
        return _WORDS[text] if text in _WORDS else float(text)
    except ValueError:
        raise HspaceError(f"{table}, line {line}: {column} is {text!r}, expected a number or true or false") from None
