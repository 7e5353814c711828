"""Figures beside their baselines: alternating rounds, wall and CPU time, peak memory of fresh processes."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

import hspace
from hspace.planning import memory

Work = Callable[[], object]


@dataclass(frozen=True)
class Options:
    """Of one run of all figures."""

    device: str = "cpu"
    dtype: str = "bfloat16"
    rounds: int = 3
    quick: bool = False
    long: bool = False

    def model(self, dtype: str | None = None, **options: Any) -> hspace.Denoiser:
        """A network of faces64 of its own, so that the precision and layout of one are not those of another."""
        return hspace.load("faces64", self.device, getattr(torch, dtype or self.dtype), **options)

    def few(self, usual: int, quick: int) -> int:
        """A size: as usual, or just enough to see that it runs."""
        return quick if self.quick else usual


@dataclass(frozen=True)
class Figure:
    """Ours over a baseline, in the same run.

    Attributes:
        name: What is measured.
        baseline: What it stands beside.
        ours: Median.
        theirs: Median.
        unit: Of both.
        ratio: Median of the rounds' ratios.
        limit: What it should be; may be empty.
        cpu_ratio: The same of CPU time; None where there is none.
        rounds: (ours, theirs) of each round.
        note: Absolute figures, sizes.
    """

    name: str
    baseline: str
    ours: float
    theirs: float
    unit: str
    ratio: float
    limit: str = ""
    cpu_ratio: float | None = None
    rounds: list[tuple[float, float]] = field(default_factory=list)
    note: str = ""

    @classmethod
    def of_values(cls, name: str, baseline: str, ours: float, theirs: float, unit: str, **rest: Any) -> Figure:
        """One measurement each."""
        return cls(name, baseline, ours, theirs, unit, ours / theirs if theirs else math.nan, **rest)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def line(self) -> str:
        cpu = "" if self.cpu_ratio is None else f", CPU {self.cpu_ratio:.3f}"
        limit = f"   limit {self.limit}" if self.limit else ""
        return (
            f"{self.name} / {self.baseline}: {self.ours:.4g} / {self.theirs:.4g} {self.unit} = {self.ratio:.3f}{cpu}"
            f"{limit}   {self.note}"
        )


@dataclass
class Times:
    """Seconds of some pieces of work, round by round."""

    wall: dict[str, list[float]]
    cpu: dict[str, list[float]]

    def figure(self, name: str, baseline: str, ours: str, theirs: str, **rest: Any) -> Figure:
        """The ratio of two of them: the median over rounds, for what slows one half of a round slows the other."""
        rounds = list(zip(self.wall[ours], self.wall[theirs], strict=True))
        cpu = statistics.median(a / b for a, b in zip(self.cpu[ours], self.cpu[theirs], strict=True))
        return Figure(
            name,
            baseline,
            self.median(ours),
            self.median(theirs),
            "s",
            statistics.median(a / b for a, b in rounds),
            cpu_ratio=cpu,
            rounds=rounds,
            **rest,
        )

    def median(self, name: str) -> float:
        return statistics.median(self.wall[name])


def alternated(works: Mapping[str, Work], rounds: int, *, warm_up: bool = True) -> Times:
    """Does pieces of work in turn, `rounds` times; every other round backwards, so that none always follows another."""
    times = Times({name: [] for name in works}, {name: [] for name in works})
    for work in works.values() if warm_up else ():
        work()
    for i in range(rounds):
        for name in list(works) if i % 2 == 0 else reversed(list(works)):
            synchronize()
            wall, cpu = time.perf_counter(), time.process_time()
            works[name]()
            synchronize()
            times.wall[name].append(time.perf_counter() - wall)
            times.cpu[name].append(time.process_time() - cpu)
    return times


def synchronize() -> None:
    """Waits for a GPU that has been used."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def peak(device: str) -> float:
    """Peak memory of this process since `peak_from_here`, or so far, MB: of the GPU, or resident."""
    return memory.peak(device) / 2**20
