"""Against the dense Jacobian by torch.func on diffusers' own forward, float64."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from tests import tiny
from torch import Tensor, nn

from hspace.errors import HspaceError
from hspace.models import Denoiser
from hspace.models.products import Products, Route, products

MODELS = {
    **{kind: lambda kind=kind: tiny.denoiser(kind) for kind in tiny.PREDICTION_TYPES},
    "tap in the decoder": lambda: tiny.denoiser(tap="up_blocks.0"),
    "tap in the encoder": lambda: tiny.denoiser(tap="down_blocks.1"),
    "no diffusers": tiny.plain_denoiser,
}
EXACT = {"double_vjp": 1e-10, "forward_ad": 1e-10, "central_differences": 1e-5}


def states(model: Denoiser, n: int = 2) -> Tensor:
    return torch.randn(n, *model.image_shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def dense_jacobian(model: Denoiser, x_t: Tensor, timestep: int) -> Tensor:
    """(o, d) of one sample, by finite-precision-free means: forward over nothing but `predict` with a shift."""
    shape = model.h_shape

    def eps(shift: Tensor) -> Tensor:
        return model.predict(x_t[None], timestep, shift=shift.reshape(1, *shape)).eps.flatten()

    zero = torch.zeros(torch.Size(shape).numel(), dtype=torch.float64)
    jacobian: Tensor = torch.autograd.functional.jacobian(eps, zero)
    return jacobian


@pytest.mark.parametrize(
    ("name", "route"),
    [
        (name, route)
        for name in MODELS
        for route in get_args(Route)
        if (name, route) != ("tap in the encoder", "forward_ad")  # the next test
    ],
)
def test_products_are_those_of_the_dense_jacobian(name: str, route: Route) -> None:
    model = MODELS[name]()
    x_t = states(model)
    encoding = model.encode(x_t, 40)
    found = Products(model, encoding, block=3, route=route)
    d, o = encoding.h[0].numel(), x_t[0].numel()
    v, u = torch.randn(2, 3, d, dtype=torch.float64), torch.randn(2, 3, o, dtype=torch.float64)
    for i in range(2):
        dense = dense_jacobian(model, x_t[i], 40)
        for some in (3, 2):  # fewer than the block
            torch.testing.assert_close(found.forward(v[:, :some])[i], v[i, :some] @ dense.T, rtol=0, atol=EXACT[route])
            torch.testing.assert_close(found.transposed(u[:, :some])[i], u[i, :some] @ dense, rtol=0, atol=1e-10)
    assert found.error() <= EXACT[route]


def test_a_route_that_does_not_work_says_why() -> None:
    """PyTorch's group norm has forward mode for contiguous input only, and diffusers' down blocks don't care."""
    model = tiny.denoiser(tap="down_blocks.1")
    found = Products(model, model.encode(states(model), 40), route="forward_ad")
    with pytest.raises(HspaceError, match="route forward_ad does not work for UNet2DModel"):
        found.forward(torch.randn(2, 1, math.prod(model.h_shape), dtype=torch.float64))


class TwiceWrong(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        return x.sin()

    @staticmethod
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        raise NotImplementedError("no derivative at all")


def test_a_network_without_derivatives_is_named_with_all_reasons() -> None:
    model = Denoiser(Network(TwiceWrong), tiny.scheduler().alphas_cumprod, image_shape=(3, 8, 8), tap="inner")
    with pytest.raises(HspaceError, match=r"no route to products.*double_vjp.*forward_ad.*central_differences"):
        products(model, model.encode(torch.randn(1, 3, 8, 8), 40))


def test_the_first_route_is_taken_where_it_works() -> None:
    model = tiny.denoiser()
    assert products(model, model.encode(states(model), 40)).route == "double_vjp"


class OnceDifferentiable(torch.autograd.Function):
    """Reverse mode only: no second derivative, no forward mode."""

    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        return x.sin()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return grad * ctx.saved_tensors[0].cos()


class WithForwardMode(OnceDifferentiable):
    @staticmethod
    def forward(ctx, x):  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)
        return x.sin()

    @staticmethod
    def jvp(ctx, tangent):  # type: ignore[no-untyped-def]
        return tangent * ctx.saved_tensors[0].cos()


