"""PCA's share of the time it takes with its sampling, and peak memory against the number of samples.

    python benchmarks/pca.py time [--samples 128] [--steps 20]        share of PCA's own work; limit 10 %
    python benchmarks/pca.py memory [--samples 250 2000] [--steps 4]  peak resident memory, one process each; limit 1.1x
    python benchmarks/pca.py angles [--samples 1000] [--steps 4]      against scikit-learn's exact PCA; limit 1 degree

Memory is measured in fresh processes, one for each number of samples. Few steps make it quick: the sketches are one
for each step, whatever the number of samples. Angles are those between the leading subspaces of the streamed PCA and of
the exact one on stored h, wherever the next eigenvalue is 5 % smaller.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
import time
from collections.abc import Sequence

import torch
from torch import Tensor

import hspace
from hspace.cli.options import parse_dtype
from hspace.discovery.sketch import Sketches


def sampler_of(args: argparse.Namespace) -> hspace.Sampler:
    return hspace.Sampler(hspace.load("faces64", dtype=parse_dtype(args.dtype)), steps=args.steps, eta=1.0)


def measured_share(sampler: hspace.Sampler, samples: int, components: int, joint: bool = False) -> tuple[float, float]:
    """Seconds of sampling and of PCA: every fold of a batch into the sketches, and the end of the fit."""
    spent = 0.0

    class TimedSketches(Sketches):
        def add(self, clouds: Sequence[Tensor]) -> int:
            nonlocal spent
            started = time.perf_counter()
            n = super().add(clouds)
            spent += time.perf_counter() - started
            return n

    class Timed(hspace.PCA):
        def sketches(self, device: torch.device | str) -> Sketches:
            empty = super().sketches(device)
            return TimedSketches(empty.rank, empty.witnesses, device)

        def finish(self) -> hspace.PCA:
            nonlocal spent
            started = time.perf_counter()
            super().finish()
            spent += time.perf_counter() - started
            return self

    started = time.perf_counter()
    Timed(components, joint=joint).fit(sampler, range(samples))
    return time.perf_counter() - started - spent, spent


def share(args: argparse.Namespace) -> None:
    """Prints the share."""
    sampler = sampler_of(args)
    sampler.run(range(sampler.batch_size))  # warm up
    sampling, spent = measured_share(sampler, args.samples[0], args.components, args.joint)
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


def angles(args: argparse.Namespace) -> None:
    from scipy.linalg import subspace_angles
    from sklearn.decomposition import PCA as ExactPCA

    sampler, n, k = sampler_of(args), args.samples[0], args.components
    h: dict[int, list[Tensor]] = {t: [] for t in sampler.timesteps}
    for _ in sampler.stream(range(n), record=lambda t, batch, _: h[t].append(batch.flatten(1).float().cpu())):
        pass
    pca = hspace.PCA(k).fit(sampler, range(n))
    worst = 0.0
    for row, t in enumerate(sampler.timesteps):
        exact = ExactPCA(k + 1).fit(torch.cat(h[t]).numpy())
        order = pca.explained_variance_[row].argsort(descending=True)  # here by variance, not aligned along t
        found = torch.stack([pca.directions_[int(j)].vectors[row].flatten() for j in order]).numpy()
        spectrum = exact.explained_variance_
        separated = [i for i in range(1, k + 1) if spectrum[i - 1] >= 1.05 * spectrum[i]]
        degrees = [math.degrees(subspace_angles(found[:i].T, exact.components_[:i].T).max()) for i in separated]
        worst = max(worst, *degrees)
        print(f"t = {t:4}: leading {separated} of {n} samples: largest angle {max(degrees):.3f} degrees", flush=True)
    print(f"largest {worst:.3f} degrees     limit 1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("all", "time", "memory", "angles", "peak"), default="all")
    parser.add_argument("--samples", type=int, nargs="+")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--components", type=int, default=10)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--joint", action="store_true")
    args = parser.parse_args()
    defaults = {
        "time": ([128], 20, share),
        "memory": ([250, 2000], 4, memory),
        "peak": ([250], 4, peak),
        "angles": ([1000], 4, angles),
    }
    for what in ("time", "memory", "angles") if args.what == "all" else (args.what,):
        samples, steps, work = defaults[what]
        work(argparse.Namespace(**{**vars(args), "samples": args.samples or samples, "steps": args.steps or steps}))


if __name__ == "__main__":
    main()
