r"""Measures of a direction, from a response: how far, how straight, how purely, how reliably it moves an attribute.

With c(s) the mean change of the score at strength s, in standard deviations of the population, and c_i that of sample i
from one end to the other:

    effect        c(s_max) - c(s_min) with its standard error over the samples
    monotonicity  Spearman's correlation of c(s) with s
    linearity     R^2 of c(s) = b s
    selectivity   |effect on the attribute| / sum over all attributes of |effect|
    consistency   share of the samples whose c_i has the sign of the mean
    saturation    the strength beyond which a step adds less than a tenth of what the first one did; none if never
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from hspace.errors import HspaceError
from hspace.evaluation.response import Response

__all__ = ["Score", "scores"]

_STALLED = 0.1


@dataclass(frozen=True)
class Score:
    """Of one direction for one attribute; see the module.

    Attributes:
        direction: Its name.
        attribute: Name.
        effect: In standard deviations of the population.
        error: Standard error of the effect.
        monotonicity: In [-1, 1], signed; None with fewer than 3 strengths, 0 included: of 2 it is always 1.
        linearity: At most 1; None with fewer than 3 strengths.
        selectivity: In [0, 1].
        consistency: In [0, 1].
        saturation: Strength, or None where no side stalls.
        steps: The most strengths on one side of 0: saturation takes two.
    """

    direction: str
    attribute: str
    effect: float
    error: float
    monotonicity: float | None
    linearity: float | None
    selectivity: float
    consistency: float
    saturation: float | None
    steps: int


def scores(response: Response, attributes: dict[str, str] | None = None) -> list[Score]:
    """Scores of every direction, for the attribute it moves most or for a given one.

    Args:
        response: By `respond`.
        attributes: By direction, for those where it is known what they are meant to move.

    Raises:
        HspaceError: An attribute or a direction that there is not.

    Example:
        >>> import torch
        >>> from hspace.evaluation.response import Response
        >>> from hspace.evaluation.scores import scores
        >>> steps = torch.tensor([-1.0, 0.0, 1.0]).double()
        >>> table = steps[None, :, None, None] * torch.tensor([2.0, 0.5]).double() + torch.zeros(1, 3, 4, 2)
        >>> (found,) = scores(Response(("a",), ("yaw", "age"), (-1.0, 0.0, 1.0), table, torch.ones(2).double()))
        >>> found.attribute, found.effect, found.selectivity, found.linearity, found.saturation
        ('yaw', 4.0, 0.8, 1.0, None)
    """
    given = attributes or {}
    for direction, attribute in given.items():
        if direction not in response.directions:
            raise HspaceError(f"no direction {direction!r} in the response; it has {', '.join(response.directions)}")
        if attribute not in response.attributes:
            raise HspaceError(f"no attribute {attribute!r} in the response; it has {', '.join(response.attributes)}")
    change, curve = response.change().numpy(), response.curve().numpy()
    found = []
    for j, name in enumerate(response.directions):
        effect = change[j].mean(0)  # (a,)
        own = response.attributes.index(given[name]) if name in given else int(np.abs(effect).argmax())
        mean, each = float(effect[own]), change[j, :, own]
        enough = len(response.strengths) > 2
        total = float(np.abs(effect).sum())
        found.append(
            Score(
                direction=name,
                attribute=response.attributes[own],
                effect=mean,
                error=float(each.std(ddof=1) / len(each) ** 0.5),
                monotonicity=_monotonicity(response.strengths, curve[j, :, own]) if enough else None,
                linearity=_linearity(np.array(response.strengths), curve[j, :, own]) if enough else None,
                selectivity=abs(mean) / total if total else 0.0,
                consistency=float(((np.sign(each) == np.sign(mean)) & (each != 0)).mean()),
                saturation=_saturation(np.array(response.strengths), curve[j, :, own]),
                steps=max(sum(s > 0 for s in response.strengths), sum(s < 0 for s in response.strengths)),
            )
        )
    return found


def _monotonicity(strengths: tuple[float, ...], curve: np.ndarray) -> float:
    """0 for a score that does not move at all."""
    return 0.0 if np.ptp(curve) == 0 else float(stats.spearmanr(strengths, curve).statistic)


def _linearity(strengths: np.ndarray, curve: np.ndarray) -> float:
    """Through the origin, where curves start."""
    slope = (strengths * curve).sum() / np.square(strengths).sum()
    total = np.square(curve).sum()
    return 0.0 if total == 0 else float(1 - np.square(curve - slope * strengths).sum() / total)


def _saturation(strengths: np.ndarray, curve: np.ndarray) -> float | None:
    """Of the side that stalls first."""
    stalled = []
    for side in (1.0, -1.0):
        there = strengths * side >= 0
        s, c = strengths[there] * side, curve[there]
        order = np.argsort(s)
        slopes = np.diff(c[order]) / np.diff(s[order])
        if len(slopes) < 2 or slopes[0] == 0:
            continue
        slow = np.flatnonzero(slopes[1:] / slopes[0] < _STALLED)
        if len(slow):
            stalled.append(float(s[order][slow[0] + 1]))
    return min(stalled, default=None)
