"""Time of sampling with h recorded and an edit injected, against bare calls of the same U-Net.

    python benchmarks/sampling.py [--images 32] [--steps 20] [--rounds 3] [--dtype bfloat16]

Both do images x steps forward passes in the same batches, in turn, in one process; the ratio of the fastest rounds is
printed. Limit: 1.08.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

import hspace
from hspace.cli.options import parse_dtype
from hspace.diffusion import Injection
from hspace.directions import Edit


def works(sampler: hspace.Sampler, images: int) -> dict[str, Callable[[], object]]:
    """Bare calls of the network, and runs with as many: plain, and with h recorded and an edit injected."""
    model = sampler.model
    direction = hspace.random_directions(sampler.setting(), norms=[1.0] * len(sampler.timesteps))[0]
    seen: list[int] = []

    def record(_: int, h: Tensor, __: slice) -> None:
        seen.append(len(h))

    @torch.no_grad()
    def bare() -> None:
        for first in range(0, images, sampler.batch_size):
            n = min(sampler.batch_size, images - first)
            x_t = torch.randn(n, *model.image_shape, device=model.device, dtype=model.dtype)
            for t in sampler.timesteps:
                model.network(x_t, torch.full((n,), t, device=model.device))
        if model.device.type == "cuda":
            torch.cuda.synchronize()

    def edited(injection: Injection) -> Callable[[], object]:
        edit = Edit.of(direction, 1.5, injection=injection)
        return lambda: sampler.run(range(images), edit, record=record)

    return {
        "bare": bare,
        "plain": lambda: sampler.run(range(images)),
        "symmetric": edited("symmetric"),
        "asymmetric": edited("asymmetric"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", default="bfloat16")
    args = parser.parse_args()

    model = hspace.load("faces64", dtype=parse_dtype(args.dtype))
    sampler = hspace.Sampler(model, steps=args.steps, eta=1.0)
    all_works = works(sampler, args.images)
    bare, edited = all_works["bare"], all_works["symmetric"]
    for work in (bare, edited):  # warm up
        work()
    times: dict[str, list[float]] = {"bare": [], "edited": []}
    for _ in range(args.rounds):
        for name, work in (("bare", bare), ("edited", edited)):
            started = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - started)
    fastest = {name: min(seconds) for name, seconds in times.items()}
    per_call = 1000 * fastest["bare"] / (args.images * args.steps)
    print(f"{args.images} images x {args.steps} steps, batch {sampler.batch_size}, {args.dtype}, {model.device}")
    print(f"bare U-Net calls           {fastest['bare']:7.2f} s   ({per_call:.1f} ms an image and step)")
    print(f"h recorded, edit injected  {fastest['edited']:7.2f} s")
    print(f"ratio                      {fastest['edited'] / fastest['bare']:7.3f}     limit 1.08")
    print("rounds: " + ", ".join(f"{b:.2f}/{e:.2f}" for b, e in zip(times["bare"], times["edited"], strict=True)))


if __name__ == "__main__":
    main()
