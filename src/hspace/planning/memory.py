"""Memory of this process, of a GPU or of the machine."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import torch

__all__ = ["held", "peak", "peak_from_here"]

_STATUS = Path("/proc/self/status")


def held(device: torch.device | str) -> int:
    """Bytes that tensors have on a GPU, or that are resident; 0 where a system does not tell the latter.

    Example:
        >>> from hspace.planning.memory import held, peak
        >>> held("cpu") <= peak("cpu")
        True
    """
    if torch.device(device).type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _status("VmRSS")


def peak(device: torch.device | str) -> int:
    """The most bytes since `peak_from_here`, or so far."""
    if torch.device(device).type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if _STATUS.exists():  # getrusage's maximum begins with that of the process that started this one
        return _status("VmHWM")
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 2**10)


def peak_from_here(device: torch.device | str) -> None:
    """Forgets earlier peaks, where the system can."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif _STATUS.exists():
        with contextlib.suppress(OSError):
            _STATUS.with_name("clear_refs").write_text("5")


def _status(name: str) -> int:
    if not _STATUS.exists():
        return 0
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 2**10
