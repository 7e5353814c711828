"""The processes that share a job: who this one is, its share, and the ways between them.

A launcher (`torchrun`, `accelerate launch`) starts the processes; accelerate joins them. Folds go by gloo, which moves
bytes between CPUs and notices a closed connection at once; gradients go by what the devices have (NCCL on GPUs). One
process alone initialises nothing.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from itertools import chain

import torch
import torch.distributed as dist
from torch import Tensor

from hspace.errors import HspaceError
from hspace.jobs.folds import Fold
from hspace.jobs.packing import State, pack, unpack
from hspace.jobs.pulse import Pulse
from hspace.jobs.shares import handovers, share

__all__ = ["LostProcess", "World", "alone", "world"]

_TIMEOUT = timedelta(minutes=10)  # of one exchange; processes wait for each other by their pulse, not by it
_PIECE = 2**28  # bytes in one message


class LostProcess(HspaceError):
    """Another process of the job is gone; the message names it."""


class World:
    """One process alone; the base of several.

    Attributes:
        rank: Number of this process, from 0.
        size: How many there are.
    """

    rank = 0
    size = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes and speaks."""
        return self.rank == 0

    def share(self, n: int) -> range:
        """Of n rows those of this process, contiguous, in the order of the ranks; none where there are too few."""
        return share(n, self.rank, self.size)

    def check(self) -> None:
        """Whether all processes are well.

        Raises:
            LostProcess: One is not.
        """

    def arrive(self) -> None:
        """Wait until all processes have come here.

        Raises:
            LostProcess: One never will.
        """

    def fail(self, message: str) -> bool:
        """Tell the others that this process ends, and why; whether it is the first to, which prints the message."""
        return True

    def merge(self, fold: Fold, *, everyone: bool = True) -> None:
        """Join the folds of all processes, in the order of the ranks, by pairs of neighbours: log2(size) rounds.

        Args:
            fold: Of this process; becomes that of all.
            everyone: Whether all processes get it. Otherwise only process 0 has it, the others' is undefined.
        """

    def broadcast(self, state: State | None) -> State:
        """What process 0 gives; the others give None."""
        assert state is not None
        return state

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Add up tensors over the processes, in place; every process gets the same bits."""


class _Several(World):
    """Processes joined by torch.distributed."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self._gloo = None if dist.get_backend() == "gloo" else dist.new_group(backend="gloo", timeout=_TIMEOUT)
        host = os.environ.get("MASTER_ADDR", "127.0.0.1")
        server = Pulse.serve(host) if self.first else None
        port = torch.tensor([0 if server is None else server.port])
        with self._watched():
            dist.broadcast(port, 0, group=self._gloo)
        self._pulse = Pulse(host, int(port), self.rank, self.size, server)
        with self._watched():
            dist.barrier(group=self._gloo)  # all have a pulse from here on
        self._failed: bool | None = None  # whether it was the first
        atexit.register(self._leave)

    def check(self) -> None:
        if self._pulse.lost is not None:
            raise LostProcess(self._pulse.lost)

    def arrive(self) -> None:
        if not self._pulse.arrive():
            self.check()

    def fail(self, message: str) -> bool:
        if self._failed is None:
            self._failed = self._pulse.fail(message)
        return self._failed

    def merge(self, fold: Fold, *, everyone: bool = True) -> None:
        self.arrive()
        for giver, taker in chain.from_iterable(handovers(self.size)):
            if self.rank == giver:
                self._send(fold.state(), taker)
            elif self.rank == taker:
                fold.absorb(self._receive(giver))
        if everyone:
            whole = self.broadcast(fold.state() if self.first else None)
            if not self.first:
                fold.restore(whole)

    def broadcast(self, state: State | None) -> State:
        self.arrive()
        packed = pack(state) if state is not None else torch.empty(0, dtype=torch.uint8)
        with self._watched():
            size = torch.tensor([len(packed)])
            dist.broadcast(size, 0, group=self._gloo)
            if not self.first:
                packed = torch.empty(int(size), dtype=torch.uint8)
            for piece in packed.split(_PIECE):
                dist.broadcast(piece, 0, group=self._gloo)
        return state if state is not None else unpack(packed)

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        for dtype in dict.fromkeys(x.dtype for x in tensors):
            those = [x for x in tensors if x.dtype == dtype]
            flat = torch.cat([x.detach().flatten() for x in those])
            group = None if flat.device.type == "cuda" and dist.get_backend() != "gloo" else self._gloo
            with self._watched():
                dist.all_reduce(flat, group=group)
            for x, total in zip(those, flat.split([x.numel() for x in those]), strict=True):
                x.detach().copy_(total.view_as(x))

    def _send(self, state: State, to: int) -> None:
        packed = pack(state)
        with self._watched(to):
            dist.send(torch.tensor([len(packed)]), to, group=self._gloo)
            for piece in packed.split(_PIECE):
                dist.send(piece, to, group=self._gloo)

    def _receive(self, source: int) -> State:
        size = torch.tensor([0])
        with self._watched(source):
            dist.recv(size, source, group=self._gloo)
            packed = torch.empty(int(size), dtype=torch.uint8)
            for piece in packed.split(_PIECE):
                dist.recv(piece, source, group=self._gloo)
        return unpack(packed)

    @contextmanager
    def _watched(self, peer: int | None = None) -> Iterator[None]:
        """Within it an exchange that fails is a lost process."""
        try:
            yield
        except RuntimeError as error:
            who = "another process" if peer is None else f"process {peer}"
            reason = str(error).splitlines()[0].rpartition("] ")[2]
            raise LostProcess(f"process {self.rank} of {self.size} lost its connection to {who} ({reason})") from error

    def _leave(self) -> None:
        if self._failed is None:
            self._pulse.leave()
            if dist.is_initialized():
                dist.destroy_process_group()


_joined: list[_Several] = []
_alone: ContextVar[bool] = ContextVar("alone", default=False)


def world(device: torch.device | str | None = None) -> World:
    """The processes that this one works with: those of a launcher, or itself alone.

    Args:
        device: Where the network computes, which decides how the processes are joined the first time. Default: the GPU
            if there is one.

    Raises:
        HspaceError: A launcher started several processes, but they don't find each other.

    Example:
        >>> from hspace.jobs import world
        >>> world().size, world().share(10)
        (1, range(0, 10))
    """
    if _alone.get():
        return World()
    if not _joined and _launched():
        if not dist.is_initialized():
            _join(device)
        _joined.append(_Several())
    return _joined[0] if _joined else World()


@contextmanager
def alone() -> Iterator[None]:
    """Within it this process does a job all by itself, whatever launched it."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def _launched() -> bool:
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size() > 1
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def _join(device: torch.device | str | None) -> None:
    from accelerate import PartialState  # a second, and only here

    on_cpu = not torch.cuda.is_available() if device is None else torch.device(device).type == "cpu"
    try:
        PartialState(cpu=on_cpu, timeout=_TIMEOUT, **({"backend": "gloo"} if on_cpu else {}))
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise HspaceError(f"process {os.environ['RANK']} does not find the others ({reason})") from error
    if not dist.is_initialized():
        raise HspaceError("a launcher started several processes, but accelerate did not join them")
