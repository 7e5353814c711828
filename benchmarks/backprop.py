"""Gradients through the whole sampler: peak memory against the number of steps, time against one graph of everything.

    python benchmarks/backprop.py [--steps 5 20] [--batch 4] [--segment 1]

Each figure is of a fresh process on faces64 (float32, eta 0, symmetric; a shift of h for every step is what gets
gradients). Memory is the peak of the resident set above that before the gradients, with `segment` steps in a graph and
with all of them in one (automatic differentiation through everything, the naive way). Limits: memory at 20 steps at
most 1.2 times that at 5 (one graph: about 4 times), time at most 1.4 times that of one graph where both fit.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

import hspace


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MB


def prepared(model: hspace.Denoiser, steps: int, batch: int, segment: int) -> Callable[[], object]:
    """One pass there and back, warmed up."""
    sampler = hspace.Sampler(model, steps, 0.0, batch_size=batch)
    shifts = {t: torch.zeros(model.h_shape, device=model.device, requires_grad=True) for t in sampler.timesteps}
    sampler.run(range(batch))  # warm up

    def change(timestep: int, h: Tensor, _: slice) -> Tensor:
        return h + shifts[timestep].to(h)

    def loss(x_0: Tensor, _: slice) -> Tensor:
        return x_0.square().mean()

    return lambda: hspace.backpropagate(sampler, range(batch), change, loss, segment=segment)


def one(steps: int, batch: int, segment: int) -> None:
    """Prints peak memory and time of one pass there and back."""
    work = prepared(hspace.load("faces64"), steps, batch, segment)
    before = peak()
    began = time.perf_counter()
    work()
    print(peak() - before, time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, nargs=2, default=(5, 20))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--segment", type=int, default=1)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    few, many = args.steps
    if args.one:
        one(many, args.batch, args.segment)
        return
    found: dict[tuple[str, int], tuple[float, float]] = {}
    for kind in ("segments", "one graph"):
        for steps in (few, many):
            segment = args.segment if kind == "segments" else steps
            command = [sys.executable, __file__, "--one", "--steps", str(few), str(steps)]
            command += ["--batch", str(args.batch), "--segment", str(segment)]
            memory, seconds = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            found[kind, steps] = (float(memory), float(seconds))
            print(f"{kind:9} {steps:3} steps: {float(memory):7.0f} MB, {float(seconds):5.1f} s", flush=True)
    for kind, limit in (("segments", "limit 1.2"), ("one graph", "about 4")):
        ratio = found[kind, many][0] / found[kind, few][0]
        print(f"{kind:9}: memory at {many} steps / at {few} steps = {ratio:.2f} ({limit})")
    for steps in (few, many):
        ratio = found["segments", steps][1] / found["one graph", steps][1]
        print(f"{steps:3} steps: time of segments / of one graph = {ratio:.2f} (limit 1.4)")


if __name__ == "__main__":
    main()
