r"""Layers whose derivative can be applied, transposed and transposed again, each for the price of one pass.

A product J v with the Jacobian of a network comes out of reverse mode twice: u -> J^T u is linear in u, and its own
transpose is J. With PyTorch's layers that second pass costs several forward passes: the second derivative of a
convolution also computes that of its weights, whether or not anyone asks, and the one of a normalisation is built from
dozens of elementary steps. Inside `transposable(network)` these layers are

    convolution   y = K x + b                       J = K,   J^T = K^T: x is not kept at all
    group norm    y = gamma xhat + beta             J = gamma N,   J^T = N gamma,   N = (I - P) / sigma symmetric,
                                                    P the projection on the mean and on xhat within each group
    SiLU          y = x s(x)                        J = J^T = diag(s + x s (1 - s))

with the very outputs they always have. Only products with J and J^T are right inside: derivatives of J itself with
respect to x are not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import Function

__all__ = ["transposable"]


@contextmanager
def transposable(network: nn.Module) -> Iterator[None]:
    """Convolutions, group norms and SiLUs of a network as above; after the context they are what they were."""
    with ExitStack() as stack:
        for module in network.modules():
            forward = _forward_of(module)
            if forward is not None and "forward" not in module.__dict__:
                module.__dict__["forward"] = forward
                stack.callback(module.__dict__.pop, "forward")
        yield


def _forward_of(module: nn.Module) -> Callable[[Tensor], Tensor] | None:
    if type(module) is nn.Conv2d and module.padding_mode == "zeros" and isinstance(module.padding, tuple):
        return lambda x: _applied(_Convolution, x, module)
    if type(module) is nn.GroupNorm:
        return lambda x: _applied(_GroupNorm, x, module)
    if type(module) is nn.SiLU and not module.inplace:
        return lambda x: _applied(_SiLU, x)
    return None


def _applied(function: type[Function], *arguments: Any) -> Tensor:
    return cast(Tensor, function.apply(*arguments))


class _Convolution(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, module: nn.Conv2d) -> Tensor:
        ctx.module, ctx.shape = module, x.shape
        y: Tensor = module._conv_forward(x, module.weight, module.bias)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _applied(_ConvolutionTransposed, grad, ctx.module, ctx.shape), None


class _ConvolutionTransposed(Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor, module: nn.Conv2d, shape: torch.Size) -> Tensor:
        ctx.module = module
        arguments = (module.stride, module.padding, module.dilation, False, (0, 0), module.groups)
        like = grad.new_empty(1).expand(shape)
        moved, _, _ = torch.ops.aten.convolution_backward(
            grad, like, module.weight, None, *arguments, (True, False, False)
        )
        return cast(Tensor, moved)

    @staticmethod
    def backward(ctx: Any, tangent: Tensor) -> tuple[Tensor, None, None]:
        return ctx.module._conv_forward(tangent, ctx.module.weight, None), None, None


class _GroupNorm(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, module: nn.GroupNorm) -> Tensor:
        x = x.contiguous()
        sizes = (*x.shape[:2], x[0, 0].numel(), module.num_groups)
        y, mean, rstd = torch.ops.aten.native_group_norm(x, module.weight, module.bias, *sizes, module.eps)
        ctx.save_for_backward(x, mean, rstd)
        ctx.weight, ctx.sizes = module.weight, sizes
        return cast(Tensor, y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _applied(_GroupNormTransposed, grad, ctx.weight, ctx.sizes, *ctx.saved_tensors), None


class _GroupNormTransposed(Function):
    @staticmethod
    def forward(ctx: Any, grad: Tensor, weight: Tensor | None, sizes: tuple[int, ...], *saved: Tensor) -> Tensor:
        ctx.weight, ctx.sizes = weight, sizes
        ctx.save_for_backward(*saved)
        return _normalised(grad, saved, sizes, weight)

    @staticmethod
    def backward(ctx: Any, tangent: Tensor) -> tuple[Tensor | None, ...]:
        moved = _normalised(tangent, ctx.saved_tensors, ctx.sizes, None)  # N is symmetric
        if ctx.weight is not None:
            moved = moved * ctx.weight.reshape(-1, *[1] * (moved.ndim - 2))
        return moved, None, None, None, None, None


def _normalised(x: Tensor, saved: Sequence[Tensor], sizes: tuple[int, ...], weight: Tensor | None) -> Tensor:
    """N gamma x."""
    only_x = (True, False, False)
    moved, _, _ = torch.ops.aten.native_group_norm_backward(x.contiguous(), *saved, weight, *sizes, only_x)
    return cast(Tensor, moved)


class _SiLU(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(_silu_slope(x))
        return nn.functional.silu(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        slope: Tensor = ctx.saved_tensors[0]
        return grad * slope


def _silu_slope(x: Tensor) -> Tensor:
    gate = torch.sigmoid(x)
    return gate.addcmul(x * gate, 1 - gate)
