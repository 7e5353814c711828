"""One at a time, in order, those in a hurry first, though not for ever."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

__all__ = ["Superseded", "Turns"]


class Superseded(Exception):
    """Nobody waits for this any more."""


class Turns:
    """A lock that knows who came first.

    Those in a hurry go before the others, each in the order in which they came. While others wait, at most `patience`
    in a hurry go in a row, then it is the turn of one of the others: nobody waits for ever.

    Args:
        patience: With previews of a few steps and pictures of many, 8 share the time about equally.

    Example:
        >>> from hspace.app.turns import Turns
        >>> turns = Turns()
        >>> with turns.taken(first=True):
        ...     "mine alone"
        'mine alone'
    """

    def __init__(self, patience: int = 8) -> None:
        self._patience = patience
        self._change = threading.Condition()
        self._hurried: deque[object] = deque()
        self._others: deque[object] = deque()
        self._overtakes = 0  # in a row, while others wait
        self._busy = False

    @contextmanager
    def taken(self, *, first: bool = False, wanted: Callable[[], bool] = lambda: True) -> Iterator[None]:
        """Waits until it is free and nobody waits who goes before.

        Args:
            first: In a hurry.
            wanted: Asked whenever somebody comes or goes, so that who has moved on leaves the row (and a server's
                thread) at once, not at its turn.

        Raises:
            Superseded: It is no longer wanted.
        """
        mine, mine_now = object(), False
        row = self._hurried if first else self._others
        try:
            with self._change:
                try:
                    row.append(mine)
                    self._change.notify_all()  # it may have superseded one that waits
                    self._change.wait_for(lambda: not wanted() or (not self._busy and self._next() is mine))
                    if not wanted():
                        raise Superseded
                    self._overtakes = self._overtakes + 1 if first and self._others else 0
                    self._busy = mine_now = True
                finally:  # an interrupt while waiting leaves no ghost in the row, and the next one hears of it
                    with suppress(ValueError):
                        row.remove(mine)
                    self._change.notify_all()
            yield
        finally:
            if mine_now:
                with self._change:
                    self._busy = False
                    self._change.notify_all()

    def _next(self) -> object:
        """Whose turn it is, of those who wait."""
        if self._hurried and not (self._others and self._overtakes >= self._patience):
            return self._hurried[0]
        return self._others[0]
