"""What a training tells while it runs: a line an iteration, as CSV and JSONL, and to TensorBoard if installed."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hspace.atomic import writing
from hspace.errors import HspaceError

__all__ = ["Log"]


class Log:
    """Lines in a folder: `log.jsonl`, `log.csv`, `tensorboard/`.

    Args:
        folder: Where.
        fields: Of every line, the first is the iteration.
        keep: Lines of iterations up to this one stay; those after it, which the state that training goes on from does
            not know of, are taken away.

    Example:
        >>> import tempfile, pathlib
        >>> from hspace.learning.log import Log
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> with Log(folder, ("iteration", "loss"), keep=0) as log:
        ...     log.add({"iteration": 1, "loss": 0.5})
        >>> (folder / "log.csv").read_text().split()
        ['iteration,loss', '1,0.5']
    """

    def __init__(self, folder: Path, fields: tuple[str, ...], *, keep: int) -> None:
        self.fields = fields
        self._before = _lines(folder / "log.jsonl", fields[0], keep)
        with writing(folder / "log.jsonl") as partial:
            partial.write_text("".join(json.dumps(line) + "\n" for line in self._before), encoding="utf-8")
        with writing(folder / "log.csv") as partial, partial.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, fields, extrasaction="ignore")
            table.writeheader()
            table.writerows(self._before)
        self._jsonl = (folder / "log.jsonl").open("a", encoding="utf-8")
        self._csv = (folder / "log.csv").open("a", newline="", encoding="utf-8")
        self._table = csv.DictWriter(self._csv, fields)
        self._board = _tensorboard(folder / "tensorboard", purge_step=keep + 1)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._jsonl.close()
        self._csv.close()
        if self._board is not None:
            self._board.close()

    def add(self, line: Mapping[str, float]) -> None:
        """One line; it is in the files when this returns."""
        self._jsonl.write(json.dumps(dict(line)) + "\n")
        self._jsonl.flush()
        self._table.writerow(line)
        self._csv.flush()
        if self._board is not None:
            step, *rest = self.fields
            for name in rest:
                self._board.add_scalar(name, line[name], int(line[step]))


def _lines(path: Path, field: str, keep: int) -> list[dict[str, float]]:
    """Lines of an earlier part of the training; a last one that was cut off is dropped."""
    if not path.exists():
        return []
    kept = []
    try:
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                line = json.loads(text)
            except json.JSONDecodeError:
                break
            if line[field] > keep:
                break
            kept.append(line)
    except (OSError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise HspaceError(f"{path}: not the log of a training ({error})") from error
    return kept


def _tensorboard(folder: Path, purge_step: int) -> Any:
    """A writer, or None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=purge_step)
