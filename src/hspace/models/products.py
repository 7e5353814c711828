r"""Products with the Jacobian of a denoiser, J = d eps(x_t, h) / d h, and with its transpose.

x_t is held fixed, and with it every skip connection of the encoder: only what lies behind the tap is differentiated
(where the tap is in the encoder, later skips move with h). There are three
routes to J v; J^T u always comes from reverse mode, on a graph that is kept:

    double_vjp            u -> J^T u is linear, and its transpose is J: reverse mode on the graph of reverse mode.
                          Exact; both graphs are kept, so that a product costs one pass. See `transposes`.
    forward_ad            dual numbers: exact, and every product is a pass with its derivative.
    central_differences   (eps(h + a v) - eps(h - a v)) / 2 a: two passes and the rounding of a difference, about
                          1e-3 of J v in float32.

PyTorch's fused attention has neither second derivatives nor forward mode, so attention is computed plainly here.
Half precision is too coarse for any of them: products are made with a float32 copy of the network.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Literal, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from hspace.errors import HspaceError
from hspace.models.denoiser import Denoiser, Encoding
from hspace.models.outputs import mapped
from hspace.models.transposes import transposable

__all__ = ["Products", "Route", "products"]

Route = Literal["double_vjp", "forward_ad", "central_differences"]
"""How J v is computed; the routes in the order in which they are tried."""


class Products:
    """J v and J^T u for the samples of an encoding, `block` vectors of each at a time.

    Memory is that of one pass of the decoder, forward and backward, over n x block rows.

    Args:
        model: In float32 or float64 (`Denoiser.widened`).
        encoding: Of n samples, by the same model.
        block: Vectors of each sample in one product; fewer are padded.
        route: How J v is computed.

    Raises:
        HspaceError: A route that does not work for the network.

    Example:
        >>> import hspace, torch
        >>> from hspace.models.products import Products
        >>> model = hspace.load("faces64")
        >>> encoding = model.encode(torch.randn(1, 3, 64, 64), 500)
        >>> jacobian = Products(model, encoding)
        >>> v, u = torch.randn(1, 1, 8192), torch.randn(1, 1, 12288)
        >>> jv, jtu = jacobian.forward(v), jacobian.transposed(u)
        >>> jv.shape, jtu.shape, bool(((jv * u).sum() - (jtu * v).sum()).abs() < 1e-3 * jv.norm() * u.norm())
        (torch.Size([1, 1, 12288]), torch.Size([1, 1, 8192]), True)
    """

    def __init__(self, model: Denoiser, encoding: Encoding, block: int = 1, route: Route = "double_vjp") -> None:
        self.model, self.route = model, route
        self.n, self.block = len(encoding.h), block
        detached = encoding.h.detach().contiguous()
        # Forward mode of group norm wants its input so.
        recorded, others = (mapped(Tensor.contiguous, kept) for kept in (encoding.recorded, encoding.others))
        self._encoding = replace(encoding, h=detached, recorded=recorded, others=others)
        times = [block, *[1] * (detached.ndim - 1)]
        self._h = detached.repeat(*times).requires_grad_(True)
        layers: AbstractContextManager[None] = transposable(model.network) if route == "double_vjp" else nullcontext()
        with self._attempt(), torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), layers:
            self._eps = model.decode(self._encoding, self._h).eps
            if not self._eps.requires_grad:
                raise HspaceError(f"eps of {model.model_id} does not depend on h at {model.tap.name!r}")
            if route == "double_vjp":
                self._u = torch.zeros_like(self._eps, requires_grad=True)
                (self._moved,) = torch.autograd.grad(self._eps, self._h, self._u, create_graph=True)

    def forward(self, v: Float[Tensor, "n b d"]) -> Float[Tensor, "n b o"]:
        """J v, with o = c * h * w."""
        with self._attempt():
            routes = {"forward_ad": self._forward_ad, "central_differences": self._central_differences}
            return self._by_sample(routes.get(self.route, self._double_vjp)(self._rows(v, self._h)), v.shape[1])

    def transposed(self, u: Float[Tensor, "n b o"]) -> Float[Tensor, "n b d"]:
        """J^T u."""
        with self._attempt():
            (moved,) = torch.autograd.grad(self._eps, self._h, self._rows(u, self._eps), retain_graph=True)
        return self._by_sample(moved, u.shape[1])

    def error(self) -> float:
        """How far <J v, u> and <v, J^T u> are apart for a random v and u near J v, relative to |J v| |u|.

        Exact routes differ by rounding only.
        """
        generator = torch.Generator().manual_seed(0)
        shapes = [(self.n, self.block, x[0].numel()) for x in (self._h, self._eps)]
        v, r = (torch.randn(shape, generator=generator, dtype=torch.float64).to(self._h) for shape in shapes)
        forward = self.forward(v)
        # Not random alone: random vectors of many dimensions are orthogonal to everything, and would agree on nothing.
        u = forward + r * forward.norm(dim=-1, keepdim=True) / r.norm(dim=-1, keepdim=True)
        transposed = self.transposed(u)
        apart = (forward * u).sum(-1) - (v * transposed).sum(-1)
        return float((apart.abs() / (forward.norm(dim=-1) * u.norm(dim=-1)).clamp_min(1e-30)).max())

    @contextmanager
    def _attempt(self) -> Iterator[None]:
        try:
            with torch.backends.cudnn.flags(allow_tf32=False):  # its 10 bits are too few for residuals of 1e-3
                yield
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, NotImplementedError) as error:  # an operation without the derivative that is needed
            reason = " ".join(str(error).split())[:150]
            raise _RouteFails(f"route {self.route} does not work for {self.model.model_id} ({reason})") from error

    def _rows(self, vectors: Tensor, like: Tensor) -> Tensor:
        """(n, b, ...) as the rows of a pass: b blocks of n, as `Denoiser.decode` has them, padded to the block."""
        if missing := self.block - vectors.shape[1]:
            vectors = torch.cat([vectors, vectors.new_zeros(self.n, missing, vectors.shape[2])], 1)
        return vectors.transpose(0, 1).reshape(like.shape)

    def _by_sample(self, rows: Tensor, wanted: int) -> Tensor:
        return rows.reshape(self.block, self.n, -1).transpose(0, 1)[:, :wanted]

    def _double_vjp(self, v: Tensor) -> Tensor:
        return torch.autograd.grad(self._moved, self._u, v, retain_graph=True)[0]

    def _forward_ad(self, v: Tensor) -> Tensor:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), forward_ad.dual_level():
            dual = forward_ad.make_dual(self._h.detach(), v)
            return cast(Tensor, forward_ad.unpack_dual(self.model.decode(self._encoding, dual).eps).tangent)

    def _central_differences(self, v: Tensor) -> Tensor:
        """The step balances the rounding of eps against the curvature of the network."""
        h = self._h.detach()
        size, length = (x.flatten(1).norm(dim=1).reshape(-1, *[1] * (x.ndim - 1)) for x in (h, v))
        a = torch.finfo(h.dtype).eps ** (1 / 3) * size / length.clamp_min(torch.finfo(h.dtype).tiny)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            above, below = (self.model.decode(self._encoding, h + sign * a * v).eps for sign in (1, -1))
        difference: Tensor = (above - below) / (2 * a).reshape(-1, *[1] * (above.ndim - 1))
        return difference


def products(model: Denoiser, encoding: Encoding, block: int = 1, route: Route | None = None) -> Products:
    """Products by the first route that works for the network, or by a given one: <J v, u> = <v, J^T u> is checked.

    Raises:
        HspaceError: None works: the network can't be differentiated at all.
    """
    rounding = torch.finfo(encoding.h.dtype).eps ** 0.5
    reasons = []
    candidates: tuple[Route, ...] = get_args(Route) if route is None else (route,)
    for candidate in candidates:
        try:
            found = Products(model, encoding, block, candidate)
            error = found.error()
        except _RouteFails as failure:
            reasons.append(str(failure))
            continue
        if error <= (rounding if candidate != "central_differences" else 0.02):
            return found
        reasons.append(f"route {candidate}: J and its transpose disagree by {error:.1e}")
    raise HspaceError(f"no route to products with the Jacobian: {'; '.join(reasons)}")


class _RouteFails(HspaceError):
    """The network has an operation that the route can't differentiate."""
