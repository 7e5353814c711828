"""Curves over t: explained variance and standard deviation of h along directions, singular values."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import product

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from hspace.directions import Direction, Directions
from hspace.errors import HspaceError

__all__ = ["singular_values", "spectrum"]

_SHOWN = 10
_DECADES = 3  # below the largest singular value; what is smaller does not move the picture and stands at the edge


def spectrum(directions: Directions) -> Figure:
    """Explained variance and standard deviation of h along each direction, over the timesteps of their grid.

    Args:
        directions: The first 10 are shown. The left panel needs `measured["explained_variance_ratio"]`, as
            `hspace.PCA` leaves it; without it there is one panel.

    Returns:
        A matplotlib figure: `.savefig("spectrum.png")`.

    Example:
        >>> import hspace
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2)
        >>> pcs = hspace.PCA(n_components=2).fit(sampler, seeds=range(4)).directions_
        >>> len(hspace.plot.spectrum(pcs).axes)
        2
    """
    ratio = directions.measured.get("explained_variance_ratio")
    figure = Figure(figsize=(11 if ratio is not None else 6.5, 4.2), layout="constrained", dpi=120)
    panels = figure.subplots(1, 1 if ratio is None else 2, squeeze=False)[0]
    shown = directions[:_SHOWN]
    if ratio is not None:
        _curves(panels[0], shown, 100 * ratio[:, : len(shown)], "explained variance of h, %")
    stds = torch.stack([direction.norms() for direction in shown], 1)
    _curves(panels[-1], shown, stds, "standard deviation of h along the direction")
    panels[-1].legend(ncols=2, fontsize="small")
    return figure


def _curves(axes: Axes, directions: Directions, values: Tensor, label: str) -> None:
    for column, direction in zip(values.float().cpu().T, directions, strict=True):
        axes.plot(directions.setting.schedule.timesteps, column, marker=".", label=direction.name)
    axes.set_xlabel("timestep (sampling goes from left to right)")
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    axes.invert_xaxis()
    axes.grid(alpha=0.3)


def singular_values(directions: Directions) -> Figure:
    """Singular values of the Jacobian d eps / d h over the timesteps that its directions were found at.

    A colour for each component, a curve for each sample, thin where there are several. The values fall by orders of
    magnitude towards high t, hence the logarithmic scale. It ends 3 decades below the largest value; what is smaller
    stands at its lower edge as a triangle. Points that did not converge are hollow.

    Args:
        directions: Found by `hspace.Jacobian`: the `origin` of each holds timestep, component and singular value.
            The first 10 components are shown.

    Returns:
        A matplotlib figure: `.savefig("singular-values.png")`.

    Raises:
        HspaceError: A direction that was found in another way.

    Example:
        >>> import torch, hspace
        >>> setting = hspace.Sampler(hspace.load("faces64"), steps=2).setting()
        >>> found = [{"timestep": t, "component": 0, "singular_value": s} for t, s in ((999, 0.1), (499, 0.4))]
        >>> vectors = torch.ones(2, *setting.h_shape)
        >>> items = [hspace.Direction(vectors, setting, f"t{origin['timestep']}", origin) for origin in found]
        >>> hspace.plot.singular_values(hspace.Directions(items)).axes[0].get_yscale()
        'log'
    """
    points = [_point(direction) for direction in directions]
    components = sorted({point.component for point in points})[:_SHOWN]
    points = [point for point in points if point.component in components]
    edge = (max(point.value for point in points) or 1.0) / 10**_DECADES
    several = len({point.sample for point in points}) > 1
    figure = Figure(figsize=(7.5, 4.6), layout="constrained", dpi=120)
    axes = figure.subplots()
    for i, component in enumerate(components):
        own = [point for point in points if point.component == component]
        _fan(axes, own, edge, f"C{i}", width=0.7 if several else 1.6, size=3.5 if several else 5)
    axes.set_yscale("log")
    axes.set_xlabel("timestep (sampling goes from left to right)")
    axes.set_ylabel("singular value of the Jacobian")
    axes.invert_xaxis()
    axes.grid(alpha=0.3)
    handles = [
        Line2D([], [], color=f"C{i}", marker="o", ms=5, label=f"component {j}") for i, j in enumerate(components)
    ]
    if not all(point.converged for point in points):
        handles.append(Line2D([], [], color="0.4", ls="", marker="o", ms=5, mfc="white", label="not converged"))
    if any(point.value < edge for point in points):
        axes.set_ylim(bottom=edge)
        handles.append(Line2D([], [], color="0.4", ls="", marker="v", ms=5, label=f"below {edge:.0e}"))
    axes.legend(handles=handles, loc="lower right", ncols=2, fontsize="small")
    return figure


@dataclass(frozen=True)
class _Point:
    timestep: int
    component: int
    value: float
    converged: bool
    sample: str


def _point(direction: Direction) -> _Point:
    origin = direction.origin
    value, places = origin.get("singular_value"), (origin.get("timestep"), origin.get("component"))
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        found = f"found by {origin['method']!r}" if "method" in origin else "of unknown origin"
        had = "no singular value" if value is None else f"a singular value of {value!r}"
        raise HspaceError(f"direction {direction.name!r}, {found}, has {had}: expected one of hspace.Jacobian")
    timestep, component = places
    if not (isinstance(timestep, int) and isinstance(component, int)):
        raise HspaceError(f"direction {direction.name!r} does not know its timestep and component")
    return _Point(timestep, component, float(value), origin.get("converged") is not False, repr(origin.get("sample")))


def _fan(axes: Axes, points: list[_Point], edge: float, colour: str, *, width: float, size: float) -> None:
    """The curves of one component, one for each sample, and their points on top."""
    curves: dict[str, list[_Point]] = defaultdict(list)
    for point in sorted(points, key=lambda point: -point.timestep):
        curves[point.sample].append(point)
    for curve in curves.values():
        values = [max(point.value, edge) for point in curve]
        axes.plot([point.timestep for point in curve], values, color=colour, linewidth=width)
    for below, converged in product((False, True), repeat=2):
        marked = [point for point in points if (point.value < edge, point.converged) == (below, converged)]
        if not marked:  # an empty line that is not clipped would take room
            continue
        axes.plot(
            [point.timestep for point in marked],
            [max(point.value, edge) for point in marked],
            color=colour,
            linestyle="",
            marker="v" if below else "o",
            markersize=size,
            markerfacecolor=colour if converged else "white",
            clip_on=not below,
        )
