"""Jacobian directions against a naive baseline: same model, same sample, same residual, one run.

The baseline is what one writes first: power iteration for one singular vector after the other, each deflated by those
found, J v and J^T u by `torch.autograd.functional` through the whole U-Net, until the relative residual of each is at
most the same tolerance.

    python benchmarks/jacobian.py                          # faces64, 10 timesteps, k = 3, residual 1e-3
    python benchmarks/jacobian.py --memory                 # peak memory of a product against one pass of the decoder
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field

import torch
from diffusers import UNet2DModel
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

import hspace
from hspace.discovery.jacobian import Jacobian
from hspace.models import Denoiser
from hspace.models.products import Products


@dataclass
class Cost:
    """Of the decomposition at some timesteps."""

    seconds: list[float] = field(default_factory=list)
    products: list[int] = field(default_factory=list)
    passes: list[float] = field(default_factory=list)
    residuals: list[float] = field(default_factory=list)
    values: list[list[float]] = field(default_factory=list)

    def total(self) -> str:
        return (
            f"{sum(self.seconds):8.2f} s, {sum(self.products)} products with J^T J, {sum(self.passes):.0f} passes, "
            f"largest residual {max(self.residuals):.1e}"
        )


def states(sampler: hspace.Sampler, seed: int) -> dict[int, Tensor]:
    """x_t of the sample's own trajectory."""
    found: dict[int, Tensor] = {}
    sampler.run([seed], visit=lambda timestep, x_t, _: found.__setitem__(timestep, x_t))
    return found


def squared(model: Denoiser, x_t: Tensor, timestep: int, v: Tensor) -> tuple[Tensor, Tensor]:
    """J v and J^T J v by `torch.autograd.functional` through the whole U-Net."""

    def eps(h_shift: Tensor) -> Tensor:
        return model.predict(x_t, timestep, shift=h_shift).eps

    zero = torch.zeros(1, *model.h_shape, device=model.device)
    _, jv = torch.autograd.functional.jvp(eps, zero, v)
    _, w = torch.autograd.functional.vjp(eps, zero, jv)
    return jv, w


def naive(
    model: Denoiser, x_t: Tensor, timestep: int, k: int, tol: float, cap: int
) -> tuple[int, list[float], list[float]]:
    """Sequential power iteration with deflation; number of products, singular values, residuals."""
    zero = torch.zeros(1, *model.h_shape, device=model.device)
    generator = torch.Generator().manual_seed(timestep)
    found: list[Tensor] = []
    values, residuals, products = [], [], 0
    for _ in range(k):
        v = torch.randn(zero.shape, generator=generator).to(zero)
        for _ in range(cap):
            for other in found:
                v = v - (v * other).sum() * other
            v = v / v.norm()
            _, w = squared(model, x_t, timestep, v)
            products += 1
            for other in found:
                w = w - (w * other).sum() * other
            square = float((v * w).sum())
            residual = float((w - square * v).norm()) / square
            v, last = w, v
            if residual <= tol:
                break
        found.append(last)
        values.append(math.sqrt(square))
        residuals.append(residual)
    return products, values, residuals


def measure_naive(model: Denoiser, trajectory: dict[int, Tensor], k: int, tol: float, cap: int) -> Cost:
    cost = Cost()
    for timestep, x_t in trajectory.items():
        started = time.perf_counter()
        with sdpa_kernel(SDPBackend.MATH):
            products, values, residuals = naive(model, x_t, timestep, k, tol, cap)
        _synchronise(model)
        cost.seconds.append(time.perf_counter() - started)
        cost.products.append(products)
        cost.passes.append(5.0 * products)  # forward, backward, its backward; forward, backward
        cost.residuals.append(max(residuals))
        cost.values.append(values)
        print(f"  naive t = {timestep}: {cost.seconds[-1]:6.2f} s, {products} products", flush=True)
    return cost


