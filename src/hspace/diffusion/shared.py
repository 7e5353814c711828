"""A batch whose rows share what none of them has changed yet.

Rows of the same sample go as one until their edits begin to act; each then goes on alone. What is known of unedited
trajectories is not computed again.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from hspace.device import sent
from hspace.diffusion.ahead import Noise
from hspace.diffusion.changes import Bound, of_rows
from hspace.diffusion.intervention import Recorder, ShiftAt
from hspace.diffusion.latents import Latents
from hspace.diffusion.prefix import Known
from hspace.diffusion.schedule import Injection, Schedule
from hspace.diffusion.step import stepped
from hspace.models.denoiser import Denoiser
from hspace.progress import Advance

__all__ = ["shared_batch"]


def shared_batch(
    model: Denoiser,
    schedule: Schedule,
    latents: Latents,
    samples: Sequence[Hashable],
    edits: Sequence[Bound],
    injection: Injection,
    known: Known,
    where: slice,
    record: Recorder | None,
    visit: Recorder | None,
    advance: Advance,
) -> Tensor:
    """x_0 of a batch, as `Sampler.run` with `prefixes`.

    A *state* is an x_t that some rows have in common: those of a sample whose edits have not acted yet, or with the
    same edit.

    Args:
        model: The denoiser.
        schedule: The grid.
        latents: Of the batch.
        samples: Identity of each row's sample.
        edits: Of each row.
        injection: How shifts go in.
        known: Unedited trajectories; what is computed of them is added.
        where: The rows in the run.
        record: As in `Sampler.run`; with it every step is computed, for the sake of h.
        visit: As in `Sampler.run`.
        advance: Told of every row and step.
    """
    first = {sample: row for row, sample in reversed(list(enumerate(samples)))}
    columns = {sample: column for column, sample in enumerate(dict.fromkeys(samples))}
    distinct = latents[[first[sample] for sample in columns]]
    start = sent(distinct.x_T(), model.device).to(model.state_dtype)

    acting: list[Bound | None] = [None if edit.start is None else edit for edit in edits]  # of each row, once it acts
    states = _States(samples, acting)
    parts = []
    for sample, edit in states.distinct:
        x = _picked(start, [columns[sample]])
        parts.append(x if edit is None or edit.start is None else x + edit.start.to(x))
    x_t = _joined(parts)
    with Noise(distinct, schedule, model.device) as noise:
        for i, timestep in enumerate(schedule.timesteps):
            acts: dict[ShiftAt, bool] = {}
            for row, edit in enumerate(edits):
                if acting[row] is None and (shift_at := edit.shift_at) is not None:
                    if shift_at not in acts:
                        acts[shift_at] = shift_at(timestep) is not None
                    acting[row] = edit if acts[shift_at] else None
            before, states = states, _States(samples, acting)
            sources = before.sources_of(states)
            x_t = _picked(x_t, sources)
            if visit is not None:
                visit(timestep, _picked(x_t, states.of_row), where)

            after: list[Tensor | None] = [
                known.get(sample, i + 1) if edit is None and record is None else None
                for sample, edit in states.distinct
            ]
            todo = [j for j, x in enumerate(after) if x is None]
            if todo:
                todo, copies = _in_blocks(todo, sources) if injection == "asymmetric" else (todo, 1)
                chosen = [states.distinct[j] for j in todo]
                z = noise.at(i)
                z = None if z is None else _picked(z, [columns[sample] for sample, _ in chosen])
                change = of_rows([None if edit is None else edit.shift_at for _, edit in chosen])(timestep)
                x = _picked(x_t, todo[: len(todo) // copies])
                x_prev, h = stepped(model, schedule, i, x, z, change, injection, copies)
                for k, j in enumerate(todo):
                    after[j] = x_prev[k : k + 1]
                    if (plain := states.distinct[j])[1] is None:
                        known.put(plain[0], i + 1, x_prev[k : k + 1])
                if record is not None:
                    record(timestep, _picked(h, [todo.index(j) for j in states.of_row]), where)
                x_t = x_prev if todo == list(range(len(after))) else _joined(after)
            else:
                x_t = _joined(after)
            advance(len(samples))
    return _picked(x_t, states.of_row)


class _States:
    """Which rows go as one.

    Attributes:
        distinct: (sample, edit that acts on it) of each state.
        of_row: State of each row.
    """

    def __init__(self, samples: Sequence[Hashable], acting: Sequence[Bound | None]) -> None:
        self._of: dict[tuple[Hashable, int | None], int] = {}
        self.distinct: list[tuple[Hashable, Bound | None]] = []
        self.of_row: list[int] = []
        for sample, edit in zip(samples, acting, strict=True):
            key = (sample, None if edit is None else id(edit))
            if key not in self._of:
                self._of[key] = len(self.distinct)
                self.distinct.append((sample, edit))
            self.of_row.append(self._of[key])

    def sources_of(self, later: _States) -> list[int]:
        """For each state of later: which of these it comes from."""
        return [
            self._of.get((sample, None if edit is None else id(edit)), self._of.get((sample, None), -1))
            for sample, edit in later.distinct
        ]


def _in_blocks(states: list[int], sources: Sequence[int]) -> tuple[list[int], int]:
    """The states in blocks of one of each x_t that they come from, and how many blocks; as they are where none fit."""
    by_source: dict[int, list[int]] = {}
    for state in states:
        by_source.setdefault(sources[state], []).append(state)
    groups = list(by_source.values())
    copies = len(groups[0])
    if any(len(group) != copies for group in groups):
        return states, 1
    return [group[k] for k in range(copies) for group in groups], copies


def _picked(x: Tensor, rows: Sequence[int]) -> Tensor:
    """Some rows; without numbers that a GPU would have to wait for, and with x itself where they are all."""
    if list(rows) == list(range(len(x))):
        return x
    return _joined([x[row : row + 1] for row in rows])


def _joined(parts: Sequence[Tensor | None]) -> Tensor:
    """Rows in one tensor; a single one as it is, for last bits depend on its memory layout."""
    found = [part for part in parts if part is not None]
    return found[0] if len(found) == 1 else torch.cat(found)
