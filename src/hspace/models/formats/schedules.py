r"""The schedules of the original codes, as diffusers' DDIMScheduler is told of them.

With T training timesteps:

    linear:   beta from 0.1 / T to 20 / T                                          (Ho et al., arXiv 2006.11239)
    cosine:   alpha_bar(u) = cos^2(pi/2 (u + 0.008) / 1.008), beta at most 0.999   (Nichol & Dhariwal, arXiv 2102.09672)
    sigmoid:  alpha_bar(u) = (s(3) - s(6u - 3)) / (s(3) - s(-3)), beta at most 0.999   (Jabri et al., arXiv 2212.11972)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from hspace.errors import HspaceError
from hspace.models.prediction import PredictionType

__all__ = ["OPTIONS", "Beta", "described", "schedule"]

Beta = Literal["linear", "cosine", "sigmoid"]

OPTIONS = frozenset({"schedule", "train_timesteps", "prediction_type"})
"""What may be said of a schedule where the file doesn't."""


def schedule(
    options: Mapping[str, Any], *, clip_sample: bool, betas: Tensor | None = None, prediction_type: str = "epsilon"
) -> dict[str, Any]:
    """What diffusers' DDIMScheduler is built with.

    Args:
        options: Those of OPTIONS that the user has given; else 1000 timesteps, linear.
        clip_sample: Whether the original clips x_0 while it samples.
        betas: Those of the file, which come before the options.
        prediction_type: Where the options don't say.

    Raises:
        HspaceError: An unknown schedule, betas that leave (0, 1), no timesteps.
    """
    kind, steps = options.get("schedule", "linear"), options.get("train_timesteps", 1000)
    if kind not in get_args(Beta):
        raise HspaceError(f"schedule must be one of {', '.join(get_args(Beta))}, not {kind!r}")
    prediction_type = options.get("prediction_type", prediction_type)
    known = [kind for kind in get_args(PredictionType) if kind != "flow"]  # no original layout has that
    if prediction_type not in known:
        raise HspaceError(f"prediction_type must be one of {', '.join(known)}, not {prediction_type!r}")
    if steps <= 20:  # a linear beta would reach 1
        raise HspaceError(f"train_timesteps must be more than 20, not {steps}")
    made: dict[str, Any] = {
        "num_train_timesteps": steps,
        "prediction_type": prediction_type,
        "clip_sample": clip_sample,
    }
    if betas is not None:
        if betas.ndim != 1 or not bool(((betas > 0) & (betas < 1)).all()):
            raise HspaceError("betas must be one row of numbers between 0 and 1")
        return {**made, "num_train_timesteps": len(betas), "trained_betas": betas.tolist()}
    if kind == "cosine":
        return {**made, "beta_schedule": "squaredcos_cap_v2"}
    if kind == "sigmoid":
        return {**made, "trained_betas": _sigmoid(steps).tolist()}
    return {**made, "beta_schedule": "linear", "beta_start": 0.1 / steps, "beta_end": 20 / steps}


def described(options: Mapping[str, Any]) -> tuple[str, ...]:
    """A note of what was assumed of the schedule."""
    given = [options.get("schedule"), options.get("train_timesteps"), options.get("prediction_type")]
    parts = ["a linear schedule", "1000 training timesteps", "a prediction of eps"]
    assumed = [part for part, value in zip(parts, given, strict=True) if value is None]
    return (f"assumed, since the file doesn't say: {', '.join(assumed)}",) if assumed else ()


def _sigmoid(steps: int) -> Tensor:
    u = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    low, high = torch.tensor([-3.0, 3.0], dtype=torch.float64).sigmoid()
    alphas_cumprod = (high - (6 * u - 3).sigmoid()) / (high - low)
    betas: Tensor = 1 - alphas_cumprod[1:] / alphas_cumprod[:-1]
    return betas.clamp(max=0.999)
