"""Reconstructors: shapes, sizes, and that a pair's answer is its own."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from sklearn.metrics import log_loss
from tests import tiny
from torch import Tensor

from hspace.errors import HspaceError
from hspace.learning import Reconstructor
from hspace.learning.reconstructor import Answer, ReconstructorSize, reconstruction_losses

SIZES = get_args(ReconstructorSize)


def pairs(n: int, channels: int, side: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    plain, shifted = torch.randn(2, n, channels, side, side, generator=generator).unbind(0)
    return plain, shifted


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("side", [8, 28, 64])
@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_every_pair_has_its_own_answer(size: ReconstructorSize, side: int, channels: int) -> None:
    network = Reconstructor(channels, 5, size, side, seed=0)
    plain, shifted = pairs(3, channels, side)
    answer = network(plain, shifted)
    assert answer.kinds.shape == (3, 5)
    assert answer.strengths.shape == (3,)
    for i in range(3):
        alone = network(plain[i : i + 1], shifted[i : i + 1])
        torch.testing.assert_close(alone.kinds, answer.kinds[i : i + 1], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(alone.strengths, answer.strengths[i : i + 1], atol=1e-5, rtol=1e-5)
    assert float((answer.kinds[0] - answer.kinds[1]).abs().max()) > 1e-4
    assert network.training  # nothing in it behaves otherwise in training
    torch.testing.assert_close(network.eval()(plain, shifted).kinds, answer.kinds)


@pytest.mark.parametrize("side", [28, 64])
def test_sizes_are_those_of_their_names(side: int) -> None:
    """torchvision's ResNet-18 has 11.7 million weights with its head of 1000 classes, LeNet-5 has 61706."""
    large, small = (sum(p.numel() for p in Reconstructor(3, 10, s, side, seed=0).parameters()) for s in SIZES)
    assert 11.0e6 < large < 11.4e6
    assert 5e4 < small < 1e5


@pytest.mark.parametrize("size", SIZES)
def test_a_seed_is_a_start_and_the_global_generator_is_left_alone(size: ReconstructorSize) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = Reconstructor(3, 4, size, 8, seed=1)
    assert torch.equal(torch.rand(3), expected)
    again, other = (Reconstructor(3, 4, size, 8, seed=seed) for seed in (1, 2))
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.kind.weight, other.kind.weight)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("head", ["kinds", "strengths"])
def test_gradients_reach_every_picture_and_weight(size: ReconstructorSize, head: str) -> None:
    network = Reconstructor(3, 4, size, 8, seed=1)
    plain, shifted = (x.requires_grad_() for x in pairs(3, 3, 8))
    getattr(network(plain, shifted), head).square().sum().backward()
    for x in (plain, shifted):
        assert x.grad is not None
        assert bool((x.grad.flatten(1).norm(dim=1) > 0).all())
    of_head = {"kinds": "kind", "strengths": "strength"}
    touched = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert touched == {"features", of_head[head]}


def test_losses_are_those_of_their_names() -> None:
    generator = torch.Generator().manual_seed(0)
    answer = Answer(torch.randn(6, 3, generator=generator), torch.randn(6, generator=generator))
    kinds, strengths = torch.tensor([0, 1, 2, 2, 1, 0]), torch.randn(6, generator=generator, dtype=torch.float64)
    entropy, error = reconstruction_losses(answer, kinds, strengths)
    for i in range(6):
        expected = log_loss([int(kinds[i])], answer.kinds[i : i + 1].double().softmax(1).numpy(), labels=[0, 1, 2])
        assert float(entropy[i]) == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(error.double(), (answer.strengths.double() - strengths).abs(), atol=1e-6, rtol=0)


def test_an_unknown_size() -> None:
    with tiny.unchecked_types(), pytest.raises(HspaceError, match="must be one of resnet18, lenet, not 'vgg'"):
        Reconstructor(3, 4, "vgg", 8, seed=0)  # type: ignore[arg-type]
