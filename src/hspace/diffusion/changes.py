"""What becomes of the h of a batch whose rows have edits of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hspace.diffusion.intervention import Blend, RunChange, ShiftAt
from hspace.diffusion.step import Change

__all__ = ["Bound", "ChangeAt", "of_rows", "of_run"]

ChangeAt = Callable[[int], "Change | None"]
"""timestep -> what becomes of h; None where nothing changes."""


class Bound(NamedTuple):
    """An edit made ready for one run."""

    shift_at: ShiftAt | None = None
    start: Tensor | None = None


def of_run(edit: RunChange, where: slice) -> ChangeAt:
    """timestep -> what becomes of the h of a batch."""
    return lambda timestep: lambda h: edit.change(timestep, h, where)


def of_rows(rows: Sequence[ShiftAt | None]) -> ChangeAt:
    """timestep -> what becomes of the h (b, *h_shape) of a batch; None where nothing changes."""
    distinct = list(dict.fromkeys(rows))

    def stacked(by_row: dict[ShiftAt | None, Tensor]) -> Tensor:
        """(b, *h_shape), or (1, *h_shape) where all rows share one."""
        return torch.stack([by_row[row] for row in (rows if len(distinct) > 1 else distinct)])

    def change_at(timestep: int) -> Change | None:
        drawn = {row: row(timestep) if row else None for row in distinct}
        found = [change for change in drawn.values() if change is not None]
        if not found:
            return None
        some = found[0].shift if isinstance(found[0], Blend) else found[0]
        shifts, keeps = {}, {}
        for row, change in drawn.items():
            shifts[row] = change.shift if isinstance(change, Blend) else torch.zeros_like(some)
            if isinstance(change, Tensor):
                shifts[row] = change
            keeps[row] = change.keep.expand_as(some) if isinstance(change, Blend) else torch.ones_like(some)
        shift = stacked(shifts)
        if not any(isinstance(change, Blend) for change in found):
            return lambda h: h + shift.to(h)
        keep = stacked(keeps)
        return lambda h: h * keep.to(h) + shift.to(h)  # h first: its memory layout stays, on which last bits depend

    return change_at
