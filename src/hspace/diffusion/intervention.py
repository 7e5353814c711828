"""What the sampler asks of an edit; `hspace.directions` has the edits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hspace.diffusion.schedule import Injection
from hspace.diffusion.setting import Setting

__all__ = ["Blend", "ChangeOfH", "Intervention", "Recorder", "RunChange", "ShiftAt"]


@dataclass(frozen=True, eq=False)
class Blend:
    """h becomes keep * h + shift: with keep 0 h is replaced, exactly.

    Attributes:
        keep: Broadcastable to h_shape.
        shift: (*h_shape).
    """

    keep: Tensor
    shift: Tensor


ShiftAt = Callable[[int], "Tensor | Blend | None"]
"""timestep -> shift of h, shape h_shape, or a blend; None where nothing changes."""

ChangeOfH = Callable[[int, Tensor, slice], Tensor]
"""(timestep, h (b, *h_shape), rows of the run) -> what becomes of h, the same whenever it is asked."""


@dataclass(frozen=True, eq=False)
class RunChange:
    """A change of all rows of a run together, which may depend on h, such as a network's.

    Attributes:
        change: What becomes of h at every step.
        injection: How it goes in.
    """

    change: ChangeOfH
    injection: Injection = "symmetric"


Recorder = Callable[[int, Tensor, slice], None]
"""Called at every step of every batch with the timestep, a tensor of b rows on the model's device, and the rows of the
run that the batch holds. The tensor is h before any shift (b, *h_shape), in the network's dtype (`record`), or x_t
(b, c, h, w) before the step (`visit`). A batch that ran out of memory starts again from its first timestep."""


@runtime_checkable
class Intervention(Protocol):
    """A change of h along a run."""

    @property
    def injection(self) -> Injection | None:
        """How the shift goes in; None: as the others of the run have it, or symmetric."""

    def bind(self, setting: Setting, device: torch.device) -> ShiftAt | None:
        """The shifts for one run's setting; None if nothing ever changes.

        Raises:
            HspaceError: It does not fit the model or the grid.
        """

    def bind_start(self, setting: Setting, device: torch.device) -> Tensor | None:
        """Shift of x_T, of its shape; None if the trajectory starts where it did.

        Raises:
            HspaceError: It does not fit the model.
        """
