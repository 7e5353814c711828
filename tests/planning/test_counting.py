"""Counts against closed forms."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tests import tiny
from torch import Tensor, nn

from hspace.models import Tap
from hspace.planning import Pass, counted


class Layers(nn.Module):
    """A skip over two convolutions: three pictures of 4 channels are alive at the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.inner = nn.Conv2d(4, 4, 1, bias=False)
        self.out = nn.Conv2d(4, 3, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        first = self.into(x)
        return self.out(first + self.inner(first))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(self.same(x), x, x)


def on(device: str, n: int) -> Pass:
    with torch.device(device):
        network, x = Layers(), torch.zeros(n, 3, 8, 8)
    return counted(network, lambda: network(x), Tap(network, "inner"))


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("n", [1, 5])
def test_convolutions(device: str, n: int) -> None:
    found = on(device, n)
    pixels = n * 64
    assert found.operations == 2 * pixels * (3 * 4 * 9 + 4 * 4 + 4 * 3)
    assert found.activations == 4 * pixels * 3 * 4  # float32; `first`, that behind `inner`, and the sum
    assert found.weights == 4 * (3 * 4 * 9 + 4 * 4 + 4 * 3)
    assert (found.h_numbers, found.h_bytes) == (4 * pixels, 4)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_attention_has_its_operations_and_no_matrix_of_pairs(device: str) -> None:
    batch, heads, tokens, width = 2, 3, 50, 8
    network, x = Attention(), torch.zeros(batch, heads, tokens, width, device=device)
    found = counted(network, lambda: network(x), Tap(network, "same"))
    assert found.operations == 2 * 2 * batch * heads * tokens * tokens * width
    assert found.activations == 4 * x.numel()


def test_what_was_there_before_does_not_count() -> None:
    network, x = nn.Sequential(nn.Linear(4, 2)), torch.zeros(10, 4)
    kept: list[Tensor] = []

    def twice() -> None:
        kept.append(network(x))
        network(kept[0].T.reshape(5, 4))  # a copy, and its product

    assert counted(network, twice, Tap(network, "0")).activations == 4 * (20 + 20 + 10)


def passed(dtype: torch.dtype, device: str, n: int = 1) -> Pass:
    model = tiny.denoiser(dtype=dtype)
    model.to(device)
    x_t = torch.zeros(n, *tiny.IMAGE_SHAPE, device=device, dtype=model.state_dtype)
    call: Callable[[], object] = lambda: model.observe(x_t, 3)  # noqa: E731
    return counted(model.network, call, model.tap)


def test_a_network_without_numbers_counts_as_one_with_them() -> None:
    found, there = passed(torch.float32, "meta"), passed(torch.float32, "cpu")
    assert (found.operations, found.weights, found.h_numbers) == (there.operations, there.weights, 8 * 4 * 4)
    assert found.activations == pytest.approx(there.activations, rel=0.2)  # kernels differ in what they keep


def test_counts_go_with_samples_and_precision() -> None:
    one, four, wide = passed(torch.float32, "meta"), passed(torch.float32, "meta", 4), passed(torch.float64, "meta")
    assert four.operations == 4 * one.operations == 4 * wide.operations
    assert wide.weights == 2 * one.weights
    assert 3 * one.activations < four.activations <= 4 * one.activations
    assert (wide.h_bytes, one.h_bytes) == (8, 4)


def test_h_may_be_what_goes_into_a_module() -> None:
    model = tiny.denoiser(tap="before")
    x_t = torch.zeros(1, *tiny.IMAGE_SHAPE, dtype=torch.float64)
    found = counted(model.network, lambda: model.observe(x_t, 3), model.tap)
    assert found.h_numbers == torch.Size(model.h_shape).numel()
