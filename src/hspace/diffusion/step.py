"""One step of the reverse process, for the sampler and for gradients through it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hspace.diffusion.schedule import Injection, Schedule
from hspace.models.denoiser import Denoiser

__all__ = ["Change", "stepped"]

Change = Callable[[Tensor], Tensor]
"""What becomes of h, (n, *h_shape)."""


def stepped(
    model: Denoiser,
    schedule: Schedule,
    i: int,
    x_t: Tensor,
    z: Tensor | None,
    change: Change | None,
    injection: Injection,
    copies: int = 1,
) -> tuple[Tensor, Tensor]:
    """From x_t to x_{t-1}, and h before it was changed.

    Args:
        model: The denoiser.
        schedule: The grid.
        i: Number of the step on it.
        x_t: (n, c, h, w).
        z: Noise of the step; None where sigma is 0.
        change: Of h; None for none.
        injection: Whether the changed h counts in x_0 and eps, or in x_0 only.
        copies: k for an asymmetric change of k rows of each x_t: z and what is returned have k blocks of n rows, and
            `change` is given as many; the encoder and the decoder of eps see x_t alone.
    """
    timestep = schedule.timesteps[i]
    if change is None or injection == "symmetric":
        (eps, x_0), h = model.observe(x_t, timestep, change=change)
    else:
        encoding = model.encode(x_t, timestep)
        h, eps = encoding.h, model.decode(encoding).eps  # apart: in one batch a shift of 0 would change last bits
        if copies > 1:
            h, eps = (torch.cat([x] * copies) for x in (h, eps))
        x_0 = model.decode(encoding, change(h)).x_0
    x_prev = schedule.step(i, x_0, eps)
    return (x_prev if z is None else x_prev + schedule.sigmas[i] * z.to(x_prev)), h
