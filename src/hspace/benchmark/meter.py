"""What a method costs, in calls of the network: its arithmetic over that of one pass for one picture.

Forward and backward passes, parts of the network and networks beside it are counted alike, by the floating-point
operations of their convolutions and matrix products.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from hspace.models import Denoiser

__all__ = ["Meter"]


class Meter(TorchDispatchMode):
    """Counts while it is entered.

    Args:
        model: Whose calls are the unit.

    Example:
        >>> import hspace
        >>> from hspace.benchmark import Meter
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2)
        >>> with Meter(sampler.model) as meter:
        ...     _ = sampler.run(range(3))
        >>> meter.calls
        6.0
    """

    def __init__(self, model: Denoiser) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = 0
        self._one = 1
        _ = model.h_shape, model.can_replay  # take runs of the network, once: not now and then among what is counted
        x_t = torch.zeros(1, *model.image_shape, device=model.device, dtype=model.state_dtype)
        with torch.no_grad(), self:
            model.predict(x_t, 0)
        self._one, self.operations = max(self.operations, 1), 0

    @property
    def calls(self) -> float:
        """So far."""
        return self.operations / self._one

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Lets everything through."""
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.operations += count(*args, **(kwargs or {}), out_val=out)
        return out
