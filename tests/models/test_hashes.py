"""A hash is remembered as long as the weights are those it was made of."""

from __future__ import annotations

import gc

import pytest
import torch
from tests import tiny
from torch import nn

from hspace.models import hashes
from hspace.models.denoiser import weight_hash
from hspace.models.hashes import known_hash, remember_hash, same_weights


def test_it_is_known_as_long_as_nothing_changes() -> None:
    network = tiny.unet()
    assert known_hash(network) is None
    assert remember_hash(network, weight_hash(network)) == known_hash(network) == weight_hash(network)
    assert known_hash(tiny.unet()) is None
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.load_state_dict(state)  # in place
    assert known_hash(network) is None


def in_place(network: nn.Module) -> None:
    with torch.no_grad():
        network.conv_out.bias[0] += 1


def by_data(network: nn.Module) -> None:
    for weight in network.parameters():
        weight.data.mul_(1.01)  # leaves no trace in versions


def another_parameter(network: nn.Module) -> None:
    network.conv_in.weight = nn.Parameter(network.conv_in.weight.detach() + 1)


def rounded_and_back(network: nn.Module) -> None:
    network.to(torch.bfloat16).to(torch.float64)


def another_part(network: nn.Module) -> None:
    network.extra = nn.Linear(1, 1)


@pytest.mark.parametrize("change", [in_place, by_data, another_parameter, rounded_and_back, another_part])
def test_any_change_is_seen(change: object) -> None:
    network = tiny.unet()
    remember_hash(network, "0" * 16)
    change(network)  # type: ignore[operator]
    assert known_hash(network) is None


def test_another_layout_in_memory_is_the_same() -> None:
    network = tiny.unet()
    remember_hash(network, "0" * 16)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert known_hash(network) == "0" * 16


def test_a_denoiser_keeps_its_hash_through_moves() -> None:
    model = tiny.denoiser(dtype=torch.float32)
    for move in ({"dtype": torch.bfloat16}, {"device": "meta"}):
        model.to(**move)  # type: ignore[arg-type]
        assert known_hash(model.network) == model.weight_hash
    changed = tiny.denoiser()
    in_place(changed.network)
    changed.to(dtype=torch.float32)
    assert known_hash(changed.network) is None


def test_a_move_that_fails_changes_nothing() -> None:
    network = tiny.unet()
    remember_hash(network, "0" * 16)
    with pytest.raises(RuntimeError), same_weights(network):
        raise RuntimeError
    assert known_hash(network) == "0" * 16


def test_made_in_inference_mode() -> None:
    with torch.inference_mode():
        network = nn.Sequential(nn.Linear(2, 2), nn.Linear(0, 1))
    remember_hash(network, "0" * 16)
    assert known_hash(network) == "0" * 16


def test_a_network_is_not_kept_alive() -> None:
    network = nn.Linear(2, 2)
    remember_hash(network, "0" * 16)
    before = len(hashes._KNOWN)
    del network
    gc.collect()
    assert len(hashes._KNOWN) < before
