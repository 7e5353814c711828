"""How far work has come, and how long it will take, when it goes over its samples several times."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

__all__ = ["Meter"]

_SURE = 2.0  # seconds after which the time left is worth telling


class Meter:
    """Takes (done, total) of one pass after the other; a new pass begins where `done` falls, or `total` is another.

    Args:
        costs: What is expected of each pass, in any unit.
        clock: In seconds.

    Attributes:
        fraction: Of all the work, 0 to 1; it never falls.

    Example:
        >>> from hspace.app.work.meter import Meter
        >>> meter = Meter([10.0, 30.0])
        >>> for done, total in [(1, 2), (2, 2), (1, 3)]:
        ...     meter(done, total)
        ...     meter.fraction
        0.125
        0.25
        0.5
    """

    def __init__(self, costs: Sequence[float], clock: Callable[[], float] = time.monotonic) -> None:
        self._costs = costs
        self._clock = clock
        self._began = clock()
        self._pass, self._done, self._total = 0, 0, 0
        self.fraction = 0.0

    def __call__(self, done: int, total: int) -> None:
        """So much of a pass is done."""
        another = self._total and (done <= self._done or total != self._total)
        if another and self._pass + 1 < len(self._costs):
            self._pass += 1
        self._done, self._total = done, total
        before = sum(self._costs[: self._pass])
        now = (before + self._costs[self._pass] * min(1.0, done / max(total, 1))) / sum(self._costs)
        self.fraction = max(self.fraction, now)

    @property
    def left(self) -> float | None:
        """Seconds, as fast as it went so far; None where that is not known yet."""
        spent = self._clock() - self._began
        return spent / self.fraction * (1 - self.fraction) if self.fraction and spent > _SURE else None
