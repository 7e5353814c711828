"""What the parts of a PCA cost one process: measured on the device at hand, or out of counted operations."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from hspace.diffusion import Sampler
from hspace.discovery import PCA
from hspace.discovery.sketch import Sketches
from hspace.jobs import State
from hspace.jobs.packing import pack, unpack
from hspace.planning.counting import Pass
from hspace.planning.memory import held, peak, peak_from_here

__all__ = ["Clock", "Costs", "at_throughput", "measured"]

Clock = Callable[[], float]
"""Seconds: by the wall, or of the processor."""

_FLOAT32 = 1 / 8  # of the operations a second in half precision, on GPUs: sketches are float32
_AT_LEAST = 3  # steps that are measured
_ROUNDS = 5  # of everything else


@dataclass(frozen=True)
class Costs:
    """Of one process.

    Attributes:
        batch: Samples in one pass.
        step: Seconds of a step of a batch: the pass of the network, and what the sampler does around it.
        step_of_one: The same with one sample.
        fold_first: Seconds to fold the h of the first batch at one timestep.
        fold: The same once the sketch is full.
        absorb: Seconds to merge two full sketches of one timestep.
        packing: Seconds to pack a byte of a state.
        unpacking: Seconds to unpack it.
        clouds: Sketches: one for each timestep, or one for all in a joint PCA.
        cloud: Numbers of one row in a sketch.
        h_bytes: Of one number of h while a batch is drawn.
        on_host: Whether the device's memory is that of the machine.
        idle: Bytes of the device between batches, without what is found.
        busy: Most bytes of the device while a batch is drawn, without what is found.
        host: Bytes of the machine's memory without what is found; 0: not known.
    """

    batch: int
    step: float
    step_of_one: float
    fold_first: float
    fold: float
    absorb: float
    packing: float
    unpacking: float
    clouds: int
    cloud: int
    h_bytes: int
    on_host: bool
    idle: int
    busy: int
    host: int


def measured(pca: PCA, sampler: Sampler, *, clock: Clock = time.perf_counter, seconds: float = 1.0) -> Costs:
    """Measure them with the very code of the job.

    Args:
        pca: What is fitted.
        sampler: That of the job; where its batch does not fit into memory, it halves it, as the job would.
        clock: What is measured.
        seconds: At least so many for the steps of a batch, at least 3 of them.
    """
    model = sampler.model
    device = model.device
    h_numbers = torch.Size(model.h_shape).numel()
    peak_from_here(device)
    step = _step(sampler, clock, seconds)
    busy, idle = peak(device), held(device)
    one = copy.copy(sampler)
    one.batch_size = 1
    step_of_one = step if sampler.batch_size == 1 else _step(one, clock, seconds / 4)
    steps = len(sampler.schedule)
    clouds, cloud = (1, steps * h_numbers) if pca.joint else (steps, h_numbers)
    empty = pca.sketches(device)

    def drawn(rows: int) -> list[Tensor]:
        return [torch.randn(rows, cloud, device=device).to(model.dtype)]

    batch = drawn(sampler.batch_size)
    first = _median(lambda: pca.sketches(device).add(batch), clock)
    empty.add(drawn(empty.rank + 1))
    full = empty.state()
    fold = _median(lambda: _restored(pca, full, device).add(batch), clock)
    absorb = _median(lambda: _restored(pca, full, device).absorb(full), clock)
    packed = pack(full)
    return Costs(
        batch=sampler.batch_size,
        step=step,
        step_of_one=step_of_one,
        fold_first=first,
        fold=fold,
        absorb=absorb,
        packing=_median(lambda: pack(full), clock) / len(packed),
        unpacking=_median(lambda: unpack(packed), clock) / len(packed),
        clouds=clouds,
        cloud=cloud,
        h_bytes=model.dtype.itemsize,
        on_host=device.type == "cpu",
        idle=idle,
        busy=max(busy, idle),
        host=held("cpu"),
    )


def at_throughput(
    pca: PCA, one: Pass, steps: int, batch: int, operations: float, *, clock: Clock = time.perf_counter
) -> Costs:
    """Predict them for a GPU that is not at hand.

    Small eigenvalue problems and packing happen on the CPU and are measured here. Memory is that of tensors alone.

    Args:
        pca: What is fitted.
        one: A pass for one sample, as `counted` has it.
        steps: Of the reverse process.
        batch: Samples in one pass.
        operations: Floating-point operations a second that the GPU sustains in passes of the network.
    """
    clouds, cloud = (1, steps * one.h_numbers) if pca.joint else (steps, one.h_numbers)
    rank = pca.sketches("cpu").rank

    def principal(rows: int, kept: int) -> float:
        gram = torch.randn(rows, rows, dtype=torch.float64)
        gram = gram @ gram.T
        products = 2 * rows * cloud * (rows + kept)
        return _median(lambda: torch.linalg.eigh(gram), clock) + products / (_FLOAT32 * operations)

    sample = pca.sketches("cpu")
    sample.add([torch.randn(rank + 1, min(cloud, 4096))])
    packed = pack(sample.state())
    of_batch = principal(batch, min(batch, rank))
    return Costs(
        batch=batch,
        step=batch * one.operations / operations,
        step_of_one=one.operations / operations,
        fold_first=of_batch,
        fold=of_batch + principal(rank + min(batch, rank) + 1, rank),
        absorb=principal(2 * rank + 1, rank),
        packing=_median(lambda: pack(sample.state()), clock) / len(packed),
        unpacking=_median(lambda: unpack(packed), clock) / len(packed),
        clouds=clouds,
        cloud=cloud,
        h_bytes=one.h_bytes,
        on_host=False,
        idle=one.weights,
        busy=one.weights + batch * one.activations,
        host=0,
    )


class _Enough(Exception):
    """Ends a run."""


def _step(sampler: Sampler, clock: Clock, seconds: float) -> float:
    """Seconds of a step, h recorded; the first one is not counted."""
    times: list[float] = []

    def record(_: int, h: Tensor, __: slice) -> None:
        _finished(h.device)
        times.append(clock())
        if len(times) > _AT_LEAST and times[-1] - times[0] >= seconds:
            raise _Enough

    first = 0
    try:
        while True:  # batch after batch
            seeds = range(first, first + sampler.batch_size)
            for _ in sampler.stream(seeds, record=record, pictures=False):
                first += sampler.batch_size
    except _Enough:
        return (times[-1] - times[0]) / (len(times) - 1)


def _restored(pca: PCA, state: State, device: torch.device) -> Sketches:
    found = pca.sketches(device)
    found.restore(state)
    return found


def _median(work: Callable[[], object], clock: Clock) -> float:
    times = []
    for _ in range(_ROUNDS):
        started = clock()
        work()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        times.append(clock() - started)
    return sorted(times)[len(times) // 2]


def _finished(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
