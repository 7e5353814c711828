"""What the sampler asks of an edit; `hspace.directions` has the edits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hspace.diffusion.schedule import Injection
from hspace.diffusion.setting import Setting

__all__ = ["Intervention", "Recorder", "ShiftAt"]

ShiftAt = Callable[[int], "Tensor | None"]
"""timestep -> shift of h, shape h_shape; None where nothing changes."""

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
