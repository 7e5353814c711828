"""Puts the components of all timesteps in one order and gives them one sign.

Sign and, where variances are close, order of principal components are arbitrary at every timestep. What a component
*is* shows in its scores: two components of neighbouring timesteps belong together when the same samples score high on
both. The pairing goes from the middle of the grid outwards, at each step the one-to-one assignment with the largest
sum of absolute correlations to the scores agreed on so far. The procedure is ours; Haas et al. pair by index.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

__all__ = ["align"]

_MEMORY = 0.5  # weight of the scores agreed on before against those of the newest timestep


def align(
    scores: Sequence[Float[NDArray[np.float64], "m k"]],
) -> tuple[Int[NDArray[np.int64], "s k"], Float[NDArray[np.float64], "s k"], Float[NDArray[np.float64], "s k"]]:
    """Order, signs and agreement along t.

    Args:
        scores: For each timestep the scores of the same m samples on k components.

    Returns:
        order: `order[i, j]` is the component of timestep i that becomes number j.
        signs: (S, k) of +1 and -1, for the components in the new order.
        agreement: (S, k) correlation with the scores agreed on before; 1 at the middle timestep.

    Example:
        >>> import numpy as np
        >>> from hspace.discovery.alignment import align
        >>> first = np.random.default_rng(0).normal(size=(50, 2))
        >>> order, signs, agreement = align([first, -first[:, ::-1], first])
        >>> order.tolist(), signs.tolist()
        ([[1, 0], [0, 1], [1, 0]], [[-1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]])
    """
    steps, k = len(scores), scores[0].shape[1]
    order, signs, agreement = np.tile(np.arange(k), (steps, 1)), np.ones((steps, k)), np.ones((steps, k))
    middle = steps // 2
    for path in (range(middle + 1, steps), range(middle - 1, -1, -1)):
        agreed = _standardised(scores[middle])
        for i in path:
            new = _standardised(scores[i])
            correlation = agreed.T @ new / len(new)
            _, order[i] = linear_sum_assignment(-np.abs(correlation))
            chosen = correlation[np.arange(k), order[i]]
            signs[i] = np.where(chosen < 0, -1.0, 1.0)
            agreement[i] = np.abs(chosen)
            agreed = _standardised(_MEMORY * agreed + (1 - _MEMORY) * new[:, order[i]] * signs[i])
    return order, signs, agreement


def _standardised(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = scores - scores.mean(0)
    return np.asarray(centred / np.maximum(centred.std(0), np.finfo(float).tiny))
