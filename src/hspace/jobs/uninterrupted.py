"""Ctrl-C, and a request to end, wait until what belongs together is in step."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["uninterrupted"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Within the context Ctrl-C and SIGTERM are only noted; they take effect at the end.

    Outside the main thread, which alone receives them, nothing changes.

    Example:
        >>> import signal
        >>> from hspace.jobs.uninterrupted import uninterrupted
        >>> done = []
        >>> try:
        ...     with uninterrupted():
        ...         signal.raise_signal(signal.SIGINT)
        ...         done.append("update")
        ... except KeyboardInterrupt:
        ...     done.append("interrupted")
        >>> done
        ['update', 'interrupted']
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    noted: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        noted.append(number)

    # One that is ignored (in a shell's background) stays so; None is a handler that was not set from Python.
    before = {each: signal.getsignal(each) for each in _SIGNALS}
    before = {each: handler for each, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    for each in before:
        signal.signal(each, note)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    for number in noted[:1]:
        signal.raise_signal(number)
