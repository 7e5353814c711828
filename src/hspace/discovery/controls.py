"""Directions of chance, as long as those found: what these have to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hspace.diffusion import Setting
from hspace.directions import Direction, Directions
from hspace.errors import HspaceError
from hspace.version import __version__

__all__ = ["random_controls", "random_directions", "shuffled_controls"]


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
        norms: (S,) norm at each timestep, e.g. `pcs["pc0"].norms()`; in the space of noise a single one.
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
    if len(norms) != len(setting.timesteps):
        raise HspaceError(f"expected {len(setting.timesteps)} norms, one for each timestep, found {len(norms)}")
    generator = torch.Generator().manual_seed(seed)
    if within is None:
        vectors = torch.randn(n, len(setting.timesteps), *setting.h_shape, generator=generator)
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


def random_controls(directions: Directions, m: int, *, within: Directions | None = None, seed: int = 0) -> Directions:
    """m random directions for each direction, as long as it at every timestep, in their order.

    Args:
        directions: k of them.
        m: Controls of each.
        within: Components whose span they are drawn in; default: all of h.
        seed: Determines them.

    Raises:
        HspaceError: As `random_directions`.

    Example:
        >>> import hspace
        >>> from hspace.discovery import random_controls
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2)
        >>> pcs = hspace.PCA(n_components=2).fit(sampler, seeds=range(4)).directions_
        >>> random_controls(pcs, 2).names
        ('pc0 random0', 'pc0 random1', 'pc1 random0', 'pc1 random1')
    """
    items = []
    for j, item in enumerate(directions):
        own = _seed(0 if within is None else 1, seed, j)
        drawn = random_directions(directions.setting, item.norms(), n=m, within=within, seed=own)
        items += [control.renamed(f"{item.name} {control.name}") for control in drawn]
    return Directions(items)


def shuffled_controls(directions: Directions, shuffled: Directions) -> Directions:
    """Directions from shuffled labels, as many for each direction, brought to its length, in the directions' order.

    Args:
        directions: Supervised ones.
        shuffled: `shuffled_` of the estimator that found them.

    Raises:
        HspaceError: There are none for a direction, or more for one than for another; another setting.
    """
    if shuffled.setting != directions.setting:
        raise HspaceError(
            "directions of shuffled labels must be of the same setting (model, tap, grid, eta, injection)"
        )
    items, counts = [], set()
    for item in directions:
        attribute = item.origin.get("attribute", item.name)
        own = [control for control in shuffled if control.origin.get("shuffled") == attribute]
        if not own:
            raise HspaceError(f"no directions from shuffled labels of {attribute!r}, which {item.name!r} is for")
        counts.add(len(own))
        items += [control.calibrated(item.norms()).renamed(f"{item.name} shuffled{i}") for i, control in enumerate(own)]
    if len(counts) > 1:
        raise HspaceError(f"as many shuffles for each direction are needed, found {sorted(counts)}")
    return Directions(items)


def _seed(*numbers: int) -> int:
    """A seed of its own for every tuple of numbers, and none that somebody would choose."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
