"""Which rows are whose."""

from __future__ import annotations

__all__ = ["share"]


def share(n: int, rank: int, size: int) -> range:
    """The contiguous share of n rows that a process takes: as even as can be, none where there are too few.

    Example:
        >>> from hspace.jobs.shares import share
        >>> [share(7, rank, 3) for rank in range(3)], len(share(1, 0, 2))
        ([range(0, 2), range(2, 4), range(4, 7)], 0)
    """
    return range(rank * n // size, (rank + 1) * n // size)
