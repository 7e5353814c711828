r"""What networks are trained to return, as eps and x_0.

With alpha_t = `alphas_cumprod[t]` (Ho et al., arXiv 2006.11239; for v Salimans & Ho, arXiv 2202.00512):

    epsilon:  x_0 = (x_t - sqrt(1 - alpha_t) eps) / sqrt(alpha_t)
    v:        x_0 = sqrt(alpha_t) x_t - sqrt(1 - alpha_t) v,    eps = sqrt(alpha_t) v + sqrt(1 - alpha_t) x_t
    sample:   eps = (x_t - sqrt(alpha_t) x_0) / sqrt(1 - alpha_t)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from torch import Tensor

__all__ = ["Prediction", "PredictionType", "predicted"]

PredictionType = Literal["epsilon", "v_prediction", "sample"]


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
    convert: dict[PredictionType, Callable[[], Prediction]] = {
        "epsilon": lambda: Prediction(output, (x_t - noise * output) / signal),
        "v_prediction": lambda: Prediction(signal * output + noise * x_t, signal * x_t - noise * output),
        "sample": lambda: Prediction((x_t - signal * output) / noise, output),
    }
    return convert[kind]()
