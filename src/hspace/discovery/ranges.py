"""Many seeds in few numbers, for a direction's origin."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

__all__ = ["ranges"]


def ranges(seeds: Iterable[int]) -> list[list[int]]:
    """Seeds, sorted, as [first, last] pairs.

    Example:
        >>> from hspace.discovery.ranges import ranges
        >>> ranges([3, 0, 1, 2, 7])
        [[0, 3], [7, 7]]
    """
    ordered = np.array(sorted(seeds))
    parts = np.split(ordered, np.flatnonzero(np.diff(ordered) != 1) + 1)
    return [[int(part[0]), int(part[-1])] for part in parts]
