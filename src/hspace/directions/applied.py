"""An edit inside somebody else's pipeline.

`hspace.diffusion.pipelines` watches their loop, `hspace.directions.anytime` says what a direction is at a timestep that
isn't on its grid; here the two meet. `Direction.applied` and `Edit.applied` are what people call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hspace.diffusion.gains import Gains
from hspace.diffusion.pipelines import Loop
from hspace.diffusion.schedule import Injection, Schedule
from hspace.directions.anytime import GainsNow, Rescaled, Share
from hspace.directions.retime import check_reach
from hspace.errors import HspaceError

if TYPE_CHECKING:
    from hspace.directions.edit import Edit, Term

__all__ = ["applied"]


@contextmanager
def applied(
    edit: Edit, pipe: Any, *, conditional_only: bool, eta: float | None, rescale: bool, check_weights: bool
) -> Iterator[None]:
    """See `Edit.applied`."""
    loop = Loop(pipe)
    _check(edit, loop, check_weights)
    if conditional_only:
        loop.check_conditional()
    if eta is not None and not 0 <= eta <= 1:
        raise HspaceError(f"eta must be within 0 and 1, not {eta}")
    if all(term.strength == 0 for term in edit.terms):  # the original, bit for bit
        yield
        return
    shift = _Shift(edit, loop, eta, rescale)
    with loop.hooked(edit.terms[0].direction.setting.tap, shift, conditional_only=conditional_only):
        yield
    shift.check_unread()


def _check(edit: Edit, loop: Loop, check_weights: bool) -> None:
    """Whether an edit can act in a loop."""
    for term in edit.terms:
        if term.in_noise:
            raise HspaceError(
                f"{term.direction.name!r} is a direction of x_T, not of h: add its vectors to the pipeline's latents"
            )
    first = edit.terms[0].direction.setting
    for setting in (term.direction.setting for term in edit.terms[1:]):
        first.check_same_space(setting if check_weights else replace(setting, weight_hash=first.weight_hash))
    loop.check(first, edit.terms[0].direction.name, weights=check_weights)


def _gains(schedule: Schedule, loop: Loop, eta: float | None, injection: Injection) -> GainsNow:
    """Of a bare network's loop nothing is known: it is taken to go in the steps of the direction."""
    if loop.scheduler is not None:
        return lambda: loop.gains(eta, injection)
    own = Gains.on(schedule if eta is None else schedule.with_eta(eta))
    return lambda: own


class _Acting:
    """A term at any timestep."""

    def __init__(self, term: Term, gains: GainsNow | None, injection: Injection) -> None:
        self._term = term
        self._mask = term.mask
        self._grid = np.array(term.direction.timesteps, dtype=float)
        self._vectors = Rescaled(term.direction.vectors, term.direction.setting, gains, injection)
        self._unread: tuple[Tensor, Tensor] | None = None

    def acts_at(self, timesteps: Float[Tensor, " k"]) -> Bool[Tensor, " k"]:
        """Whether it does."""
        first, last = self._term.window or (np.inf, -np.inf)
        return (timesteps <= first) & (timesteps >= last)

    def shift(self, timesteps: Float[Tensor, " k"]) -> Float[Tensor, " k *h"]:
        """What it adds to h where it acts."""
        if self._mask is not None:
            self._mask = self._mask.to(timesteps.device)  # once
        return self._term.moved(self._vectors(timesteps), self._mask)

    def begins(self, timesteps: list[float] | Tensor) -> bool:
        """Whether it may act in a pass; of timesteps on a GPU the extremes are kept there."""
        if not isinstance(timesteps, Tensor):
            inside = [t for t in timesteps if self._term.acts_at(t)]
            if inside:
                check_reach(self._grid, np.array(inside))
            return bool(inside)
        found = timesteps.float()
        acts = self.acts_at(found)
        lowest, highest = torch.where(acts, found, np.inf).min(), torch.where(acts, found, -np.inf).max()
        if self._unread is not None:
            lowest, highest = torch.minimum(lowest, self._unread[0]), torch.maximum(highest, self._unread[1])
        self._unread = (lowest, highest)
        return True

    def check_unread(self) -> None:
        """Whether the direction was known at the timesteps that nobody has read."""
        if self._unread is None:
            return
        lowest, highest = (float(end) for end in self._unread)
        if lowest <= highest:
            check_reach(self._grid, np.array([lowest, highest]))


class _Shift:
    """An edit at any timestep; see `hspace.diffusion.pipelines.Shift`."""

    def __init__(self, edit: Edit, loop: Loop, eta: float | None, rescale: bool) -> None:
        setting, injection = edit.terms[0].direction.setting, edit.injection or "symmetric"

        def gains(schedule: Schedule) -> GainsNow:
            return _gains(schedule, loop, eta, injection)

        self._terms = [
            _Acting(term, gains(term.direction.setting.schedule) if rescale else None, injection)
            for term in edit.terms
            if term.strength != 0
        ]
        self._h_shape = setting.h_shape
        self.asymmetric = Share(gains(setting.schedule)) if injection == "asymmetric" else None

    def begins(self, timesteps: list[float] | Tensor) -> bool:
        """Whether a term may act."""
        may_act = [acting.begins(timesteps) for acting in self._terms]
        return any(may_act)

    def __call__(self, h: Float[Tensor, " n *h"], timesteps: Float[Tensor, " k"]) -> Float[Tensor, " n *h"]:
        """h and what the terms add to it; outside of all windows h as it is, bit for bit."""
        if tuple(h.shape[1:]) != self._h_shape:
            raise HspaceError(f"the direction is one of h of shape {self._h_shape}, h is {tuple(h.shape[1:])} here")
        column = (-1, *[1] * len(self._h_shape))
        acts = [acting.acts_at(timesteps).reshape(column) for acting in self._terms]
        parts = [torch.where(a, acting.shift(timesteps), 0.0) for a, acting in zip(acts, self._terms, strict=True)]
        shifted = h + sum(parts[1:], start=parts[0]).to(h)
        return torch.where(torch.stack(acts).any(0), shifted, h)

    def check_unread(self) -> None:
        """Whether the terms were known at the timesteps that nobody has read."""
        for acting in self._terms:
            acting.check_unread()
