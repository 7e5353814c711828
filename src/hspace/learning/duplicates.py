"""Directions that do the same are merged into one."""

from __future__ import annotations

from jaxtyping import Float
from scipy.sparse.csgraph import connected_components
from torch import Tensor

__all__ = ["same", "signs"]


def same(likeness: Float[Tensor, "k k"], above: float) -> list[list[int]]:
    """Groups of directions, each like another of its group by more than `above` in magnitude.

    Args:
        likeness: Cosines of what is compared, symmetric.
        above: 1 leaves every direction alone.

    Returns:
        Groups in the order of their first members.

    Example:
        >>> import torch
        >>> from hspace.learning.duplicates import same
        >>> same(torch.tensor([[1.0, 0.1, -0.95], [0.1, 1.0, 0.0], [-0.95, 0.0, 1.0]]), above=0.9)
        [[0, 2], [1]]
    """
    linked = (likeness.abs() > above).cpu().numpy()
    _, labels = connected_components(linked, directed=False)
    groups: dict[int, list[int]] = {}
    for member, label in enumerate(labels.tolist()):
        groups.setdefault(label, []).append(member)
    return list(groups.values())


def signs(likeness: Float[Tensor, "k k"], group: list[int]) -> list[int]:
    """Which members of a group to turn around, so that all go with its first.

    Each is turned to go with the one most like it among those turned before: the first and the last of a chain may
    have nothing in common.

    Args:
        likeness: Cosines of what is compared, symmetric.
        group: One of those that `same` found.

    Returns:
        1 or -1 for each member.

    Example:
        >>> import torch
        >>> from hspace.learning.duplicates import signs
        >>> signs(torch.tensor([[1.0, -0.95], [-0.95, 1.0]]), [0, 1])
        [1, -1]
    """
    found = {group[0]: 1}
    while len(found) < len(group):
        pairs = ((a, b) for a in found for b in group if b not in found)
        a, b = max(pairs, key=lambda pair: abs(float(likeness[pair])))
        found[b] = found[a] if float(likeness[a, b]) >= 0 else -found[a]
    return [found[member] for member in group]