def measure_ours(sampler: hspace.Sampler, seed: int, k: int, tol: float, block_size: int | None) -> Cost:
    """The whole fit but the unit of strength, trajectory included."""
    jacobian = Jacobian(k, tol=tol, block_size=block_size, unit_seeds=range(2))
    marks: list[float] = []
    jacobian._directions = lambda *_: marks.append(time.perf_counter())  # type: ignore[assignment, method-assign]
    _synchronise(sampler.model)
    started = time.perf_counter()
    jacobian.fit(sampler, [seed])
    _synchronise(sampler.model)
    cost = Cost([marks[0] - started])
    cost.products = jacobian.products_[0].tolist()
    cost.passes = [2.0 * p + 3.0 for p in cost.products]  # each product 2; encode, decode, the graph of its transpose
    cost.residuals = jacobian.residuals_[0].amax(1).tolist()
    cost.values = jacobian.singular_values_[0].tolist()
    return cost


def _synchronise(model: Denoiser) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize()


def compare(args: argparse.Namespace) -> None:
    model = hspace.load(args.model, device=args.device)
    sampler = hspace.Sampler(model, args.steps)
    trajectory = states(sampler, args.seed)
    measure_ours(hspace.Sampler(model, 2), args.seed, args.components, args.tol, args.block_size)  # warm up
    ours = measure_ours(sampler, args.seed, args.components, args.tol, args.block_size)
    print(f"ours  {ours.total()}", flush=True)
    print(f"      products by timestep {ours.products}, limit about {args.components + 5}")
    if args.no_baseline:
        return
    baseline = measure_naive(model, trajectory, args.components, args.tol, args.cap)
    print(f"naive {baseline.total()}")
    again = measure_ours(sampler, args.seed, args.components, args.tol, args.block_size)
    print(f"ours  {again.total()} (again, after)")
    apart = [
        max(abs(a / b - 1) for a, b in zip(mine, theirs, strict=True))
        for mine, theirs in zip(ours.values, baseline.values, strict=True)
    ]
    print(f"largest relative difference of singular values {max(apart):.1e}")
    slower = max(sum(ours.seconds), sum(again.seconds))
    print(f"ratio {sum(baseline.seconds) / slower:.1f}x, products {sum(baseline.products) / sum(ours.products):.1f}x")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"ours": asdict(ours), "again": asdict(again), "naive": asdict(baseline)}, file, indent=1)


def wide_model() -> Denoiser:
    """A U-Net whose activations are large beside its weights: 128 x 128, 256 channels' worth of them."""
    torch.manual_seed(0)
    network = UNet2DModel(
        sample_size=128,
        block_out_channels=(64, 64, 128),
        down_block_types=("DownBlock2D",) * 3,
        up_block_types=("UpBlock2D",) * 3,
    )
    return Denoiser(network, torch.linspace(0.999, 0.01, 100), image_shape=(3, 128, 128))


def peak(what: str) -> None:
    """Prints this process's peak resident memory in MB after one job, and before it."""
    model = wide_model()
    x_t = torch.randn(1, *model.image_shape)
    with torch.no_grad():
        encoding = model.encode(x_t, 50)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if what == "pass":
        h = encoding.h.requires_grad_(True)
        model.decode(encoding, h).eps.square().sum().backward()
    else:
        jacobian = Products(model, encoding)
        for _ in range(3):
            jacobian.transposed(jacobian.forward(torch.randn(1, 1, encoding.h.numel())))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"before": before, "after": after}))


def memory() -> None:
    figures = {}
    for what in ("pass", "products"):
        done = subprocess.run([sys.executable, __file__, "--peak", what], capture_output=True, text=True, check=True)
        figures[what] = json.loads(done.stdout.splitlines()[-1])
        own = figures[what]["after"] - figures[what]["before"]
        print(f"{what:9} peak {figures[what]['after']:.0f} MB, {own:.0f} MB above what was there before")
    whole = figures["products"]["after"] / figures["pass"]["after"]
    grown = (figures["products"]["after"] - figures["products"]["before"]) / (
        figures["pass"]["after"] - figures["pass"]["before"]
    )
    print(f"ratio of peaks {whole:.2f}, of what was added {grown:.2f} (limit 1.5)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="faces64")
    parser.add_argument("--device")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--components", type=int, default=3)
    parser.add_argument("--tol", type=float, default=1e-3)
    parser.add_argument("--block-size", type=int)
    parser.add_argument("--cap", type=int, default=2000, help="iterations of the baseline for one vector")
    parser.add_argument("--no-baseline", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--peak", choices=("pass", "products"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        peak(args.peak)
    elif args.memory:
        memory()
    else:
        compare(args)


if __name__ == "__main__":
    main()
