"""Scores by seed, from a CSV file."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from hspace.errors import HspaceError

__all__ = ["read_scores", "scores_of"]

_SEED = "seed"


def read_scores(path: str | PathLike[str]) -> dict[int, dict[str, float]]:
    r"""Read scores that were made elsewhere, by people for example.

    Args:
        path: CSV with commas, in UTF-8, its first line the names of the columns: one is `seed`, each other one an
            attribute. Every cell is a finite number, every seed an integer that appears once. Empty lines are skipped.

    Returns:
        For each seed, in the file's order, its scores by attribute, in the order of the columns.

    Raises:
        HspaceError: The file is unreadable or empty, has no column `seed` or no other one, or a line that is not as
            above, which is named.

    Example:
        >>> import pathlib, tempfile
        >>> from hspace.attributes import read_scores
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "scores.csv"
        >>> _ = path.write_text("seed,smile,age\n7,0.5,31\n8,-1,64\n")
        >>> read_scores(path)
        {7: {'smile': 0.5, 'age': 31.0}, 8: {'smile': -1.0, 'age': 64.0}}
    """
    lines = _lines(Path(path))
    if not lines:
        raise HspaceError(f"{path} is empty; expected a line with the column names: seed and the attributes")
    names = _names(*lines[0], path)
    table: dict[int, dict[str, float]] = {}
    at: dict[int, int] = {}
    for number, cells in lines[1:]:
        where = f"{path}, line {number}"
        if len(cells) != len(names):
            raise HspaceError(f"{where}: {len(cells)} cells, but {len(names)} columns")
        row = dict(zip(names, cells, strict=True))
        seed = _seed(row.pop(_SEED), where)
        if seed in at:
            raise HspaceError(f"{where}: seed {seed} is there already, in line {at[seed]}")
        table[seed] = {name: _number(cell, f"{where}, column {name!r}") for name, cell in row.items()}
        at[seed] = number
    if not table:
        raise HspaceError(f"{path} has column names but no scores")
    return table


def scores_of(table: Mapping[int, Mapping[str, float]], seeds: Iterable[int]) -> dict[str, Tensor]:
    """The scores of some seeds, as a scorer would answer for their pictures.

    Args:
        table: What `read_scores` returns.
        seeds: In the order wanted.

    Returns:
        For each attribute its scores, shape (n,), float64, on the CPU.

    Raises:
        HspaceError: The table lacks a seed, or is empty.

    Example:
        >>> from hspace.attributes import scores_of
        >>> scores_of({7: {"smile": 0.5}, 8: {"smile": -1.0}}, [8, 7])
        {'smile': tensor([-1.0000,  0.5000], dtype=torch.float64)}
    """
    if not table:
        raise HspaceError("the table of scores is empty")
    wanted = list(seeds)
    missing = [seed for seed in wanted if seed not in table]
    if missing:
        count = f"{len(missing)} of the {len(wanted)} seeds" if len(wanted) > 1 else "the only one asked for"
        raise HspaceError(f"the table has no scores of seed {missing[0]} (it lacks {count})")
    names = next(iter(table.values()))
    return {name: torch.tensor([table[seed][name] for seed in wanted], dtype=torch.float64) for name in names}


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Cells of each line that is not empty, with its number."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # Excel begins with a byte-order mark
            reader = csv.reader(file, strict=True, skipinitialspace=True)
            return [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if any(cells)]
    except OSError as error:
        raise HspaceError(f"can't read {path} ({error.strerror or error})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise HspaceError(f"{path} is no CSV in UTF-8 ({error})") from error


def _names(number: int, names: list[str], path: str | PathLike[str]) -> list[str]:
    where = f"{path}, line {number}"
    if _SEED not in names:
        raise HspaceError(f"{where}: no column 'seed'; found {', '.join(map(repr, names))}")
    if "" in names:
        raise HspaceError(f"{where}: column {names.index('') + 1} has no name")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise HspaceError(f"{where}: two columns are named {twice[0]!r}")
    if len(names) == 1:
        raise HspaceError(f"{where}: no attribute beside the column 'seed'")
    return names


def _seed(cell: str, where: str) -> int:
    try:
        return int(cell.replace("_", "?"))  # Python alone would read 1_0 as 10
    except ValueError:
        raise HspaceError(f"{where}: the seed is no integer: {cell!r}") from None


def _number(cell: str, where: str) -> float:
    try:
        value = float(cell.replace("_", "?"))
    except ValueError:
        raise HspaceError(f"{where}: not a number: {cell!r}") from None
    if not math.isfinite(value):
        raise HspaceError(f"{where}: not a finite number: {cell!r}")
    return value
