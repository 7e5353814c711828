"""PCAs of several processes whose bytes are counted: what is given to torch.distributed, and what the system writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tests import tiny
from torch import Tensor

import hspace
from hspace.discovery.sketch import Sketches
from hspace.jobs import world

FITS = {
    "few": (hspace.PCA(2), 11),
    "enough": (hspace.PCA(2, sketch_size=9), 40),
    "joint": (hspace.PCA(1, joint=True), 7),
    "less than processes": (hspace.PCA(1), 2),
}
_given = 0


def fill(found: Sketches, samples: int, batch: int, clouds: int) -> None:
    """With rows of 50 numbers, batch after batch."""
    generator = torch.Generator().manual_seed(0)
    for first in range(0, samples, batch):
        rows = min(batch, samples - first)
        found.add([torch.randn(rows, 50, generator=generator, dtype=torch.float64) for _ in range(clouds)])


def count(name: str) -> None:
    real = getattr(dist, name)

    def counting(x: Tensor, *args: Any, **options: Any) -> Any:
        global _given
        copies = 1 if name == "send" else (dist.get_world_size() - 1) * (dist.get_rank() == 0)
        _given += copies * x.numel() * x.itemsize
        return real(x, *args, **options)

    setattr(dist, name, counting)


def written() -> int:
    file = Path("/proc/self/io")
    return int(file.read_text().split("wchar:")[1].split()[0]) if file.exists() else 0


def main(folder: Path) -> None:
    processes = world("cpu")
    sampler = hspace.Sampler(tiny.denoiser(), steps=2, batch_size=3)
    count("send"), count("broadcast")
    found = {}
    for name, (pca, samples) in FITS.items():
        processes.arrive()
        given, before = _given, written()
        pca.fit(sampler, range(samples))
        found[name] = {"given": _given - given, "written": written() - before}
    (folder / f"{processes.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
