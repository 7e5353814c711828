"""PCA's share of the time it takes with its sampling, and peak memory against the number of samples.

    python benchmarks/pca.py time [--samples 128] [--steps 20]        share of PCA's own work; limit 10 %
    python benchmarks/pca.py memory [--samples 250 2000] [--steps 4]  peak resident memory, one process each; limit 1.1x

Memory is measured in fresh processes, one for each number of samples. Few steps make it quick: the sketches are one
for each step, whatever the number of samples.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

from torch import Tensor

import hspace
from hspace.cli.options import parse_dtype
from hspace.discovery.sketch import Sketch


def sampler_of(args: argparse.Namespace) -> hspace.Sampler:
    return hspace.Sampler(hspace.load("faces64", dtype=parse_dtype(args.dtype)), steps=args.steps, eta=1.0)


def share(args: argparse.Namespace) -> None:
    """Times every fold of a batch into the sketches, and the end of the fit."""
    spent = 0.0

    class Timed(hspace.PCA):
        def _sketched(self, batch: list[Tensor]) -> list[Sketch]:
            nonlocal spent
            started = time.perf_counter()
            sketches = super()._sketched(batch)
            spent += time.perf_counter() - started
            return sketches

        def _fold(self, parts: list[Sketch]) -> None:
            nonlocal spent
            started = time.perf_counter()
            super()._fold(parts)
            spent += time.perf_counter() - started

        def finish(self) -> hspace.PCA:
            nonlocal spent
            started = time.perf_counter()
            super().finish()
            spent += time.perf_counter() - started
            return self

    sampler = sampler_of(args)
    sampler.run(range(sampler.batch_size))  # warm up
    started = time.perf_counter()
    Timed(args.components, joint=args.joint).fit(sampler, range(args.samples[0]))
    sampling = time.perf_counter() - started - spent
    kind = "joint" if args.joint else "per timestep"
    print(f"{args.samples[0]} samples x {args.steps} steps, {args.components} components, {args.dtype}, {kind}")
    print(f"sampling {sampling:.2f} s, PCA {spent:.2f} s: {100 * spent / sampling:.1f} % of it     limit 10 %")


def memory(args: argparse.Namespace) -> None:
    peaks = {}
    for samples in args.samples:
        command = [sys.executable, __file__, "peak", "--samples", str(samples), "--steps", str(args.steps)]
        command += ["--components", str(args.components), "--dtype", args.dtype] + ["--joint"] * args.joint
        peaks[samples] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"{samples:6} samples: peak {peaks[samples] / 1024:7.0f} MB", flush=True)
    ratio = peaks[args.samples[-1]] / peaks[args.samples[0]]
    print(f"ratio {ratio:.3f}     limit 1.1")


def peak(args: argparse.Namespace) -> None:
    hspace.PCA(args.components, joint=args.joint).fit(sampler_of(args), range(args.samples[0]))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("all", "time", "memory", "peak"), default="all")
    parser.add_argument("--samples", type=int, nargs="+")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--components", type=int, default=10)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--joint", action="store_true")
    args = parser.parse_args()
    defaults = {"time": ([128], 20, share), "memory": ([250, 2000], 4, memory), "peak": ([250], 4, peak)}
    for what in ("time", "memory") if args.what == "all" else (args.what,):
        samples, steps, work = defaults[what]
        work(argparse.Namespace(**{**vars(args), "samples": args.samples or samples, "steps": args.steps or steps}))


if __name__ == "__main__":
    main()
