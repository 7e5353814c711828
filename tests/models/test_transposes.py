from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from hspace.models.transposes import transposable

LAYERS = {
    "convolution": nn.Conv2d(4, 6, 3, padding=1),
    "strided": nn.Conv2d(4, 6, 4, stride=2, padding=1),
    "grouped, dilated, without bias": nn.Conv2d(4, 8, 3, dilation=2, groups=2, bias=False),
    "left alone: same padding": nn.Conv2d(4, 6, 3, padding="same"),
    "group norm": nn.GroupNorm(2, 4),
    "group norm without weights": nn.GroupNorm(4, 4, affine=False),
    "silu": nn.SiLU(),
    "left alone: circular padding": nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"),
    "left alone: in place": nn.Sequential(nn.Identity(), nn.ReLU()),
}


def randomised(layer: nn.Module, seed: int) -> nn.Module:
    layer = layer.double()
    torch.manual_seed(seed)
    for p in layer.parameters():
        nn.init.normal_(p)
    return layer.requires_grad_(False)


def both_products(layer: nn.Module, x: Tensor, v: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """y, J v and J^T u by reverse mode twice."""
    x = x.clone().requires_grad_(True)
    y = layer(x)
    w = torch.zeros_like(y, requires_grad=True)
    (moved,) = torch.autograd.grad(y, x, w, create_graph=True)
    (forward,) = torch.autograd.grad(moved, w, v, retain_graph=True)
    (transposed,) = torch.autograd.grad(y, x, u, retain_graph=True)
    return y.detach(), forward, transposed


@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 1000))
def test_products_are_those_of_the_dense_jacobian(name: str, seed: int) -> None:
    layer = randomised(LAYERS[name], seed)
    x, v = torch.randn(2, 2, 4, 6, 6, dtype=torch.float64)
    u = torch.randn(layer(x).shape, dtype=torch.float64)
    dense = torch.func.jacrev(layer)(x).reshape(u.numel(), v.numel())
    with transposable(layer):
        y, forward, transposed = both_products(layer, x, v, u)
    assert torch.equal(y, layer(x))
    torch.testing.assert_close(forward.flatten(), dense @ v.flatten(), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(transposed.flatten(), dense.T @ u.flatten(), rtol=1e-9, atol=1e-9)


def test_layers_are_themselves_again_even_after_an_exception() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.GroupNorm(1, 1), nn.SiLU())
    inside = []
    with suppress(ZeroDivisionError), transposable(network):
        inside = ["forward" in layer.__dict__ for layer in network]
        raise ZeroDivisionError
    assert inside == [True, True, True]
    assert not any("forward" in layer.__dict__ for layer in network)


def test_a_forward_that_someone_else_replaced_is_left_alone() -> None:
    layer = nn.SiLU()
    theirs = layer.__dict__["forward"] = lambda x: x + 1
    with transposable(layer):
        assert float(layer(torch.zeros(1))) == 1
    assert layer.__dict__["forward"] is theirs
