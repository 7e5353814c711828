"""The methods, each as a function of the task. None is given more calls of the network than another.

What can't use them spends less: directions of a single image, random ones, those of shuffled scores. The cost of
training and of Jacobians is estimated beforehand, and measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hspace.benchmark.meter import Meter
from hspace.benchmark.task import Found, Task
from hspace.diffusion import Sampler, Space
from hspace.directions import Directions
from hspace.discovery import PCA, Annotated, Jacobian, Labelled, Learned, random_directions, split

__all__ = ["METHODS", "Method"]

_OF_EACH_END = 0.1  # share of the scored samples at each end
_JACOBIANS = 4  # timesteps of the grid that are looked at, evenly spread
_TOLERANCE = 1e-2
_ITERATION = 4.6  # calls of the network for a sample and step of training, back-propagation and reconstructor included


@dataclass(frozen=True)
class Method:
    """One way to find directions.

    Args:
        find: Does it.
        aimed: Whether directions carry the name of the factor that they are meant to move.
        space: Of the directions.
        after: A method whose directions it starts from.
        control: Whether it is there to be beaten.
    """

    find: Callable[[Task, Directions | None], Found]
    aimed: bool = False
    space: Space = "h"
    after: str | None = None
    control: bool = False


def _pca(task: Task, _: Directions | None, *, joint: bool) -> Found:
    n = task.calls // len(task.sampler.timesteps)
    fitted = PCA(task.k, joint=joint).fit(task.sampler, range(n))
    words = "of h at all timesteps together" if joint else "of h at each timestep"
    return Found(fitted.directions_, n, f"principal components {words}", {"n_components": task.k, "joint": joint})


def _spread(task: Task) -> tuple[list[int], int]:
    """Timesteps to look at, and components at each."""
    grid = task.sampler.timesteps
    rows = np.linspace(0, len(grid) - 1, min(_JACOBIANS, len(grid)) + 2)[1:-1].round().astype(int)
    chosen = sorted({grid[row] for row in rows}, reverse=True)
    return chosen, -(-task.k // len(chosen))


def _leading(directions: Directions, k: int) -> Directions:
    """k of them, the first components of every timestep before the second ones."""
    order = sorted(range(len(directions)), key=lambda i: (directions[i].origin["component"], i))
    return directions[order[:k]]


def _jacobian_local(task: Task, _: Directions | None) -> Found:
    timesteps, components = _spread(task)
    options: dict[str, Any] = {"timesteps": timesteps, "tol": _TOLERANCE, "unit_seeds": range(task.unit_samples)}
    fitted = Jacobian(components, **options).fit(task.sampler, [0])
    words = "singular vectors of one sample's Jacobian, used on others"
    return Found(_leading(fitted.directions_, task.k), 1, words, {"timesteps": timesteps, "tol": _TOLERANCE})


def _jacobian_global(task: Task, _: Directions | None) -> Found:
    timesteps, components = _spread(task)
    options: dict[str, Any] = {"timesteps": timesteps, "tol": _TOLERANCE, "pooled": True}
    with Meter(task.sampler.model) as meter:  # what one costs
        Jacobian(components, unit_seeds=range(2), **options).fit(task.sampler, [0])
    one = meter.calls - 2 * len(task.sampler.timesteps)
    n = max(1, int((task.calls - meter.calls) / one - task.unit_samples * len(task.sampler.timesteps) / one))
    fitted = Jacobian(components, unit_seeds=range(task.unit_samples), **options).fit(task.sampler, range(1, n + 1))
    words = "what the Jacobians of many samples have in common"
    return Found(_leading(fitted.directions_, task.k), n, words, {"timesteps": timesteps, "tol": _TOLERANCE})


def _labelled(task: Task, _: Directions | None, *, space: Space) -> Found:
    n = task.affordable(space, passes=2)  # one goes up, one records h
    images, values = task.pictures(n)
    labels = {name: _halves(values[name]) for name in task.factors}
    fitted = Labelled(space=space, sketch_size=0, unit_seeds=range(task.unit_samples))
    fitted.fit(task.sampler, images, labels)
    words = "means of pictures with the factor and without it, inverted"
    return Found(fitted.directions_, n, words, {"space": space, "quantile": 0.25})


def _halves(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Two-valued factors as they are, the outer quarters of others."""
    return (values == values.max()).astype(float) if len(set(values.tolist())) == 2 else split(values, quantile=0.25)


