"""Where networks run, how numbers get there, and what happens when it is full."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from hspace.errors import HspaceError

__all__ = ["default_device", "free_memory", "is_out_of_memory", "put", "sent"]


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


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device; to a GPU from pinned memory, so that neither waits for the other.

    Example:
        >>> import torch
        >>> from hspace.device import sent
        >>> sent(torch.ones(2), torch.device("cpu"))
        tensor([1., 1.])
    """
    if device.type == "cuda" and not tensor.is_cuda:
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a smaller batch may work where this error came from: on a GPU, on the CPU or on what else torch runs on.

    Example:
        >>> import torch
        >>> from hspace.device import is_out_of_memory
        >>> is_out_of_memory(torch.OutOfMemoryError()), is_out_of_memory(RuntimeError("shapes differ"))
        (True, False)
    """
    if isinstance(error, torch.OutOfMemoryError):
        return True
    from accelerate.utils.memory import should_reduce_batch_size  # knows the errors of each device by their text

    return isinstance(error, Exception) and bool(should_reduce_batch_size(error))


def free_memory() -> None:
    """Gives unused memory back to the device; outside of `except`, whose traceback holds on to tensors."""
    from accelerate.utils.memory import clear_device_cache

    clear_device_cache(garbage_collection=True)
