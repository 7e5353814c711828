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
        threshold: Numbers above it are 1, the rest 0; columns that are labels already stay as they are.
        quantile: Share of the pictures in each class, the highest and the lowest; likewise.

    Raises:
        HspaceError: The table can't be read or is empty, has no such column, or a cell that is no number; none of its
            files is in the folder.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, head = [(reader.line_num, row) for row in reader], [name for name in reader.fieldnames or [] if name]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        raise HspaceError(f"{table}: no readable table of labels ({reason})") from error
    if not rows or not head:
        raise HspaceError(f"{table}: no rows in this table of labels")
    names = file_column or head[0]
    for column in (names, *columns):
        if column not in head:
            raise HspaceError(f"{table}: no column {column!r}; there are {', '.join(head)}")
    paths = [folder / (row[names] or "?") for _, row in rows]
    if not any(path.is_file() for path in paths):
        raise HspaceError(f"{table}: none of the {len(rows)} files of column {names!r} is in {folder}")
    labels: dict[str, Sequence[float] | NDArray[np.float64]] = {}
    for column in columns:
        numbers = [_number(row[column], table, line, column) for line, row in rows]
        try:
            numeric = (threshold is not None or quantile is not None) and not _are_labels(numbers)
            labels[column] = split(numbers, threshold=threshold, quantile=quantile) if numeric else numbers
        except HspaceError as error:
            raise HspaceError(f"{table}: column {column!r}: {error}") from error
    return paths, labels


def _are_labels(numbers: Sequence[float]) -> bool:
    """Whether a column needs neither threshold nor quantile."""
    known = {number for number in numbers if not math.isnan(number)}
    return known in ({0.0, 1.0}, {-1.0, 1.0})


def _number(text: str | None, table: Path, line: int, column: str) -> float:
    text = (text or "").strip().lower()
    try:
        return _WORDS[text] if text in _WORDS else float(text)
    except ValueError:
        raise HspaceError(f"{table}, line {line}: {column} is {text!r}, expected a number or true or false") from None
