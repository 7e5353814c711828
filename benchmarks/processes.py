"""Two processes against one: PCA of samples shared by processes of one thread each, merged at the end.

    python benchmarks/processes.py [--samples 64] [--steps 10] [--processes 2]

On faces64 (float32, batches of 8). Figures are of the job alone, from when all processes have their model to when all
have the components. On a machine that does other work too, the clock says little; processor seconds of a process, which
are free of waiting, say what the same job would take on a quiet one. Limit: 2 processes at least 1.8 times as fast.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time

import torch

import hspace
from hspace.jobs import world


def one(samples: int, steps: int) -> None:
    """A process of the job; prints seconds by the clock and of the processor."""
    torch.set_num_threads(1)
    processes = world("cpu")
    sampler = hspace.Sampler(hspace.load("faces64", device="cpu"), steps, 1.0, batch_size=8)
    sampler.run(range(8))  # warm up
    processes.arrive()
    began, used = time.perf_counter(), time.process_time()
    hspace.PCA(5).fit(sampler, range(samples))
    figures = {"rank": processes.rank, "wall": time.perf_counter() - began, "cpu": time.process_time() - used}
    sys.stdout.write(json.dumps(figures) + "\n")


def measured(processes: int, samples: int, steps: int) -> list[dict[str, float]]:
    own = [__file__, "--one", "--samples", str(samples), "--steps", str(steps)]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *(launcher if processes > 1 else []), *own]
    run = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one(args.samples, args.steps)
        return
    (alone,) = measured(1, args.samples, args.steps)
    several = measured(args.processes, args.samples, args.steps)
    assert len(several) == args.processes
    print(f"{args.samples} samples, {args.steps} steps, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for what in ("wall", "cpu"):
        longest = max(each[what] for each in several)
        print(
            f"{what:5} 1 process {alone[what]:7.1f} s ({args.samples / alone[what]:6.2f} samples/s)   "
            f"{args.processes} processes {longest:7.1f} s ({args.samples / longest:6.2f} samples/s)   "
            f"{alone[what] / longest:.2f} times"
        )


if __name__ == "__main__":
    main()
