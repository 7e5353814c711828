"""The unit of strength for any direction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.diffusion import Sampler
from hspace.diffusion.latents import as_seeds
from hspace.directions import Direction, Directions
from hspace.errors import HspaceError
from hspace.jobs import Job, Table, World
from hspace.progress import Progress

__all__ = ["calibrate", "standard_deviations"]


def calibrate(
    directions: Directions | Direction, sampler: Sampler, seeds: Iterable[int], *, progress: Progress = False
) -> Directions:
    """Scale directions such that strength 1 is one standard deviation of h along them, at every timestep.

    Args:
        directions: Found by any means, of any length, in the sampler's setting (retime them first if need be).
        sampler: Draws the population.
        seeds: At least 2; 100 give the standard deviations to about 7 %.

    Returns:
        The same directions, longer or shorter.

    Raises:
        HspaceError: Too few samples; another setting; a direction along which h does not vary.

    Example:
        >>> import hspace
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2)
        >>> pcs = hspace.PCA(n_components=2).fit(sampler, seeds=range(4)).directions_
        >>> again = hspace.calibrate(5.0 * pcs["pc0"], sampler, seeds=range(4))[0]
        >>> bool((again.norms() / pcs["pc0"].norms() - 1).abs().max() < 1e-3)
        True
    """
    given = Directions([directions]) if isinstance(directions, Direction) else directions
    seeds = as_seeds(seeds)
    if len(seeds) < 2:
        raise HspaceError("a standard deviation needs at least 2 samples")
    if given.setting.schedule != sampler.schedule:
        raise HspaceError("directions are calibrated on their own grid: retime them to the sampler's first")
    given.setting.check_same_space(sampler.setting(space=given.setting.space))
    units = torch.stack([item.vectors.flatten(1) for item in given])  # (k, S, d)
    norms = units.norm(dim=2, keepdim=True)
    if bool((norms == 0).any()):
        raise HspaceError("a direction that is zero at a timestep can't be calibrated")
    if given.setting.space == "noise":  # the standard deviation of x_T along any unit vector is 1
        return Directions([item.calibrated([1.0]) for item in given], given.measured)
    stds = standard_deviations(units / norms, sampler, seeds, progress=progress)
    return Directions([item.calibrated(stds[j]) for j, item in enumerate(given)], given.measured)


def standard_deviations(
    units: Float[Tensor, "k s d"],
    sampler: Sampler,
    seeds: Sequence[int],
    *,
    job: Job | None = None,
    progress: Progress = False,
) -> Float[Tensor, "k t"]:
    """Standard deviation of h along unit vectors, (k, S).

    Args:
        units: (k, S, d), or (k, 1, d) where a vector is the same at every timestep.
        sampler: Draws the population.
        seeds: Of the population; one number for each sample, vector and timestep is kept, not h.
        job: Whose last pass this is. Default: this process does it alone.
        progress: True for a bar, or a function of (done, total) image-steps.
    """
    units = units.to(sampler.model.device)
    rows = {t: row if units.shape[1] > 1 else 0 for row, t in enumerate(sampler.timesteps)}
    batch: dict[int, Tensor] = {}  # timestep -> (b, k)
    scores = Table()

    def record(timestep: int, h: Tensor, _: slice) -> None:
        batch[timestep] = (h.flatten(1).to(units) @ units[:, rows[timestep]].T).cpu().double()

    job = Job({}, processes=World()) if job is None else job
    with job.stage("unit", len(seeds), scores) as stage:
        left, shows = stage.of(seeds), stage.shows(progress)
        for _ in sampler.stream(left, record=record, pictures=False, progress=shows) if left else ():
            stage.add({"score": torch.stack([batch[t] for t in sampler.timesteps], 1)})  # (b, S, k)
    return torch.stack([s.contiguous().std(0) for s in scores["score"].unbind(1)], 1)
