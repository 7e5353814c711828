"""Modules around a network that somebody has put there: torch.compile's, DataParallel."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["network_of", "unwrapped"]


def unwrapped(network: Any) -> Any:
    """The network itself: it is called more than once at a time, split and hooked.

    Example:
        >>> from torch import nn
        >>> from hspace.models.wrappers import unwrapped
        >>> unwrapped(nn.DataParallel(nn.Conv2d(3, 4, 3)))
        Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1))
    """
    while isinstance(network, nn.Module):
        if isinstance(inner := getattr(network, "_orig_mod", None), nn.Module):  # torch.compile
            network = inner
        elif isinstance(network, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            network = network.module
        else:
            break
    return network


def network_of(pipeline: Any) -> Any:
    """A pipeline's `.unet` or `.transformer`, unwrapped; None where it has none."""
    network = getattr(pipeline, "unet", None)
    return unwrapped(getattr(pipeline, "transformer", None) if network is None else network)
