r"""How much a change of eps counts in the steps of a scheduler of diffusers; see `Schedule.gains`.

A deterministic sampler (DDIM, DPM-Solver++, Euler, UniPC, PNDM, ...) approximates the probability-flow ODE: its gain is
1, whatever its grid and order. One that adds fresh noise (DDPM, the ancestral ones, SDE variants of DPM-Solver) goes in
expectation like DDIM with eta = 1, and its gain depends on the step: with s = sqrt((1 - alpha) / alpha)

    g_t = 1 + s_{t-1} / s_t

which is nearly 2 for small steps.

In a pipeline a prediction gives x_0 and eps together. To shift x_0 alone (the asymmetric injection), with eps and eps'
the plain and the shifted prediction, it is

    eps + (a_t / g_t) (eps' - eps)

where a_t is the gain of the asymmetric shift: that gives the very x_{t-1} wherever a step is linear in the prediction
(DDIM, DDPM, Euler, Euler ancestral), and to first order in the multistep solvers. v and x_0 are linear in eps at a
given x_t, so that the same holds for networks that predict them. The derivation is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hspace.diffusion.schedule import Injection, Schedule
from hspace.errors import HspaceError

__all__ = ["Gains", "check_asymmetric", "eta_of", "gains_of"]

_FRESH_NOISE = {
    "DDPMScheduler",
    "DDPMParallelScheduler",
    "DPMSolverSDEScheduler",
    "EulerAncestralDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
}

_BETWEEN_STEPS = {"DPMSolverSDEScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler"}


@dataclass(frozen=True, eq=False)
class Gains:
    """Gains at the timesteps of a grid, all (S,), timesteps ascending."""

    timesteps: NDArray[np.float64]
    symmetric: NDArray[np.float64]
    asymmetric: NDArray[np.float64]

    @classmethod
    def on(cls, schedule: Schedule, timesteps: NDArray[np.float64] | None = None) -> Gains:
        """Those of a grid of ours; `timesteps`: its own where they are no integers, descending."""
        found = np.array(schedule.timesteps, dtype=float) if timesteps is None else timesteps
        return cls(found[::-1], schedule.gains("symmetric")[::-1], schedule.gains("asymmetric")[::-1])

    def of(self, injection: Injection) -> NDArray[np.float64]:
        """Those of one injection."""
        return self.symmetric if injection == "symmetric" else self.asymmetric


def eta_of(scheduler: Any) -> float:
    """1 for a scheduler that adds fresh noise, 0 for others; that of DDIM is an argument of the pipeline's call."""
    names = _names(scheduler)
    algorithm = str(getattr(getattr(scheduler, "config", None), "algorithm_type", ""))
    return 1.0 if names & _FRESH_NOISE or algorithm.startswith("sde") else 0.0


def check_asymmetric(scheduler: Any) -> None:
    """Whether the network is asked at the steps of a scheduler's grid only, so that a step is known from it.

    Raises:
        HspaceError: It is asked in between as well.
    """
    config = getattr(scheduler, "config", None)
    between = "PNDMScheduler" in _names(scheduler) and not getattr(config, "skip_prk_steps", False)
    if between or _names(scheduler) & _BETWEEN_STEPS:
        advice = "set skip_prk_steps=True" if between else "take another one"
        name = type(scheduler).__name__
        raise HspaceError(f"{name} asks the network between its steps, where no asymmetric edit is known: {advice}")


def gains_of(scheduler: Any, eta: float) -> Gains:
    """Those of the grid that a scheduler is set to.

    Raises:
        HspaceError: It has no `alphas_cumprod`.
    """
    cumprod = getattr(scheduler, "alphas_cumprod", None)
    if not isinstance(cumprod, Tensor):
        raise HspaceError(f"{type(scheduler).__name__} has no alphas_cumprod: the gain of its steps isn't known")
    alphas = cumprod.detach().double().cpu().numpy()
    timesteps = np.unique(scheduler.timesteps.detach().double().cpu().numpy())[::-1]  # waits for a GPU, once a run
    along = tuple(float(alpha) for alpha in np.interp(timesteps, np.arange(len(alphas)), alphas))
    final = float(getattr(scheduler, "final_alpha_cumprod", 1.0))
    rounded = tuple(int(t) for t in timesteps)
    return Gains.on(Schedule(rounded, along, final, (eta,) * len(along), len(alphas)), timesteps)


def _names(scheduler: Any) -> set[str]:
    """Of its class and of those it derives from."""
    return {kind.__name__ for kind in type(scheduler).__mro__}