class WrongForwardMode(WithForwardMode):
    @staticmethod
    def jvp(ctx, tangent):  # type: ignore[no-untyped-def]
        return 1.1 * tangent


class Network(nn.Module):
    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.function, self.inner = function, nn.Conv2d(3, 4, 3, padding=1)
        self.outer = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        return self.outer(self.function.apply(self.inner(x_t)))


@pytest.mark.parametrize(
    ("function", "route"),
    [
        (WithForwardMode, "forward_ad"),
        (OnceDifferentiable, "central_differences"),
        (WrongForwardMode, "central_differences"),  # the self-check catches it
    ],
)
def test_the_next_route_is_taken_where_one_fails(function: type[torch.autograd.Function], route: Route) -> None:
    torch.manual_seed(0)
    network = Network(function).double()
    model = Denoiser(network, tiny.scheduler().alphas_cumprod, image_shape=(3, 8, 8), tap="inner")
    x_t = states(model, 1)
    found = products(model, model.encode(x_t, 40))
    assert found.route == route
    v = torch.randn(1, 1, 256, dtype=torch.float64)
    expected = torch.func.jvp(lambda h: network.outer(h.sin()), (network.inner(x_t),), (v.reshape(1, 4, 8, 8),))[1]
    torch.testing.assert_close(found.forward(v).flatten(), expected.flatten(), rtol=0, atol=1e-6)


class WrongSign(OnceDifferentiable):
    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):  # type: ignore[no-untyped-def]
        return -grad * ctx.saved_tensors[0].cos()


def test_a_wrong_derivative_is_found_at_real_sizes_too() -> None:
    """Random vectors of 12,288 dimensions are orthogonal to everything: the check must not rest on them alone."""
    torch.manual_seed(0)
    model = Denoiser(Network(WrongSign), tiny.scheduler().alphas_cumprod, image_shape=(3, 64, 64), tap="inner")
    encoding = model.encode(torch.randn(1, 3, 64, 64), 40)
    with pytest.raises(HspaceError, match=r"no route.*central_differences: J and its transpose disagree"):
        products(model, encoding)
    with pytest.raises(HspaceError, match=r"route central_differences: J and its transpose disagree"):
        products(model, encoding, route="central_differences")


class Blind(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        self.inner(x_t)
        return 2 * x_t


def test_a_dead_tap_is_named() -> None:
    model = Denoiser(Blind(), tiny.scheduler().alphas_cumprod, image_shape=(3, 8, 8), tap="inner")
    encoding = model.encode(torch.randn(1, 3, 8, 8), 40)
    with pytest.raises(HspaceError, match="eps of custom does not depend on h at 'inner'"):
        products(model, encoding)


def test_half_precision_is_widened_and_float_is_not_copied() -> None:
    model = tiny.denoiser(dtype=torch.bfloat16)
    wide = model.widened()
    assert (wide.dtype, model.dtype, wide.weight_hash) == (torch.float32, torch.bfloat16, model.weight_hash)
    x_t = states(model).float()
    found = Products(wide, wide.encode(x_t, 40))
    assert found.forward(torch.randn(2, 1, 128)).dtype == torch.float32
    assert wide.widened() is wide


def test_nothing_of_the_network_is_changed() -> None:
    model = tiny.denoiser()
    x_t = states(model)
    before = model.predict(x_t, 40).eps
    Products(model, model.encode(x_t, 40)).forward(torch.randn(2, 1, 128, dtype=torch.float64))
    assert torch.equal(model.predict(x_t, 40).eps, before)
    assert not any("forward" in module.__dict__ for module in model.network.modules())
