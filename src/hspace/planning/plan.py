r"""Time, memory and communication of a PCA of many samples by many processes.

N samples in S steps by P processes in batches of b, a sketch of rank r and n_p = ceil(N / P) samples of a process:

    time = S * n_p / b * step + c * n_p / b * fold + merging
    merging = ceil(log2 P) (pack + send + unpack + absorb) + pack + ceil(log2 P) send + unpack

with c sketches (one for each timestep, or one joint) of r + 2 rows of h. Bytes of states are those of the packing,
exactly, as long as h varies in more directions than a sketch keeps. Each process is thought to have a device of its
own.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import torch

from hspace.discovery import PCA
from hspace.discovery.sketch import Sketch
from hspace.errors import HspaceError
from hspace.jobs import State
from hspace.jobs.packing import packed_size
from hspace.jobs.shares import handovers, share
from hspace.planning.costs import Costs

__all__ = ["Plan", "planned", "state_of"]

_LENGTH = 8  # bytes sent ahead of a state: how long it is


@dataclass(frozen=True)
class Plan:
    """What a job takes.

    Attributes:
        processes: That share it.
        sampling: Seconds of the process with most samples.
        folding: Its seconds for PCA.
        merging: Seconds from the last batch to the result.
        device: Most bytes of a process on its device.
        host: Most bytes of a process of the machine's memory; for a plan without measurement those of states alone.
        state: Bytes of a process' state: what a checkpoint keeps, and what goes from process to process.
        sent: Bytes that go from process to process, in all.
    """

    processes: int
    sampling: float
    folding: float
    merging: float
    device: int
    host: int
    state: int
    sent: int

    @property
    def seconds(self) -> float:
        """Of all."""
        return self.sampling + self.folding + self.merging


def planned(pca: PCA, costs: Costs, samples: int, steps: int, processes: int = 1, *, bandwidth: float = 1e9) -> Plan:
    """Predict a job.

    Args:
        pca: What is fitted.
        costs: Of one process.
        samples: N.
        steps: S.
        processes: P.
        bandwidth: Bytes a second from process to process.

    Raises:
        HspaceError: No samples, steps, processes or bandwidth; too few samples for the components.
    """
    for name, value in (("samples", samples), ("steps", steps), ("processes", processes), ("bandwidth", bandwidth)):
        if value <= 0:
            raise HspaceError(f"{name} must be more than 0, not {value}")
    pca.check(samples)
    rows = [len(share(samples, rank, processes)) for rank in range(processes)]
    most = max(rows)
    rounds, whole = _exchanges(pca, costs, rows)
    full = _bytes(state_of(pca, costs, costs.cloud))
    merging = 0.0
    for size in map(max, rounds):
        merging += size * (costs.packing + 1 / bandwidth + costs.unpacking) + costs.clouds * costs.absorb * size / full
    merging += whole * (costs.packing + len(rounds) / bandwidth + costs.unpacking)  # along a tree to all
    device, host = _memory(pca, costs, most, processes)
    return Plan(
        processes=processes,
        sampling=steps * _steps(costs, most),
        folding=costs.clouds * _folds(pca, costs, most),
        merging=merging,
        device=device,
        host=host,
        state=packed_size(state_of(pca, costs, most)),
        sent=sum(size + _LENGTH for size in chain.from_iterable(rounds)) + (processes - 1) * (whole + _LENGTH),
    )


def state_of(pca: PCA, costs: Costs, rows: int) -> State:
    """What a process has found in so many samples, on the meta device: shapes without numbers."""
    found = pca.sketches("meta")
    if rows:
        kept, witnesses = min(found.rank, rows - 1, costs.cloud), min(rows, found.witnesses or rows)
        shapes = (costs.cloud,), (kept, costs.cloud), (kept,), (costs.cloud,), (witnesses, kept)
        sketch = Sketch(rows, *(torch.empty(shape, device="meta", dtype=_dtype(costs)) for shape in shapes))
        found.parts = [sketch] * costs.clouds
    return found.state()


def _exchanges(pca: PCA, costs: Costs, rows: list[int]) -> tuple[list[list[int]], int]:
    """Bytes of the states that are given to a neighbour, round by round, and of the result that goes to all."""
    have, rounds = list(rows), []
    for pairs in handovers(len(rows)):
        rounds.append([packed_size(state_of(pca, costs, have[giver])) for giver, _ in pairs])
        for giver, taker in pairs:
            have[taker] += have[giver]
    return rounds, packed_size(state_of(pca, costs, have[0])) if rounds else 0


def _steps(costs: Costs, rows: int) -> float:
    """Seconds for one step of all samples of a process; those of a smaller last batch are interpolated."""
    full, rest = divmod(rows, costs.batch)
    of_rest = costs.step_of_one + (costs.step - costs.step_of_one) * (rest - 1) / max(costs.batch - 1, 1)
    return full * costs.step + (of_rest if rest else 0.0)


def _folds(pca: PCA, costs: Costs, rows: int) -> float:
    """Seconds for the sketch of one timestep, which takes longer while it grows."""
    rank = pca.sketches("meta").rank
    batches = -(-rows // costs.batch)
    growing = min(batches, -(-rank // costs.batch))
    more = costs.fold - costs.fold_first
    grown = sum(costs.fold_first + more * i * costs.batch / rank for i in range(growing))
    return grown + (batches - growing) * costs.fold


def _memory(pca: PCA, costs: Costs, rows: int, processes: int) -> tuple[int, int]:
    """Most bytes of the device and of the machine, over all that a process does one after the other."""

    def sketches(n: int) -> int:
        return _bytes(state_of(pca, costs, n))

    def merged(a: int, b: int) -> int:
        """While the sketch of one timestep takes in another: their axes scaled, and all of them in one."""
        axes = sum(min(pca.sketches("meta").rank, n - 1) for n in (a, b)) + 1
        return 2 * axes * costs.cloud * _dtype(costs).itemsize

    batch = min(costs.batch, rows)
    before = rows - batch
    recorded = batch * costs.clouds * costs.cloud * costs.h_bytes
    own = sketches(rows)
    directions = 5 * pca.n_components * costs.clouds * costs.cloud * _dtype(costs).itemsize
    device = [costs.busy + sketches(before) + recorded]
    device.append(costs.idle + (1 + pca.joint) * recorded + sketches(batch))
    if before:
        device[-1] += sketches(before) + own + merged(before, batch)
    device.append(costs.idle + own + directions)
    host = [own]  # a checkpoint is saved from a copy
    if processes > 1:
        device.append(costs.idle + 3 * own + merged(rows, rows))
        host += [3 * own, 4 * own]  # packing, unpacking
    if costs.on_host:
        most = max(*device, *(costs.idle + own + x for x in host))
        return most, most
    return max(device), costs.host + max(host)


def _bytes(state: State) -> int:
    return sum(x.numel() * x.itemsize for x in state.tensors.values())


def _dtype(costs: Costs) -> torch.dtype:
    return torch.float64 if costs.h_bytes == 8 else torch.float32
