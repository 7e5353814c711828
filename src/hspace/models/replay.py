"""Runs a U-Net's encoder once and its decoder many times, by its own forward (diffusers' or, of a converted one, ours).

While an encoding is replayed, `conv_in` and the down blocks are swapped for stubs that return what they returned
before; the rest of the forward pass runs as always, so that nothing of diffusers is copied and the replayed output
equals the original exactly. Only a tap behind the encoder can be decoded this way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from diffusers import UNet2DConditionModel, UNet2DModel
from torch import Tensor, nn

from hspace.models.networks import DenoisingDiffusionUNet
from hspace.models.tap import Tap

__all__ = ["can_replay", "recording", "repeated", "replaying"]

Recorded = list[Any]

_DECODER = ("mid_block", "up_blocks", "conv_norm_out", "conv_act", "resnet_out", "conv_out")


def can_replay(network: nn.Module, tap: Tap) -> bool:
    """True for a diffusers U-Net whose tap lies behind the encoder."""
    if not isinstance(network, (UNet2DModel, UNet2DConditionModel, DenoisingDiffusionUNet)):
        return False
    behind = (getattr(network, name, None) for name in _DECODER)
    return any(module is tap.module for stage in behind if stage is not None for module in stage.modules())


@contextmanager
def recording(network: nn.Module) -> Iterator[Recorded]:
    """Fills the yielded list with the outputs of `conv_in` and every down block, in order."""
    recorded: Recorded = []
    with ExitStack() as stack:
        for stage in _stages(network):
            handle = stage.register_forward_hook(lambda _, __, output: recorded.append(output))
            stack.callback(handle.remove)
        yield recorded


@contextmanager
def replaying(network: nn.Module, recorded: Recorded, times: int, branches: int = 1) -> Iterator[None]:
    """Within the context the encoder returns what was recorded, the batch of each branch repeated `times` times."""
    conv_in, down_blocks = network.conv_in, network.down_blocks
    stubs = [
        _Stub(stage, repeated(output, times, branches))
        for stage, output in zip(_stages(network), recorded, strict=True)
    ]
    try:
        network.conv_in, network.down_blocks = stubs[0], nn.ModuleList(stubs[1:])
        yield
    finally:
        network.conv_in, network.down_blocks = conv_in, down_blocks


class _Stub(nn.Module):
    def __init__(self, original: nn.Module, output: Any) -> None:
        super().__init__()
        self.output = output
        if hasattr(original, "skip_conv"):  # diffusers asks for it to know which arguments a block takes
            self.skip_conv = True

    def forward(self, *_: Any, **__: Any) -> Any:
        return self.output


def _stages(network: nn.Module) -> list[nn.Module]:
    blocks: Any = network.down_blocks
    first: Any = network.conv_in
    return [first, *blocks]


def repeated(value: Any, times: int, branches: int = 1) -> Any:
    """k blocks of n rows within each of the branches: (branches n, ...) becomes (branches k n, ...).

    Example:
        >>> import torch
        >>> from hspace.models.replay import repeated
        >>> repeated(torch.tensor([1, 2, 10, 20]), 2, branches=2).tolist()
        [1, 2, 1, 2, 10, 20, 10, 20]
    """
    if isinstance(value, Tensor):
        if times == 1:
            return value
        parts = value.unflatten(0, (branches, -1))
        return parts.repeat(1, times, *[1] * (value.ndim - 1)).flatten(0, 1)
    if isinstance(value, (tuple, list)):
        return type(value)(repeated(item, times, branches) for item in value)
    return value
