"""Trajectories that nobody has edited yet, kept for the runs that start as they do.

An edit that acts from a timestep on leaves everything before it as it was: the same x_t for every strength of a slider
and for every picture of a strip. `Prefixes` keeps these x_t, a bounded number of bytes of them, on the model's device.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import cast
from weakref import ReferenceType, ref

from torch import Tensor

from hspace.diffusion.inversion import Chosen, Inversion
from hspace.diffusion.latents import Latents, SeedLatents
from hspace.diffusion.schedule import Schedule
from hspace.errors import HspaceError
from hspace.models.denoiser import Denoiser

__all__ = ["Known", "Prefixes", "identities"]


def identities(latents: Latents) -> list[Hashable]:
    """One for each row; rows with equal ones are the same sample, in this run and in others.

    Rows of latents of one's own are all different. An inversion is known by itself, weakly: it goes when it goes.
    """
    if isinstance(latents, SeedLatents):
        return list(latents.seeds)
    if isinstance(latents, Inversion | Chosen):
        inversion = latents if isinstance(latents, Inversion) else latents.inversion
        rows = range(len(latents)) if isinstance(latents, Inversion) else latents.rows
        return [(ref(inversion), row % len(inversion)) for row in rows]
    return [object() for _ in range(len(latents))]


class Prefixes:
    """Unedited trajectories: give the same one to every `sampler.run` that may share them.

    A run with it computes rows of the same seed (or inverted picture) once as long as nothing changes them, and starts
    from what earlier runs have left here. Samples are the same to float tolerance, as in batches of other sizes; bit
    for bit where the passes of the network have the same rows, as when each run is of one sample.

    Args:
        max_bytes: Of x_t together, 256 MiB by default; the trajectories not used for the longest go first.

    Raises:
        HspaceError: Fewer than 0 bytes.

    Example:
        >>> import hspace, torch
        >>> from hspace.diffusion import Prefixes
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=4)
        >>> direction, prefixes = hspace.random_directions(sampler.setting(), norms=[1.0] * 4)[0], Prefixes()
        >>> late = direction.during(sampler.timesteps[2], 0)
        >>> pictures = [sampler.run([0], strength * late, prefixes=prefixes) for strength in (1, 2, 3)]
        >>> bool(torch.equal(pictures[2], sampler.run([0], 3 * late)))
        True
    """

    def __init__(self, max_bytes: int = 2**28) -> None:
        if max_bytes < 0:
            raise HspaceError(f"max_bytes must be at least 0, not {max_bytes}")
        self.max_bytes = max_bytes
        self.bytes = 0
        self._trajectories: OrderedDict[Hashable, dict[int, Tensor]] = OrderedDict()

    def __len__(self) -> int:
        """Trajectories of which something is kept."""
        return len(self._trajectories)

    def known(self, model: Denoiser, schedule: Schedule) -> Known:
        """What is kept of one model's samples on one grid."""
        for key in [key for key in self._trajectories if _is_gone(key)]:
            self._forget(key)
        m = model
        of_model = (ref(m.network), m.weight_hash, m.dtype, m.device, m.is_compiled, m.condition, id(m.conditioner))
        return Known(self, (*of_model, schedule))

    def get(self, key: Hashable, i: int) -> Tensor | None:
        """x before step i; None where it is not known."""
        if (found := self._trajectories.get(key)) is None:
            return None
        self._trajectories.move_to_end(key)
        return found.get(i)

    def put(self, key: Hashable, i: int, x_t: Tensor) -> None:
        """Keep a copy, where there is room for it or room can be made."""
        size = x_t.numel() * x_t.element_size()
        while self.bytes + size > self.max_bytes and (oldest := next(self._others(key), None)) is not None:
            self._forget(oldest)
        if self.bytes + size > self.max_bytes:
            return
        trajectory = self._trajectories.setdefault(key, {})
        self._trajectories.move_to_end(key)
        if i not in trajectory:
            trajectory[i] = x_t.clone()
            self.bytes += size

    def _others(self, key: Hashable) -> Iterator[Hashable]:
        return (other for other in self._trajectories if other != key)

    def _forget(self, key: Hashable) -> None:
        self.bytes -= sum(x.numel() * x.element_size() for x in self._trajectories.pop(key).values())


class Known:
    """Trajectories of one model on one grid, by sample and step; see `Prefixes.known`."""

    def __init__(self, prefixes: Prefixes, run: Hashable) -> None:
        self._prefixes, self._run = prefixes, run

    def get(self, sample: Hashable, i: int) -> Tensor | None:
        """(1, c, h, w) of a sample before step i; None where it is not known."""
        return self._prefixes.get((self._run, sample), i)

    def put(self, sample: Hashable, i: int, x_t: Tensor) -> None:
        """Keep a copy of (1, c, h, w), x_t of a sample before step i."""
        self._prefixes.put((self._run, sample), i, x_t)


def _is_gone(key: Hashable) -> bool:
    """Whether the network or the inversion is, so that nobody can ask for it any more."""
    (network, *_), sample = cast(tuple[tuple[ReferenceType[object], ...], Hashable], key)
    owner = sample[0] if isinstance(sample, tuple) and sample and isinstance(sample[0], ReferenceType) else network
    return network() is None or owner() is None
