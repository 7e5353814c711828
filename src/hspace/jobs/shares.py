"""Which rows are whose, and who hands what it found to whom."""

from __future__ import annotations

__all__ = ["handovers", "share"]


def share(n: int, rank: int, size: int) -> range:
    """The contiguous share of n rows that a process takes: as even as can be, none where there are too few.

    Example:
        >>> from hspace.jobs.shares import share
        >>> [share(7, rank, 3) for rank in range(3)], len(share(1, 0, 2))
        ([range(0, 2), range(2, 4), range(4, 7)], 0)
    """
    return range(rank * n // size, (rank + 1) * n // size)


def handovers(size: int) -> list[list[tuple[int, int]]]:
    """(giver, taker) of each round in which neighbours merge what they have, until 0 has all of it.

    There are log2(size) rounds; a giver is done with it.

    Example:
        >>> from hspace.jobs.shares import handovers
        >>> handovers(5)
        [[(1, 0), (3, 2)], [(2, 0)], [(4, 0)]]
    """
    steps = [2**i for i in range((size - 1).bit_length())]
    return [[(rank, rank - step) for rank in range(step, size, 2 * step)] for step in steps]
