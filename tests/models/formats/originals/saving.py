"""Original networks with weights that hide nothing, in files as their codes write them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


def made(build: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """Random weights in float32, those of norms and biases too, then the network in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return network.double().eval()


def state(network: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    return {prefix + name: tensor.float() for name, tensor in network.state_dict().items()}


def save(content: Any, file: Path) -> Path:
    torch.save(content, file)  # noqa: TID251 - as the originals do
    return file


def x_t(channels: int = 3, size: int = 16, n: int = 2) -> Tensor:
    return torch.randn(n, channels, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
