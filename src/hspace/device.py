"""Where networks run."""

from __future__ import annotations

import os

import torch
from torch import nn

from hspace.errors import HspaceError

__all__ = ["default_device", "put"]


def default_device() -> torch.device:
    """The first GPU if there is one, else the CPU.

    Example:
        >>> from hspace.device import default_device
        >>> default_device().type in ("cuda", "mps", "cpu")
        True
    """
    if torch.cuda.is_available():
        # Of several processes on a machine each has a GPU of its own; launchers number them.
        local = int(os.environ.get("LOCAL_RANK", "0"))
        return torch.device("cuda", local) if 0 < local < torch.cuda.device_count() else torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def put(
    network: nn.Module, name: str, device: torch.device | str | None = None, dtype: torch.dtype | None = None
) -> None:
    """Moves a network in place.

    Args:
        network: What moves.
        name: For errors.
        device: None: where it is.
        dtype: None: as it is.

    Raises:
        HspaceError: There is no such device, or torch was built without it.
    """
    try:
        nn.Module.to(network, device=device, dtype=dtype)  # diffusers' own .to warns without a reason
    except (RuntimeError, AssertionError) as error:
        reason = " ".join(str(error).split())
        raise HspaceError(f"can't put {name} on device {device} ({reason})") from error
