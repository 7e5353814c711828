"""Ctrl-C waits until networks are in step with each other."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["uninterrupted"]


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Within the context Ctrl-C is only noted; it takes effect at the end.

    Outside the main thread, which alone receives it, nothing changes.

    Example:
        >>> import signal
        >>> from hspace.learning.uninterrupted import uninterrupted
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
    noted = False

    def note(_: int, __: FrameType | None) -> None:
        nonlocal noted
        noted = True

    before = signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if noted:
        signal.raise_signal(signal.SIGINT)
