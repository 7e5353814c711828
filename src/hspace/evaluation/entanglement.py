r"""What directions drag along: leaks, what to project out of which, and directions that do the same.

With e_i(a) the effect of direction i on attribute a, and a_j what direction j is for,

    leak of i into j        |e_i(a_j)| / |e_i(a_i)|: how far i moves what j is there for, in units of its own effect
    likeness of i and j     cosine of the effect profiles e_i and e_j
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.directions import Directions
from hspace.errors import HspaceError
from hspace.evaluation.evaluate import Evaluation

__all__ = ["Leak", "duplicates", "leaks", "likeness", "projected", "suggestions"]


@dataclass(frozen=True)
class Leak:
    """Direction `direction` moves the attribute of `other`, `share` times as far as its own."""

    direction: str
    other: str
    attribute: str
    share: float


def leaks(found: Evaluation) -> Float[Tensor, "k k"]:
    """Leak of every direction (row) into every other (column); 1 on the diagonal, and 0 along what does nothing."""
    effects, _ = found.matrix()
    own = [found.response.attributes.index(score.attribute) for score in found.scores]
    table = effects[:, own].abs()  # (k, k): on the attribute of each other
    return torch.where(table.diagonal()[:, None] > 0, table / table.diagonal()[:, None].clamp_min(1e-30), 0.0)


def suggestions(found: Evaluation, above: float = 0.3, *, least: float = 0.5) -> list[Leak]:
    """Pairs to project out, the worst first; two directions for one attribute are no pair.

    Args:
        found: Of the set.
        above: Share of the own effect from which a leak counts.
        least: Directions whose own effect is smaller, in standard deviations, are left out: their shares are chance.
    """
    table = leaks(found)
    pairs = [
        Leak(one.direction, other.direction, other.attribute, float(table[i, j]))
        for i, one in enumerate(found.scores)
        for j, other in enumerate(found.scores)
        if i != j and one.attribute != other.attribute and float(table[i, j]) > above and abs(one.effect) >= least
    ]
    return sorted(pairs, key=lambda pair: -pair.share)


def projected(directions: Directions, found: Evaluation, *, above: float = 0.0) -> Directions:
    """Every direction without the others (Haas et al., arXiv 2303.11073, section 5), under its own name.

    Args:
        directions: Those evaluated; `hspace.calibrate` brings the result back to the unit of strength.
        found: Of the set.
        above: Leave out only those others whose attribute is moved by more than this share of the own effect. All of
            them is the paper's way; it costs a direction much of its own effect where the others are many.

    Raises:
        HspaceError: An evaluation of other directions; nothing is left of a direction.
    """
    if found.response.directions != directions.names:
        raise HspaceError("the evaluation is of other directions than those to project")
    table = leaks(found)
    items = []
    for i, item in enumerate(directions):
        others = [other for j, other in enumerate(directions) if j != i and (above <= 0 or float(table[i, j]) > above)]
        items.append(item.without(*others).renamed(item.name) if others else item)
    return Directions(items)


def likeness(found: Evaluation) -> Float[Tensor, "k k"]:
    """Cosines of the effect profiles, in [-1, 1]; 0 for a direction that does nothing.

    Directions from several timesteps or methods may have little in common as vectors and do the same.
    """
    effects, _ = found.matrix()
    units = torch.nn.functional.normalize(effects, dim=1)
    return (units @ units.T).clamp(-1, 1)


def duplicates(found: Evaluation, above: float = 0.95, *, least: float = 0.5) -> list[list[str]]:
    """Groups of directions that do the same, up to their sign; each with the one that moves most first.

    Args:
        found: Of directions, from any number of timesteps or methods.
        above: Likeness, or its opposite, from which two are one.
        least: Directions that change nothing by as much, in standard deviations, belong to no group: their profile is
            chance.

    Example:
        >>> import torch
        >>> from hspace.evaluation import Evaluation, Response, duplicates, scores
        >>> ends = torch.tensor([[2.0, 0.1], [-3.0, 0.0], [0.0, 1.0]]).double()
        >>> table = torch.stack([-ends / 2, 0 * ends, ends / 2], 1)[:, :, None].expand(-1, -1, 2, -1)
        >>> response = Response(("a", "b", "c"), ("yaw", "age"), (-1.0, 0.0, 1.0), table, torch.ones(2).double())
        >>> duplicates(Evaluation(response, scores(response)))
        [['b', 'a']]
    """
    effects, _ = found.matrix()
    alike = likeness(found).abs() > above
    strong = effects.abs().amax(1)
    left = [i for i in strong.argsort(descending=True).tolist() if float(strong[i]) >= least]
    groups = []
    while left:
        first = left[0]
        group = [i for i in left if i == first or bool(alike[first, i])]
        left = [i for i in left if i not in group]
        if len(group) > 1:
            groups.append([found.response.directions[i] for i in group])
    return groups
