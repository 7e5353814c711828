r"""Sampling grids and their coefficients.

Descending timesteps t_S > ... > t_1 of the training schedule; "t - 1" is the next of them, and behind the last one
alpha is `final_alpha`. One step of the reverse process (Song et al. 2021, eq. 12), with alpha the cumulative product:

    x_{t-1} = sqrt(alpha_{t-1}) x_0 + sqrt(1 - alpha_{t-1} - sigma_t^2) eps + sigma_t z_t
    sigma_t = eta_t sqrt((1 - alpha_{t-1}) / (1 - alpha_t)) sqrt(1 - alpha_t / alpha_{t-1})

eta = 0 is DDIM, eta = 1 is DDPM.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from hspace.errors import HspaceError
from hspace.models.denoiser import Denoiser, Spacing

__all__ = ["Injection", "Schedule", "grid", "make_schedule"]

Injection = Literal["symmetric", "asymmetric"]
"""Symmetric (Haas et al.): the shifted prediction gives both x_0 and eps. Asymmetric (Kwon et al.): x_0 only."""


@dataclass(frozen=True)
class Schedule:
    """A sampling grid: everything a step needs to know, as plain numbers.

    Attributes:
        timesteps: (S,) descending training timesteps.
        alphas: (S,) alpha_t at each.
        final_alpha: alpha behind the last step.
        etas: (S,) eta_t at each.
        train_timesteps: T, the length of the training schedule.

    Example:
        >>> from hspace.diffusion.schedule import Schedule
        >>> schedule = Schedule((2, 1), alphas=(0.1, 0.5), final_alpha=1.0, etas=(1.0, 1.0), train_timesteps=3)
        >>> schedule.alphas_prev
        (0.5, 1.0)
        >>> [round(sigma, 3) for sigma in schedule.sigmas]
        [0.667, 0.0]
    """

    timesteps: tuple[int, ...]
    alphas: tuple[float, ...]
    final_alpha: float
    etas: tuple[float, ...]
    train_timesteps: int

    def __len__(self) -> int:
        return len(self.timesteps)

    def with_eta(self, eta: float | Sequence[float]) -> Schedule:
        """The same grid with another eta: one number, or one for each step.

        Raises:
            HspaceError: Negative, above 1, NaN or of the wrong length.
        """
        return replace(self, etas=_etas(eta, len(self)))

    @property
    def alphas_prev(self) -> tuple[float, ...]:
        """alpha_{t-1} of each step."""
        return (*self.alphas[1:], self.final_alpha)

    @property
    def sigmas(self) -> tuple[float, ...]:
        """sigma_t of each step."""
        return tuple(
            eta * math.sqrt((1 - prev) / (1 - alpha)) * math.sqrt(1 - alpha / prev)
            for alpha, prev, eta in zip(self.alphas, self.alphas_prev, self.etas, strict=True)
        )

    def step(self, i: int, x_0: Float[Tensor, "n ..."], eps: Float[Tensor, "n ..."]) -> Float[Tensor, "n ..."]:
        """Where step i goes to without its noise: sqrt(alpha_{t-1}) x_0 + sqrt(1 - alpha_{t-1} - sigma_t^2) eps."""
        alpha_prev, sigma = self.alphas_prev[i], self.sigmas[i]
        return math.sqrt(alpha_prev) * x_0 + math.sqrt(max(1.0 - alpha_prev - sigma**2, 0.0)) * eps

    def gains(self, injection: Injection) -> Float[NDArray[np.float64], " s"]:
        r"""How much more a change of eps at each step changes the sample than it would in the fine-step limit of DDIM.

        A change d of eps at step t changes x_{t-1} / sqrt(alpha_{t-1}) by -g_t d, where, with
        s = sqrt((1 - alpha) / alpha),

            symmetric:   g_t = s_t - sqrt((1 - alpha_{t-1} - sigma_t^2) / alpha_{t-1})
            asymmetric:  g_t = s_t

        The probability-flow ODE has g_t = s_t - s_{t-1}, whatever the grid; returned is g_t over that. For the
        symmetric shift with eta 0 it is 1; for the asymmetric one it grows with the number of steps (the rule
        S_train / S_test of Kwon et al. is its first order); for a step between equal alphas (a last one where
        `final_alpha` is alpha_1) it is set to 1. The derivation is ours.

        Example:
            >>> from hspace.diffusion.schedule import Schedule
            >>> schedule = Schedule((2, 1), alphas=(0.1, 0.5), final_alpha=1.0, etas=(0.0, 0.0), train_timesteps=3)
            >>> schedule.gains("symmetric").tolist(), schedule.gains("asymmetric").round(2).tolist()
            ([1.0, 1.0], [1.5, 1.0])
        """
        alpha, prev = np.array(self.alphas), np.array(self.alphas_prev)
        noise_to_signal, noise_to_signal_prev = np.sqrt((1 - alpha) / alpha), np.sqrt((1 - prev) / prev)
        kept = np.sqrt(np.clip(1 - prev - np.square(self.sigmas), 0, None) / prev) if injection == "symmetric" else 0.0
        fine = noise_to_signal - noise_to_signal_prev
        return np.asarray(np.divide(noise_to_signal - kept, fine, out=np.ones_like(fine), where=fine > 0), np.float64)


def grid(
    train_timesteps: int, steps: int, spacing: Spacing = "leading", *, steps_offset: int = 0, start: int | None = None
) -> tuple[int, ...]:
    """Descending timesteps, as diffusers' schedulers space them.

    Args:
        train_timesteps: T.
        steps: S, at most T.
        spacing: "leading", "trailing" or "linspace" (Lin et al., arXiv 2305.08891, table 2).
        steps_offset: Added to every timestep of "leading".
        start: The first (highest) timestep. The grid is then "trailing" over 0..start.

    Raises:
        HspaceError: S below 1 or beyond the training grid; start outside of it.

    Example:
        >>> from hspace.diffusion.schedule import grid
        >>> grid(1000, 4), grid(1000, 4, "trailing"), grid(1000, 4, start=499)
        ((750, 500, 250, 0), (999, 749, 499, 249), (499, 374, 249, 124))
    """
    if steps < 1:
        raise HspaceError(f"steps must be at least 1, not {steps}")
    if start is not None:
        if not 0 <= start < train_timesteps:
            raise HspaceError(f"start must be a timestep from 0 to {train_timesteps - 1}, not {start}")
        return grid(start + 1, steps, "trailing")
    if steps > train_timesteps:
        raise HspaceError(f"{steps} steps are beyond the training grid, which has {train_timesteps} timesteps here")
    if spacing == "trailing":
        timesteps = np.round(np.arange(train_timesteps, 0, -train_timesteps / steps))[:steps] - 1
    elif spacing == "linspace":
        timesteps = np.linspace(0, train_timesteps - 1, steps).round()[::-1]
    else:
        timesteps = np.arange(steps)[::-1] * (train_timesteps // steps) + steps_offset
    return tuple(int(t) for t in timesteps)


def make_schedule(
    model: Denoiser,
    steps: int,
    eta: float | Sequence[float] = 1.0,
    *,
    start: int | None = None,
    spacing: Spacing | None = None,
) -> Schedule:
    """The sampling grid of a model.

    Args:
        model: Gives alphas_cumprod and the defaults of `start` and `spacing`.
        steps: S.
        eta: One number, or S numbers from the first step (highest t) to the last.
        start: Highest timestep; default: the model's.
        spacing: Default: the model's.

    Raises:
        HspaceError: As `grid`; eta negative, above 1, NaN or of the wrong length.
    """
    start = model.start if start is None else start
    total = len(model.alphas_cumprod)
    timesteps = grid(total, steps, spacing or model.spacing, steps_offset=model.steps_offset, start=start)
    if timesteps[0] >= total:
        raise HspaceError(f"the grid's first timestep {timesteps[0]} is beyond the training grid's last, {total - 1}")
    alphas = tuple(float(model.alphas_cumprod[t]) for t in timesteps)
    return Schedule(timesteps, alphas, model.final_alpha, _etas(eta, steps), total)


def _etas(eta: float | Sequence[float], steps: int) -> tuple[float, ...]:
    etas = tuple(float(e) for e in eta) if isinstance(eta, Sequence) else (float(eta),) * steps
    if len(etas) != steps:
        raise HspaceError(f"eta has {len(etas)} values for {steps} steps")
    if not all(0.0 <= e <= 1.0 for e in etas):
        raise HspaceError(f"eta must be within 0 and 1, not {eta}")
    return etas
