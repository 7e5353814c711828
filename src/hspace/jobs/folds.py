"""What a pass over rows adds up to: it grows batch by batch, is merged, saved and restored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from hspace.errors import HspaceError
from hspace.jobs.packing import State

__all__ = ["Fold", "Table", "Together"]


@runtime_checkable
class Fold(Protocol):
    """Statistics of rows, as tensors and JSON."""

    @property
    def rows(self) -> int:
        """How many have been taken in."""

    def add(self, *batch: Any) -> int:
        """Take in the next ones; returns how many they are."""

    def state(self) -> State:
        """All of it."""

    def restore(self, state: State) -> None:
        """Be what another one was, whose state this is."""

    def absorb(self, state: State) -> None:
        """Take in what another one has seen of the rows behind its own."""


class Table:
    """Rows kept as they are: scores, or pictures.

    Example:
        >>> import torch
        >>> from hspace.jobs import Table
        >>> table, other = Table(), Table()
        >>> table.add({"smile": torch.tensor([1.0, 2.0])}), other.add({"smile": torch.tensor([3.0])})
        (2, 1)
        >>> table.absorb(other.state())
        >>> table.rows, table["smile"]
        (3, tensor([1., 2., 3.]))
    """

    def __init__(self) -> None:
        self._parts: list[dict[str, Tensor]] = []
        self.rows = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns, none before the first rows."""
        return tuple(self._parts[0]) if self._parts else ()

    def __getitem__(self, name: str) -> Tensor:
        """A column, on the CPU."""
        return torch.cat([part[name] for part in self._parts])

    def add(self, columns: Mapping[str, Tensor]) -> int:
        """The next rows; names and their order are those of the first.

        Raises:
            HspaceError: They are not.
        """
        if self._parts and tuple(columns) != self.names:
            raise HspaceError(f"the scorer changed its attributes from {', '.join(self.names)} to {', '.join(columns)}")
        part = {name: values.detach().cpu() for name, values in columns.items()}
        n = len(next(iter(part.values())))
        self._parts.append(part)
        self.rows += n
        return n

    def state(self) -> State:
        """Columns, and their names in order."""
        names = list(self.names)
        return State({"names": names}, {str(i): self[name] for i, name in enumerate(names)})

    def restore(self, state: State) -> None:
        """See `Fold`."""
        self._parts, self.rows = [], 0
        self.absorb(state)

    def absorb(self, state: State) -> None:
        """See `Fold`."""
        if state.data["names"]:
            self.add({name: state.tensors[str(i)] for i, name in enumerate(state.data["names"])})


class Together:
    """Several folds of the same rows.

    Args:
        folds: By name.
    """

    def __init__(self, folds: Mapping[str, Fold]) -> None:
        self.folds = dict(folds)

    @property
    def rows(self) -> int:
        """How many have been taken in."""
        return next(iter(self.folds.values())).rows

    def add(self, batch: Mapping[str, Any]) -> int:
        """The next rows, for each fold what it takes."""
        taken = {fold.add(batch[name]) for name, fold in self.folds.items()}
        return taken.pop()

    def state(self) -> State:
        """Of all."""
        return State.joined({name: fold.state() for name, fold in self.folds.items()})

    def restore(self, state: State) -> None:
        """See `Fold`."""
        for name, fold in self.folds.items():
            fold.restore(state.under(name))

    def absorb(self, state: State) -> None:
        """See `Fold`."""
        for name, fold in self.folds.items():
            fold.absorb(state.under(name))
