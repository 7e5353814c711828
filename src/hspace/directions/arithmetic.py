r"""Arithmetic with the h of samples, without any direction found before (Haas et al., arXiv 2303.11073, figure 2).

swap      (2a)  h_t of a sample is replaced by another's: it takes over the other's high-level content, while its
                background and colours stay.
transfer  (2b)  the difference of two samples' h_t, such as the smiling and the neutral face of one person, is added
                to a third sample: it smiles too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.diffusion import Blend, Chosen, Injection, Inversion, Latents, Sampler, SeedLatents, Setting, ShiftAt
from hspace.directions.direction import Direction
from hspace.directions.edit import check_mask, check_window, within
from hspace.errors import HspaceError
from hspace.masks import over_h
from hspace.progress import Advance, Progress, reporting
from hspace.version import __version__

__all__ = ["swap", "transfer"]


def swap(
    sampler: Sampler,
    latents: Latents | Iterable[int],
    donors: Latents | Iterable[int],
    *,
    window: tuple[int, int] | None = None,
    mask: Float[Tensor, "hy hx"] | None = None,
    injection: Injection = "symmetric",
    progress: Progress = False,
) -> Float[Tensor, "n c y x"]:
    """Samples with h of other samples in place of their own (Haas et al., figure 2a).

    The h of a donor is that of its own plain run, timestep by timestep. That of one batch is held at a time.

    Args:
        sampler: Draws them.
        latents: Of the samples, or seeds.
        donors: Whose h goes in, or seeds: one for each sample, or one for all.
        window: (first, last): h is replaced at timesteps first >= t >= last; None: at all.
        mask: (h, w) in [0, 1] at the resolution of h: where it is replaced; between 0 and 1 the two are blended. None:
            everywhere.
        injection: Whether the replaced h counts in x_0 and eps, or in x_0 only.
        progress: True for a bar, or a function of (done, total) image-steps, those of the donors included.

    Returns:
        Pictures (n, c, h, w), as `sampler.run` returns them.

    Raises:
        HspaceError: Another number of donors; a window that goes upwards; a mask of another size.

    Example:
        >>> import hspace
        >>> from hspace.directions import swap
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2)
        >>> swap(sampler, [0, 1, 2], donors=[7]).shape
        torch.Size([3, 3, 64, 64])
    """
    rows, givers = sampler.as_latents(latents), sampler.as_latents(donors)
    if len(givers) not in (1, len(rows)):
        raise HspaceError(f"{len(givers)} donors for {len(rows)} samples: give one for each, or one for all")
    check_window(window)
    check_mask(mask, sampler.setting())
    pictures = torch.empty(len(rows), *sampler.model.picture_shape, dtype=sampler.model.state_dtype)
    with reporting(progress, (len(rows) + len(givers)) * len(sampler.schedule)) as advance:
        for_all = None
        if len(givers) == 1:
            for_all = _Replaced(_recorded(sampler, givers, window, advance), 0, mask, injection)

        def swapped(where: slice) -> Tensor:
            """A batch; the h that it holds is gone when it returns."""
            if for_all is not None:
                return sampler.run(rows[where], for_all, progress=_counted(advance))
            held = _recorded(sampler, givers[where], window, advance)
            edits = [_Replaced(held, i, mask, injection) for i in range(where.stop - where.start)]
            return sampler.run(rows[where], edits, progress=_counted(advance))

        first = 0
        while first < len(rows):
            where = slice(first, min(first + sampler.batch_size, len(rows)))
            pictures[where] = swapped(where)
            first = where.stop
    return pictures


def transfer(
    sampler: Sampler,
    source: Latents | Iterable[int],
    target: Latents | Iterable[int],
    *,
    name: str = "transfer",
    progress: Progress = False,
) -> Direction:
    """The difference of samples' h as a direction: from `source` to `target` (Haas et al., figure 2b).

    Strength 1 adds the whole difference; the paper adds a fifth of it, `sampler.run(latents, 0.2 * smile)`. It is in
    the unit of strength only after `hspace.calibrate`. Averaged over several pairs, what the pairs differ in by chance
    fades.

    Args:
        sampler: Draws them; of h no more than a batch is held.
        source: Latents or seeds of those that lack something.
        target: Of those that have it, as many.
        name: Of the direction.
        progress: True for a bar, or a function of (done, total) image-steps.

    Raises:
        HspaceError: Different numbers of sources and targets.

    Example:
        >>> import hspace
        >>> from hspace.directions import transfer
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2)
        >>> change = transfer(sampler, source=[0], target=[1], name="0 to 1")
        >>> sampler.run([2], edit=0.2 * change).shape
        torch.Size([1, 3, 64, 64])
    """
    ends = {"target": sampler.as_latents(target), "source": sampler.as_latents(source)}
    n = len(ends["source"])
    if len(ends["target"]) != n:
        raise HspaceError(f"{n} sources and {len(ends['target'])} targets: give pairs")
    with reporting(progress, 2 * n * len(sampler.schedule)) as advance:
        difference = _sum_of_h(sampler, ends["target"], advance) - _sum_of_h(sampler, ends["source"], advance)
    names = {end: _named(rows) for end, rows in ends.items()}
    origin = {"method": "transfer", **names, "version": __version__}
    return Direction((difference / n).to(sampler.model.state_dtype), sampler.setting(), name, origin)


@dataclass(frozen=True, eq=False)
class _Replaced:
    """h becomes that of another sample: a row of what was recorded."""

    held: dict[int, Tensor]
    row: int
    mask: Tensor | None
    injection: Injection | None

    def bind(self, setting: Setting, device: torch.device) -> ShiftAt:
        """Replaces h wherever the other's is known."""
        mask = torch.ones(()) if self.mask is None else over_h(self.mask, setting.h_shape)
        mask = mask.to(device)  # once, not at every step

        def shift_at(timestep: int) -> Blend | None:
            if timestep not in self.held:
                return None
            h = self.held[timestep][self.row]
            inside = mask.to(h)
            return Blend(1 - inside, inside * h)

        return shift_at

    def bind_start(self, setting: Setting, device: torch.device) -> None:
        """The start stays."""


