from __future__ import annotations

from typing import Any

import pytest
import torch
from tests import tiny
from torch import Tensor, nn

from hspace.models.replay import can_replay, recording, replaying
from hspace.models.tap import Tap

T = torch.tensor(7)
UNETS: dict[str, dict[str, Any]] = {
    "attention": {},
    "resnet_downsample": {
        "down_block_types": ("ResnetDownsampleBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "ResnetUpsampleBlock2D"),
    },
    "downsample_type_resnet": {"downsample_type": "resnet", "upsample_type": "resnet"},
    "skip": {
        "block_out_channels": (32, 32),  # some of these blocks have 32 groups whatever one asks for
        "down_block_types": ("SkipDownBlock2D", "AttnSkipDownBlock2D"),
        "up_block_types": ("AttnSkipUpBlock2D", "SkipUpBlock2D"),
        "time_embedding_type": "fourier",
    },
    "no_middle": {"mid_block_type": None},
    "two_layers": {"layers_per_block": 2, "resnet_time_scale_shift": "scale_shift", "center_input_sample": True},
}


def x_t(n: int) -> Tensor:
    return torch.randn(n, *tiny.IMAGE_SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(n))


def identity(network: nn.Module) -> dict[str, int]:
    return {name: id(module) for name, module in network.named_modules()}


@pytest.mark.parametrize("config", UNETS.values(), ids=UNETS.keys())
def test_a_replayed_pass_is_the_original_bit_for_bit(config: dict[str, Any]) -> None:
    network = tiny.unet(**config)
    with recording(network) as recorded:
        original = network(x_t(3), T).sample
    assert len(recorded) == 1 + len(network.down_blocks)
    with replaying(network, recorded, 1):
        assert torch.equal(network(x_t(3), T).sample, original)


@pytest.mark.parametrize("config", UNETS.values(), ids=UNETS.keys())
def test_the_batch_is_repeated_as_blocks(config: dict[str, Any]) -> None:
    network = tiny.unet(**config)
    with recording(network) as recorded:
        original = network(x_t(2), T).sample
    with replaying(network, recorded, 3):
        repeated = network(x_t(2).repeat(3, 1, 1, 1), T).sample
    torch.testing.assert_close(repeated, original.repeat(3, 1, 1, 1), rtol=0, atol=1e-12)


def test_the_encoder_does_not_run() -> None:
    network = tiny.unet()
    with recording(network) as recorded:
        network(x_t(2), T)
    calls: list[nn.Module] = []
    for module in (network.conv_in, *network.down_blocks):
        module.register_forward_hook(lambda module, _, __: calls.append(module))
    with replaying(network, recorded, 1):
        network(x_t(2), T)
    assert calls == []
    network(x_t(2), T)
    assert len(calls) == 3


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_modules_and_weights_are_back_whatever_happens(error: type[BaseException] | None) -> None:
    network = tiny.unet()
    modules, weights = identity(network), {name: weight.clone() for name, weight in network.state_dict().items()}
    with recording(network) as recorded:
        original = network(x_t(2), T).sample
    assert not any(module._forward_hooks for module in network.modules())
    if error is None:
        with replaying(network, recorded, 1):
            assert identity(network) != modules
    else:
        with pytest.raises(error), replaying(network, recorded, 1):
            raise error
    assert identity(network) == modules
    assert list(network.state_dict()) == list(weights)
    assert all(torch.equal(weights[name], weight) for name, weight in network.state_dict().items())
    assert torch.equal(network(x_t(2), T).sample, original)


def test_recording_ends_with_an_exception() -> None:
    network = tiny.unet()
    with pytest.raises(KeyboardInterrupt), recording(network):
        raise KeyboardInterrupt
    assert not any(module._forward_hooks for module in network.modules())


@pytest.mark.parametrize(
    ("name", "behind"),
    [
        ("before", True),
        ("middle", True),
        ("mid_block", True),
        ("mid_block.resnets.1.conv2", True),
        ("up_blocks.0", True),
        ("up_blocks.1.resnets.0.norm1", True),
        ("conv_norm_out", True),
        ("conv_out", True),
        ("conv_in", False),
        ("time_embedding", False),  # runs before the encoder and again in a replay
        ("time_embedding.linear_2", False),
        ("down_blocks.0", False),
        ("down_blocks.1.attentions.0", False),
    ],
)
def test_only_a_tap_behind_the_encoder_can_be_replayed(name: str, behind: bool) -> None:
    network = tiny.unet()
    assert can_replay(network, Tap(network, name)) is behind


def test_networks_of_other_makers_are_never_split() -> None:
    class Lookalike(nn.Module):
        """diffusers' names, but a block is a list."""

        def __init__(self) -> None:
            super().__init__()
            self.conv_in = nn.Conv2d(3, 4, 1)
            self.down_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(4, 4, 1)])])
            self.mid_block = nn.Conv2d(4, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.mid_block(self.down_blocks[0][0](self.conv_in(x)))

    network = Lookalike()
    assert not can_replay(network, Tap(network, "mid_block"))
    assert not can_replay(tiny.PlainNetwork(), Tap(tiny.PlainNetwork(), "inner"))
