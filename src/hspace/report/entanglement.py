r"""What directions drag along, and what to project out of which.

With e_i(a) the effect of direction i on attribute a, and a_j what direction j is for, the leak of i into j
is |e_i(a_j)| / |e_i(a_i)|: how far i moves what j is there for, in units of its own effect.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.evaluation import Evaluation

__all__ = ["Leak", "leaks", "suggestions"]


@dataclass(frozen=True)
class Leak:
    """Direction `direction` moves the attribute of `other`, `share` times as far as its own."""

    direction: str
    other: str
    attribute: str
    share: float


def leaks(found: Evaluation) -> Float[Tensor, "k k"]:
    """Leak of every direction (row) into every other (column); 1 on the diagonal."""
    effects, _ = found.matrix()
    own = [found.response.attributes.index(score.attribute) for score in found.scores]
    table = effects[:, own].abs()  # (k, k): on the attribute of each other
    return table / table.diagonal().clamp_min(1e-30)[:, None]


def suggestions(found: Evaluation, above: float = 0.3) -> list[Leak]:
    """Pairs to project out, the worst first; two directions for one attribute are no pair.

    Args:
        found: Of the set.
        above: Share of the own effect from which a leak counts.
    """
    table = leaks(found)
    pairs = [
        Leak(one.direction, other.direction, other.attribute, float(table[i, j]))
        for i, one in enumerate(found.scores)
        for j, other in enumerate(found.scores)
        if i != j and one.attribute != other.attribute and float(table[i, j]) > above
    ]
    return sorted(pairs, key=lambda pair: -pair.share)


def clipped(table: Tensor) -> Tensor:
    """Shares as shades, 0 to 1."""
    return torch.nan_to_num(table).clamp(0, 1)