def _recorded(
    sampler: Sampler, latents: Latents, window: tuple[int, int] | None, advance: Advance
) -> dict[int, Tensor]:
    """h of a plain run by timestep, (b, *h_shape)."""
    shape = (len(latents), *sampler.model.h_shape)
    held: dict[int, Tensor] = {}

    def record(timestep: int, h: Tensor, where: slice) -> None:
        if within(window, timestep):
            held.setdefault(timestep, h.new_empty(shape))[where] = h

    for _ in sampler.stream(latents, record=record, pictures=False, progress=_counted(advance)):
        pass
    return held


def _sum_of_h(sampler: Sampler, latents: Latents, advance: Advance) -> Tensor:
    """(S, *h_shape), float64."""
    total = torch.zeros(len(sampler.schedule), *sampler.model.h_shape, dtype=torch.float64)
    of_batch: dict[int, Tensor] = {}

    def record(timestep: int, h: Tensor, where: slice) -> None:
        of_batch[timestep] = h.cpu().double().sum(0)

    for _ in sampler.stream(latents, record=record, pictures=False, progress=_counted(advance)):
        total += torch.stack([of_batch[timestep] for timestep in sampler.timesteps])  # once a batch has come through
    return total


def _counted(advance: Advance) -> Progress:
    """Reports a part of longer work, which counts from 0 itself."""
    last = 0

    def report(done: int, total: int) -> None:
        nonlocal last
        advance(done - last)
        last = done

    return report


def _named(latents: Latents) -> list[Any]:
    """Seeds or names of pictures, where latents have any, for an origin."""
    if isinstance(latents, SeedLatents):
        return list(latents.seeds)
    return list(latents.names) if isinstance(latents, Inversion | Chosen) else []
