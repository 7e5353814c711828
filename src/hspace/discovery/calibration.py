"""The unit of strength for any direction, and random directions as the control."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.diffusion import Sampler, Setting
from hspace.diffusion.latents import as_seeds
from hspace.directions import Direction, Directions
from hspace.errors import HspaceError
from hspace.progress import Progress
from hspace.version import __version__

__all__ = ["calibrate", "random_directions", "standard_deviations"]


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
    units: Float[Tensor, "k s d"], sampler: Sampler, seeds: Sequence[int], *, progress: Progress = False
) -> Float[Tensor, "k t"]:
    """Standard deviation of h along unit vectors, (k, S).

    Args:
        units: (k, S, d), or (k, 1, d) where a vector is the same at every timestep.
        sampler: Draws the population.
        seeds: Of the population; one number for each sample, vector and timestep is kept, not h.
    """
    units = units.to(sampler.model.device)
    rows = {t: row if units.shape[1] > 1 else 0 for row, t in enumerate(sampler.timesteps)}
    scores: dict[tuple[int, int], Tensor] = {}  # (first row, timestep) -> (b, k)

    def record(timestep: int, h: Tensor, where: slice) -> None:
        scores[where.start, timestep] = (h.flatten(1).to(units) @ units[:, rows[timestep]].T).cpu().double()

    for _ in sampler.stream(seeds, record=record, progress=progress):
        pass
    by_timestep = [torch.cat([s for (_, t), s in scores.items() if t == timestep]) for timestep in sampler.timesteps]
    return torch.stack([s.std(0) for s in by_timestep], 1)


def random_directions(
    setting: Setting,
    norms: Float[Tensor, " s"] | Sequence[float],
    n: int = 1,
    *,
    within: Directions | None = None,
    seed: int = 0,
) -> Directions:
    """Gaussian directions of given norms: the control that a found direction has to beat (Haas et al., figure 4).

    In the whole of h almost all of a random direction is where h hardly varies. The harder control is drawn within the
    span of leading components: sum_j g_j c_j, g ~ N(0, 1) the same at all timesteps, brought to the norms.

    Args:
        setting: Of the directions they are compared with.
        norms: (S,) norm at each timestep, e.g. `pcs["pc0"].norms()`.
        n: How many.
        within: Components in the unit of strength, such as those of `hspace.PCA`; default: all of h.
        seed: Determines them.

    Raises:
        HspaceError: n below 1; a number of norms that is not that of timesteps; components of another setting.

    Example:
        >>> import hspace
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2)
        >>> control = hspace.random_directions(sampler.setting(), norms=[1.0, 2.0], n=2)
        >>> control.names, control[0].norms().round(decimals=4).tolist()
        (('random0', 'random1'), [1.0, 2.0])
    """
    if n < 1:
        raise HspaceError(f"n must be at least 1, not {n}")
    if len(norms) != len(setting.schedule):
        raise HspaceError(f"expected {len(setting.schedule)} norms, one for each timestep, found {len(norms)}")
    generator = torch.Generator().manual_seed(seed)
    if within is None:
        vectors = torch.randn(n, len(setting.schedule), *setting.h_shape, generator=generator)
    else:
        if within.setting != setting:
            raise HspaceError(
                "components to draw within must be of the same setting (model, tap, grid, eta, injection)"
            )
        mixture = torch.randn(n, len(within), generator=generator)
        vectors = torch.einsum("nj,js...->ns...", mixture, torch.stack([item.vectors.float().cpu() for item in within]))
    scale = torch.as_tensor(norms, dtype=vectors.dtype, device=vectors.device) / vectors.flatten(2).norm(dim=2)
    vectors = vectors * scale.reshape(*scale.shape, *[1] * len(setting.h_shape))
    origin = {
        "method": "random",
        "parameters": {"n": n, "within": None if within is None else len(within)},
        "seed": seed,
        "version": __version__,
    }
    return Directions([Direction(v, setting, f"random{i}", origin) for i, v in enumerate(vectors)])
