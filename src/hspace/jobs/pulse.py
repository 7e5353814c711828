"""Whether the other processes of a job are alive.

Each process counts, once a second, under its own name in a store that process 0 serves. One whose count stands still is
lost: killed, or its machine gone. Communication alone would tell only when the next merge is due, hours later perhaps.
"""

from __future__ import annotations

import threading
import time
from datetime import timedelta

from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, but not exported

__all__ = ["Pulse"]

BEAT = 1.0  # seconds
LOST_AFTER = 60.0  # seconds without a beat: longer than a machine is ever too busy to count
_LEFT, _FAILED = "left", "failed: "


class Pulse:
    """Of one process.

    Args:
        host: Where process 0 is.
        port: Of its store.
        rank: Number of this process.
        size: How many there are.
        server: The store itself, in process 0, which keeps it open.
    """

    def __init__(self, host: str, port: int, rank: int, size: int, server: TCPStore | None = None) -> None:
        self.rank, self.size = rank, size
        self._server = server
        # One connection for each thread: a call that waits holds up all others on the same one.
        self._beats, self._words = (
            TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=LOST_AFTER))
            for _ in range(2)
        )
        self._lost: str | None = None
        self._gone: set[int] = set()  # have left in peace
        self._over = threading.Event()
        self._arrivals = 0
        self._beats.set(self._name(rank), "0")
        self._thread = threading.Thread(target=self._beat, name="hspace-pulse", daemon=True)
        self._thread.start()

    @staticmethod
    def serve(host: str) -> TCPStore:
        """The store, at a free port."""
        return TCPStore(host, 0, is_master=True, wait_for_workers=False)

    @property
    def lost(self) -> str | None:
        """What happened to another process; None: all are well."""
        return self._lost

    def arrive(self) -> bool:
        """Wait until all processes have come here; False as soon as one is lost."""
        self._arrivals += 1
        keys = [f"arrival {self._arrivals} of {rank}" for rank in range(self.size)]
        try:
            self._words.set(keys[self.rank], "1")
            while True:
                gone = sorted(self._gone)  # before the arrivals are looked at: who has arrived may leave
                if self._words.check(keys):
                    return True
                missing = [rank for rank in gone if not self._words.check([keys[rank]])]
                if missing and self._lost is None:
                    self._lost = _words(missing[0], self.size, "it left before the others were done")
                if self._lost is not None:
                    return False
                time.sleep(0.005)
        except RuntimeError:
            self._lost = self._lost or _words(0, self.size, None)
            return False

    def fail(self, message: str) -> bool:
        """Tell the others that this process ends, and why; whether it is the first to."""
        self._over.set()
        try:
            first = self._words.add("failures", 1) == 1
            self._words.set(self._name(self.rank), _FAILED + message)
        except RuntimeError:  # process 0 is gone, which somebody has to say
            return True
        if self.rank == 0:
            time.sleep(3 * BEAT)  # the store ends with this process: the others read it first
        return first

    def leave(self) -> None:
        """This process has done its part."""
        self._over.set()
        self._thread.join(LOST_AFTER)
        try:
            self._words.set(self._name(self.rank), _LEFT)
        except RuntimeError:  # process 0 has left already
            return

    def _beat(self) -> None:
        others = [rank for rank in range(self.size) if rank != self.rank]
        names = [self._name(rank) for rank in others]
        seen = dict.fromkeys(others, b"")
        since = dict.fromkeys(others, time.monotonic())
        count = 0
        while not self._over.wait(BEAT):
            count += 1
            try:
                self._beats.set(self._name(self.rank), str(count))
                found = self._beats.multi_get(names)
            except RuntimeError:
                if not self._over.is_set():
                    self._lost = _words(0, self.size, None)
                return
            now = time.monotonic()
            for rank, value in zip(others, found, strict=True):
                text = value.decode()
                if text.startswith(_FAILED):
                    self._lost = _words(rank, self.size, text.removeprefix(_FAILED))
                    return
                if text == _LEFT:
                    self._gone.add(rank)
                if value != seen[rank] or text == _LEFT:
                    seen[rank], since[rank] = value, now
                elif now - since[rank] > LOST_AFTER:
                    self._lost = _words(rank, self.size, None)
                    return

    @staticmethod
    def _name(rank: int) -> str:
        return f"pulse of {rank}"


def _words(rank: int, size: int, message: str | None) -> str:
    reason = "was lost: killed, or its machine is gone" if message is None else f"has ended: {message}"
    return f"process {rank} of {size} {reason}"
