r"""Which directions are real: those that do more than others of the same length that were made of chance.

Three kinds of chance: Gaussian directions in all of h; those within the span of leading components, the harder control,
since almost all of h hardly varies; and, for supervised directions, what the same method finds with shuffled labels.

m controls stand beside each direction; what is random about a test is the direction, not the sample: the answer is
about the seeds that were drawn. The effect of a direction on attribute a is divided by the root mean square of those of
its controls, z_a = |effect_a| / rms_a, that of a control by the root mean square of the others, so that controls of
directions of any length can be pooled, k m of them. The largest z of a direction is ranked among theirs (Westfall and
Young's single-step maxT: the number of attributes is accounted for, and that they go together),

    p_a = (1 + #{controls with max_b z_b >= z_a}) / (1 + k m);

at least 1 / (1 + k m). Pooling takes effects of chance to be distributed alike around all directions but for their
scale. Holm's procedure corrects for the number of directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hspace.errors import HspaceError

__all__ = ["KINDS", "Verdict", "check_number", "holm", "p_values", "verdicts"]

KINDS = {
    "gaussian": "random directions of its length",
    "span": "random directions of its length within the components",
    "shuffled": "directions of its length from shuffled labels",
}
"""Of controls, in words."""


@dataclass(frozen=True)
class Verdict:
    """Whether a direction beats its controls.

    Attributes:
        direction: Its name.
        attribute: The one that stands out most against the controls.
        p: Of that attribute, corrected for the number of attributes.
        corrected: The same corrected for the number of directions too.
        controls: Number of controls.
        kind: Of controls, such as those of `KINDS`.
        real: Whether the corrected p is at most the level.
        own: Whether the same holds for the attribute that the direction is for, or moves most.
        words: For people.
    """

    direction: str
    attribute: str
    p: float
    corrected: float
    controls: int
    kind: str
    real: bool
    own: bool
    words: str


def p_values(effects: Float[Tensor, "k a"], controls: Float[Tensor, "k m a"]) -> Float[Tensor, "k a"]:
    """Of every direction and attribute, corrected for the number of attributes.

    Args:
        effects: Mean changes along directions.
        controls: The same along m controls of each.

    Raises:
        HspaceError: Shapes that don't go together; no controls.

    Example:
        >>> import torch
        >>> from hspace.evaluation.controls import p_values
        >>> controls = torch.linspace(-1, 1, 19).reshape(1, 19, 1)
        >>> p_values(torch.tensor([[5.0]]), controls).item(), p_values(torch.tensor([[0.0]]), controls).item()
        (0.05, 1.0)
    """
    k, m, a = controls.shape
    if tuple(effects.shape) != (k, a) or m < 1:
        raise HspaceError(f"controls of shape {(k, m, a)} don't go with effects of shape {tuple(effects.shape)}")
    squares = controls.double().square()
    scale = squares.mean(1).sqrt().clamp_min(1e-30)  # (k, a)
    # A control has as little part in its own scale as the direction in its.
    others = (squares.sum(1, keepdim=True) - squares).clamp_min(0) / max(m - 1, 1)
    largest = (controls.double().abs() / others.sqrt().clamp_min(1e-30)).amax(2).flatten()  # (k m)
    z = effects.double().abs() / scale
    return (1.0 + (largest[:, None, None] >= z).sum(0).double()) / (1 + k * m)


def check_number(k: int, m: int, level: float) -> None:
    """Whether m controls of each of k directions can show anything.

    Raises:
        HspaceError: The least corrected p that is possible, k / (1 + k m), is above the level.
    """
    if not 0 < level < 1:
        raise HspaceError(f"a level of significance is between 0 and 1, not {level:g}")
    if k / (1 + k * m) > level:
        least = int(np.ceil((k / level - 1) / k - 1e-9))
        raise HspaceError(f"{m} controls of each direction can show nothing at the level {level:g}: take {least}")


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction for the number of tests.

    Example:
        >>> from hspace.evaluation.controls import holm
        >>> [round(x, 3) for x in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    corrected = np.minimum(np.maximum.accumulate(np.array(p)[order] * factors), 1)
    result = np.empty(len(p))
    result[order] = corrected
    return [float(x) for x in result]


def verdicts(
    directions: Sequence[str],
    attributes: Sequence[str],
    effects: Float[Tensor, "k a"],
    controls: Float[Tensor, "k m a"],
    *,
    own: Sequence[str] | None = None,
    level: float = 0.05,
    kind: str = "gaussian",
) -> list[Verdict]:
    """In words, whether directions do more than their controls.

    Args:
        directions: Names.
        attributes: Names.
        effects: Mean changes.
        controls: Of m controls for each.
        own: What each direction is for; default: what it moves most.
        level: Of significance, for the corrected p.
        kind: One of `KINDS`, or another in words of your own.

    Raises:
        HspaceError: Shapes or names that don't go together; a level that m controls can't reach.
    """
    k, m, a = controls.shape
    if len(directions) != k or len(attributes) != a:
        raise HspaceError(
            f"{k} directions and {a} attributes were measured, {len(directions)} and {len(attributes)} named"
        )
    check_number(k, m, level)
    table = p_values(effects, controls)
    best, where = table.min(1)
    # Of attributes with the same p, the one that stands out most.
    scale = controls.square().mean(1).sqrt().clamp_min(1e-30)
    where = torch.where(table == best[:, None], effects.abs() / scale, torch.zeros_like(effects)).argmax(1)
    corrected = holm(best.tolist())
    mine = [attributes[i] for i in effects.abs().argmax(1).tolist()] if own is None else list(own)
    of_own = holm([float(table[j, attributes.index(name)]) for j, name in enumerate(mine)])
    found = []
    for j, name in enumerate(directions):
        attribute, others = attributes[int(where[j])], KINDS.get(kind, kind)
        real, beats = corrected[j] <= level, of_own[j] <= level
        if beats:
            words = f"moves {mine[j]} more than {m} {others}"
        elif real:
            words = f"moves {attribute} more than {m} {others}, but not {mine[j]}"
        else:
            words = f"does no more than {others} (corrected p = {corrected[j]:.2g})"
        p = (float(best[j]), corrected[j])
        found.append(Verdict(name, attribute, *p, m, kind, real, beats, words))
    return found
