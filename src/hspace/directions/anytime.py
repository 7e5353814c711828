r"""A direction at any timestep, for loops that don't tell their grid in advance.

The rule is that of `hspace.directions.retime`: vectors are linear in t between the timesteps of the direction's grid,
and multiplied by gain(found) / gain(used), the logarithm of each gain linear in t between those of its own grid.

    v(t) = (1 - w) v_i + w v_j,   t = (1 - w) t_i + w t_j

On the direction's own grid, eta and injection that is the direction itself, bit for bit. Everything is computed where
h is, so that a timestep that is a number on a GPU need not be read.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from hspace.diffusion.gains import Gains
from hspace.diffusion.schedule import Injection
from hspace.diffusion.setting import Setting

__all__ = ["GainsNow", "Interpolated", "Rescaled", "Share"]

GainsNow = Callable[[], "Gains | None"]
"""The gains of the loop as it is now, the same object as long as they are the same; None where they are 1."""


class Interpolated:
    """Tensors given at some timesteps; linear in t in between, beyond them that of the nearest, as `numpy.interp`.

    Args:
        timesteps: (K,) in any order, all different.
        values: (K, ...), one for each.

    Example:
        >>> import torch
        >>> from hspace.directions.anytime import Interpolated
        >>> line = Interpolated((9, 5, 1), torch.tensor([90.0, 50.0, 10.0]))
        >>> line(torch.tensor([9.0, 6.0, 0.0])).tolist()
        [90.0, 60.0, 10.0]
    """

    def __init__(
        self, timesteps: tuple[int, ...] | Float[NDArray[np.float64], " k"], values: Float[Tensor, "k ..."]
    ) -> None:
        order = np.argsort(timesteps)
        self.timesteps = torch.as_tensor(np.asarray(timesteps, dtype=np.float32)[order])
        self.values = values[order.tolist()]

    def __call__(self, timesteps: Float[Tensor, " n"]) -> Float[Tensor, "n ..."]:
        """The tensors at timesteps (n,), float32, on their device."""
        if self.values.device != timesteps.device:  # once
            self.timesteps, self.values = self.timesteps.to(timesteps.device), self.values.to(timesteps.device)
        knots, last = self.timesteps, len(self.timesteps) - 1
        above = torch.searchsorted(knots, timesteps).clamp(min(1, last), last)
        below = (above - 1).clamp(min=0)
        low, high = knots.index_select(0, below), knots.index_select(0, above)  # `knots[below]` might wait
        weight = ((timesteps - low) / (high - low)).nan_to_num(0.0).clamp(0.0, 1.0).to(self.values.dtype)
        start, end = self.values.index_select(0, below), self.values.index_select(0, above)
        return torch.lerp(start, end, weight.reshape(-1, *[1] * (self.values.ndim - 1)))


class Rescaled:
    """The vectors of a direction at any timestep, corrected for the gain of the loop's steps.

    Args:
        vectors: On the grid of `found`.
        found: Where they come from.
        used: The gains of the loop's steps; None: vectors go in as they are.
        injection: How they go in.
    """

    def __init__(
        self, vectors: Float[Tensor, " s *h"], found: Setting, used: GainsNow | None, injection: Injection
    ) -> None:
        self._vectors = Interpolated(found.schedule.timesteps, vectors)
        self._found = found
        self._used = used
        self._injection = injection
        self._log_ratio: tuple[Gains | None, Interpolated | None] | None = None

    def __call__(self, timesteps: Float[Tensor, " n"]) -> Float[Tensor, " n *h"]:
        """(n, *h_shape)."""
        vectors = self._vectors(timesteps)
        if self._used is None:
            return vectors
        gains = self._used()
        if self._log_ratio is None or self._log_ratio[0] is not gains:
            self._log_ratio = (gains, self._log_ratio_to(gains))
        along = self._log_ratio[1]
        if along is None:
            return vectors
        return vectors * along(timesteps).exp().to(vectors.dtype).reshape(-1, *[1] * (vectors.ndim - 1))

    def _log_ratio_to(self, used: Gains | None) -> Interpolated | None:
        """log gain(found) - log gain(used), a polygon over the timesteps of both grids; None where it is 0."""
        schedule = self._found.schedule
        old = np.array(schedule.timesteps[::-1], dtype=float)
        knots = old if used is None else np.union1d(old, used.timesteps)
        ratio = np.interp(knots, old, np.log(schedule.gains(self._found.injection)[::-1]))
        if used is not None:
            ratio = ratio - np.interp(knots, used.timesteps, np.log(used.of(self._injection)))
        return Interpolated(knots, torch.as_tensor(ratio)) if ratio.any() else None


class Share:
    """How far a prediction goes towards the shifted one in an asymmetric edit: a_t / g_t at any timestep.

    Args:
        used: The gains of the loop's steps.
    """

    def __init__(self, used: GainsNow) -> None:
        self._used = used
        self._log_share: tuple[Gains, Interpolated] | None = None

    def __call__(self, timesteps: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """(n,)."""
        gains = self._used()
        assert gains is not None  # those of an asymmetric shift are never all 1
        if self._log_share is None or self._log_share[0] is not gains:
            log_share = torch.as_tensor(np.log(gains.asymmetric / gains.symmetric))
            self._log_share = (gains, Interpolated(gains.timesteps, log_share))
        return self._log_share[1](timesteps).exp()