def _annotated(task: Task, _: Directions | None, *, space: Space, shuffled: bool = False) -> Found:
    # Samples are scored first; the extremes, at worst all, are drawn a second time for their h.
    n = task.affordable(space, passes=2)
    seeds, each = range(n), max(1, int(_OF_EACH_END * n))
    fitted = Annotated(
        list(task.factors), n_extremes=each, space=space, sketch_size=0, unit_seeds=range(task.unit_samples)
    )
    if not shuffled:
        fitted.fit(task.sampler, task.scorer, seeds)
        words = f"means of the {each} samples at each end of a scorer's scale"
    else:
        generator = np.random.default_rng(task.seed)
        fitted.fit(task.sampler, {name: generator.permutation(n).astype(float) for name in task.factors}, seeds)
        words = f"the same with shuffled scores: {each} random samples against {each} others"
    return Found(fitted.directions_, n, words, {"space": space, "n_extremes": each})


def _learned(task: Task, _: Directions | None) -> Found:
    grid = task.sampler
    steps, n, checked = max(2, len(grid.timesteps) // 2), 4 * task.k, 5 * task.k
    short = Sampler(grid.model, steps, grid.schedule.etas[0], batch_size=grid.batch_size)
    options: dict[str, Any] = {"span": 2 * task.k, "batch_size": 8, "replays": 10, "warmup": 5, "seed": task.seed}
    around = steps * (n + 2 * checked + 16 * task.k)  # the population, the check, the ranking by effect
    iterations = max(2, int((task.calls - around) / (_ITERATION * options["batch_size"] * steps)))
    fitted = Learned(task.k, iterations=iterations, checked=checked, merge_above=1.0, **options)
    fitted.fit(short, range(n))
    items = [item.retimed(grid.setting()) for item in fitted.directions_]
    words = f"trained for {iterations} iterations of {options['batch_size']} samples of {steps} steps"
    return Found(Directions(items), n, words, {**options, "iterations": iterations, "steps": steps})


def _random(task: Task, components: Directions | None, *, within: bool) -> Found:
    assert components is not None
    items = [
        drawn.renamed(f"random{j}")
        for j, item in enumerate(components)
        for drawn in random_directions(
            components.setting, item.norms(), within=components if within else None, seed=1000 * task.seed + j
        )
    ]
    words = "Gaussian in the span of the principal components" if within else "Gaussian in all of h"
    return Found(Directions(items), 0, f"{words}, as long as they are", {"within": within})


def _random_noise(task: Task, _: Directions | None) -> Found:
    setting = task.sampler.setting(space="noise")
    words = "Gaussian in x_T, one standard deviation long"
    return Found(random_directions(setting, [1.0], n=task.k, seed=task.seed), 0, words, {})


METHODS: dict[str, Method] = {
    "pca": Method(partial(_pca, joint=False)),
    "pca-joint": Method(partial(_pca, joint=True)),
    "jacobian-local": Method(_jacobian_local),
    "jacobian-global": Method(_jacobian_global),
    "labelled": Method(partial(_labelled, space="h"), aimed=True),
    "labelled-noise": Method(partial(_labelled, space="noise"), aimed=True, space="noise"),
    "annotated": Method(partial(_annotated, space="h"), aimed=True),
    "annotated-noise": Method(partial(_annotated, space="noise"), aimed=True, space="noise"),
    "learned": Method(_learned),
    "random": Method(partial(_random, within=False), after="pca", control=True),
    "random-span": Method(partial(_random, within=True), after="pca", control=True),
    "shuffled": Method(partial(_annotated, space="h", shuffled=True), aimed=True, control=True),
    "random-noise": Method(_random_noise, space="noise", control=True),
    "shuffled-noise": Method(
        partial(_annotated, space="noise", shuffled=True), aimed=True, space="noise", control=True
    ),
}
"""By name; those of x_T end in "-noise"."""
