"""What is measured in a process of its own, for the sake of its peak memory: `python -m benchmarks.fresh NAME JSON`."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import hspace
from benchmarks.measure import Options, peak, synchronize
from hspace.planning.memory import peak_from_here

Found = dict[str, float]


def _since(options: Options, work: Callable[[], object]) -> Found:
    """Seconds, CPU seconds, and MB above what was there before."""
    peak_from_here(options.device)
    before = peak(options.device)
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    synchronize()
    return {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "mb": peak(options.device) - before,
        "peak": peak(options.device),
    }


def backprop(options: Options, *, steps: int, batch: int, segment: int) -> Found:
    """One pass there and back."""
    from benchmarks.backprop import prepared

    return _since(options, prepared(options.model("float32"), steps, batch, segment))


def pca(options: Options, *, samples: int, steps: int, components: int, stored: bool) -> Found:
    """A PCA of every timestep: streamed, or scikit-learn's of stored h."""
    sampler = hspace.Sampler(options.model(), steps)
    sampler.run(range(sampler.batch_size))  # warm up

    def streamed() -> None:
        hspace.PCA(components).fit(sampler, range(samples))

    def at_once() -> None:
        from sklearn.decomposition import PCA

        h: dict[int, list[Tensor]] = {t: [] for t in sampler.timesteps}
        for _ in sampler.stream(range(samples), record=lambda t, x, _: h[t].append(x.flatten(1).float().cpu())):
            pass
        for batches in h.values():
            PCA(components).fit(torch.cat(batches).numpy())

    return _since(options, at_once if stored else streamed)


WORKS: dict[str, Callable[..., Found]] = {"backprop": backprop, "pca": pca}


def fresh(name: str, options: Options, **arguments: Any) -> Found:
    """In a process of its own; in this one to see quickly that it runs."""
    if options.quick:
        return WORKS[name](options, **arguments)
    given = json.dumps({"options": vars(options), "arguments": arguments})
    command = [sys.executable, "-m", "benchmarks.fresh", name, given]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=root)
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    name, given = sys.argv[1], json.loads(sys.argv[2])
    print(json.dumps(WORKS[name](Options(**given["options"]), **given["arguments"])))


if __name__ == "__main__":
    main()
