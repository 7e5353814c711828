from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests import networks, tiny
from torch import Tensor, nn

from hspace.models import Denoiser
from hspace.models.outputs import is_known, mapped, tensors
from hspace.models.replay import Recorded, repeat

T = 7
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
    "no_middle": {"mid_block_type": None, "tap": "up_blocks.0"},
    "two_layers": {"layers_per_block": 2, "resnet_time_scale_shift": "scale_shift", "center_input_sample": True},
}


def x_t(n: int) -> Tensor:
    return torch.randn(n, *tiny.IMAGE_SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(n))


def recorded_of(model: Denoiser, x: Tensor) -> tuple[Recorded, Tensor]:
    """What modules before the tap return, and what a full pass returns."""
    recorded = model.encode(x, T).recorded
    assert recorded is not None
    return recorded, model.predict(x, T).eps


def identity(network: nn.Module) -> dict[str, int]:
    return {name: id(module) for name, module in network.named_modules()}


@pytest.mark.parametrize("config", UNETS.values(), ids=UNETS.keys())
def test_a_replayed_pass_is_the_original_bit_for_bit(config: dict[str, Any]) -> None:
    model = tiny.denoiser(**config)
    recorded, original = recorded_of(model, x_t(3))
    assert model.replay.fits(recorded, 3)
    with model.replay.replaying(recorded, 1):
        assert torch.equal(model.predict(x_t(3), T).eps, original)


@pytest.mark.parametrize("config", UNETS.values(), ids=UNETS.keys())
def test_the_batch_is_repeated_as_blocks(config: dict[str, Any]) -> None:
    model = tiny.denoiser(**config)
    recorded, original = recorded_of(model, x_t(2))
    with model.replay.replaying(recorded, 3):
        repeated = model.predict(x_t(2).repeat(3, 1, 1, 1), T).eps
    torch.testing.assert_close(repeated, original.repeat(3, 1, 1, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [networks.Base, networks.Windows, networks.Branches, networks.Tokens])
def test_branches_of_guidance_are_repeated_each_for_itself(kind: type[nn.Module]) -> None:
    """The network sees (branches, n) rows when recorded, and (branches, k, n) when replayed."""
    model = networks.denoiser(networks.seeded(kind))
    n, k = 2, 3
    branches = x_t(2 * n).chunk(2)
    recorded, _ = recorded_of(model, torch.cat(branches))
    batch = torch.cat([branch.repeat(k, 1, 1, 1) for branch in branches])
    with model.replay.replaying(recorded, k, branches=2):
        found = model.predict(batch, T).eps
    torch.testing.assert_close(found, model.predict(batch, T).eps, rtol=0, atol=1e-12)


def test_the_encoder_does_not_run() -> None:
    model = tiny.denoiser()
    network = model.network
    recorded, _ = recorded_of(model, x_t(2))
    calls: list[nn.Module] = []
    encoder = (network.conv_in, *network.down_blocks)
    for module in encoder:
        for inside in module.modules():
            if not list(inside.children()) and inside is not network.conv_in:
                inside.register_forward_hook(lambda module, _, __: calls.append(module))
    with model.replay.replaying(recorded, 1):
        model.predict(x_t(2), T)
    assert calls == []
    model.predict(x_t(2), T)
    assert calls


def test_later_calls_of_a_replayed_module_run() -> None:
    model = networks.denoiser(networks.seeded(networks.Recurrent))
    recorded, _ = recorded_of(model, x_t(2))
    ran: list[nn.Module] = []
    model.network.block[0].register_forward_hook(lambda module, _, __: ran.append(module))
    with model.replay.replaying(recorded, 1):
        model.predict(x_t(2), T)
    assert len(ran) == 1  # of four


@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_modules_and_weights_are_back_whatever_happens(error: type[BaseException] | None) -> None:
    model = tiny.denoiser()
    network = model.network
    modules, weights = identity(network), {name: weight.clone() for name, weight in network.state_dict().items()}
    own = network.conv_in.forward
    network.conv_in.__dict__["forward"] = lambda x: own(x)  # as others do, too
    mine = network.conv_in.__dict__["forward"]
    recorded, original = recorded_of(model, x_t(2))
    with suppress(*([error] if error else [])), model.replay.recording([]):
        if error is not None:
            raise error
    with suppress(*([error] if error else [])), model.replay.replaying(recorded, 1):
        assert network.conv_in.__dict__["forward"] is not mine
        if error is not None:
            raise error
    assert identity(network) == modules
    assert [module for module in network.modules() if "forward" in module.__dict__] == [network.conv_in]
    assert network.conv_in.__dict__["forward"] is mine
    assert list(network.state_dict()) == list(weights)
    assert all(torch.equal(weights[name], weight) for name, weight in network.state_dict().items())
    assert torch.equal(model.predict(x_t(2), T).eps, original)


def test_a_pass_of_another_batch_or_another_way_does_not_fit() -> None:
    model = tiny.denoiser()
    recorded, _ = recorded_of(model, x_t(2))
    assert model.replay.fits(recorded, 2)
    assert not model.replay.fits(recorded, 4)
    assert not model.replay.fits([*recorded[:-1], []], 2)
    assert not model.replay.fits([*recorded[:-1], [recorded[-1][0][:1]]], 2)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), st.integers(0, 1))
def test_groups_are_repeated_one_by_one(n: int, times: int, groups: int, rest: int, along: int) -> None:
    x = torch.arange(groups * n * rest * 2).reshape(groups * n * rest, 2)
    expected = x.reshape(groups, 1, n * rest, 2).expand(groups, times, n * rest, 2).reshape(-1, 2)
    if along:
        x, expected = x.T, expected.T
    assert torch.equal(repeat(x, times, groups, along), expected)


def test_repeating_keeps_the_layout_in_memory() -> None:
    x = torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)
    assert repeat(x, 3).is_contiguous(memory_format=torch.channels_last)
    assert repeat(x, 1) is x


def test_containers_are_taken_apart_and_put_together() -> None:
    one = torch.ones(1)
    value = (
        one,
        [one],
        {"a": one},
        networks.Pair(one, [one]),
        networks.Features(one, 2.0, {"x": None}),
        torch.Size([2]),
    )
    assert is_known(value)
    assert len(tensors(value)) == 6
    doubled = mapped(lambda x: 2 * x, value)
    assert [float(x) for x in tensors(doubled)] == [2.0] * 6
    assert [type(x) for x in doubled] == [type(x) for x in value]
    assert doubled[4].scale == 2.0
    assert [float(x) for x in tensors(value)] == [1.0] * 6


def test_outputs_of_diffusers_stay_what_they_are() -> None:
    output = tiny.unet()(x_t(1), torch.tensor(T))
    same = mapped(Tensor.clone, output)
    assert type(same) is type(output)
    assert torch.equal(same.sample, output.sample)
    assert torch.equal(same["sample"], output[0])


@pytest.mark.parametrize("value", [object(), (object(),), {"a": {1, 2}}, lambda: None])
def test_what_can_not_be_taken_apart_is_known_as_such(value: Any) -> None:
    assert not is_known(value)
