r"""A direction found on one grid, for another.

The vectors are interpolated linearly in t. Their effect also depends on the grid: symmetric shifts cancel the more
the finer the steps, asymmetric ones don't (Kwon et al. rescale by S_train / S_test). With the gain of each
step over the fine-step limit (`Schedule.gains`), the shift is multiplied by gain(found) / gain(used), so that the sum
of what all steps do to the picture stays the same to first order. The rule is ours. It is exact where the network keeps
a change of x_t; what the network takes back at later steps also depends on eta, so from one eta to another it holds
roughly. A setting equal to the one it was found in changes nothing, bit for bit.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from hspace.diffusion.setting import Setting
from hspace.errors import HspaceError

__all__ = ["check_reach", "retimed"]


def retimed(
    vectors: Float[Tensor, " s *h"], found: Setting, used: Setting, *, rescale: bool = True
) -> Float[Tensor, " r *h"]:
    """Vectors for the grid of `used`.

    Args:
        vectors: On the grid of `found`.
        found: Where they come from.
        used: Where they go.
        rescale: Whether to correct for the gain of the steps; otherwise interpolate only.

    Raises:
        HspaceError: Another model, tap, space or training schedule; or the new grid reaches beyond the old one by more
            than a step of it, where nothing is known of the direction.
    """
    found.check_same_space(used)
    if found.space == "noise":  # a trajectory starts at x_T ~ N(0, 1) on every grid
        return vectors
    old, new = np.array(found.schedule.timesteps, dtype=float), np.array(used.schedule.timesteps, dtype=float)
    check_reach(old, new)
    position = np.interp(-new, -old, np.arange(len(old), dtype=float))  # np.interp wants ascending x
    below = np.floor(position).astype(int)
    above = np.minimum(below + 1, len(old) - 1)
    weight = torch.as_tensor(position - below, dtype=vectors.dtype, device=vectors.device)
    weight = weight.reshape(-1, *[1] * (vectors.ndim - 1))
    result = torch.lerp(vectors[below.tolist()], vectors[above.tolist()], weight)
    if not rescale:
        return result
    gain_old = np.interp(-new, -old, np.log(found.schedule.gains(found.injection)))
    ratio = np.exp(gain_old - np.log(used.schedule.gains(used.injection)))
    scale = torch.as_tensor(ratio, dtype=vectors.dtype, device=vectors.device)
    return result * scale.reshape(-1, *[1] * (vectors.ndim - 1))


def check_reach(old: Float[NDArray[np.float64], " s"], new: Float[NDArray[np.float64], " r"]) -> None:
    """Whether a direction found at timesteps `old` can be used at `new`.

    Raises:
        HspaceError: They reach beyond by more than the grid's largest step.
    """
    slack = np.abs(np.diff(old)).max(initial=0.0)
    if new.max() > old.max() + slack or new.min() < old.min() - slack:
        raise HspaceError(
            f"the direction was found at timesteps {old.max():.0f} to {old.min():.0f} and can't be used at "
            f"{new.max():.0f} to {new.min():.0f}: nothing is known of it there"
        )
