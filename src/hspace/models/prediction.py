r"""What networks are trained to return, as eps and x_0.

With alpha_t = `alphas_cumprod[t]` (Ho et al., arXiv 2006.11239; for v Salimans & Ho, arXiv 2202.00512):

    epsilon:  x_0 = (x_t - sqrt(1 - alpha_t) eps) / sqrt(alpha_t)
    v:        x_0 = sqrt(alpha_t) x_t - sqrt(1 - alpha_t) v,    eps = sqrt(alpha_t) v + sqrt(1 - alpha_t) x_t
    sample:   eps = (x_t - sqrt(alpha_t) x_0) / sqrt(1 - alpha_t)

Flow matching on straight lines (Esser et al., arXiv 2403.03206) has states x' = (1 - s) x_0 + s eps. They are those
above on another scale, with s = sqrt(1 - alpha_t) / (sqrt(alpha_t) + sqrt(1 - alpha_t)), and Euler's steps between them
are DDIM's:

    flow:     x' = x_t / (sqrt(alpha_t) + sqrt(1 - alpha_t)),    x_0 = x' - s v,    eps = x' + (1 - s) v
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Prediction", "PredictionType", "alphas_of_flow", "flow_state", "predicted"]

PredictionType = Literal["epsilon", "v_prediction", "sample", "flow"]


class Prediction(NamedTuple):
    """What a network says of x_t: the noise in it and the picture behind it, both of x_t's shape and dtype."""

    eps: Tensor
    x_0: Tensor


def predicted(kind: PredictionType, output: Tensor, x_t: Tensor, alpha: float) -> Prediction:
    """eps and x_0 of a network's output.

    Args:
        kind: What the network returns.
        output: Of the network, of x_t's shape.
        x_t: (n, c, h, w).
        alpha: `alphas_cumprod` at the timestep.

    Example:
        >>> import torch
        >>> from hspace.models.prediction import predicted
        >>> predicted("sample", torch.zeros(1), torch.ones(1), 0.75).eps
        tensor([2.])
    """
    signal, noise = math.sqrt(alpha), math.sqrt(1.0 - alpha)
    if kind == "flow":
        scale, s = flow_state(alpha)
        return Prediction(scale * x_t + (1 - s) * output, scale * x_t - s * output)
    convert: dict[PredictionType, Callable[[], Prediction]] = {
        "epsilon": lambda: Prediction(output, (x_t - noise * output) / signal),
        "v_prediction": lambda: Prediction(signal * output + noise * x_t, signal * x_t - noise * output),
        "sample": lambda: Prediction((x_t - signal * output) / noise, output),
    }
    return convert[kind]()


def flow_state(alpha: float) -> tuple[float, float]:
    """x' / x_t, and s, which a network of flow matching sees times the number of training timesteps.

    Example:
        >>> from hspace.models.prediction import flow_state
        >>> flow_state(0.5)[1]
        0.5
    """
    signal, noise = math.sqrt(alpha), math.sqrt(1.0 - alpha)
    return 1 / (signal + noise), noise / (signal + noise)


def alphas_of_flow(timesteps: int, shift: float = 1.0) -> Float[Tensor, " t"]:
    """`alphas_cumprod` where s goes from 0 to 1, moved towards 1 by a shift as diffusers' schedulers have it.

    At s = 1 nothing of x_0 is left; alpha stays just above 0.

    Example:
        >>> from hspace.models.prediction import alphas_of_flow
        >>> alphas_of_flow(4).round(decimals=3).tolist()
        [0.9, 0.5, 0.1, 0.0]
    """
    s = torch.arange(1, timesteps + 1, dtype=torch.float64) / timesteps
    s = shift * s / (1 + (shift - 1) * s)
    return ((1 - s).square() / ((1 - s).square() + s.square())).clamp_min(1e-12)
