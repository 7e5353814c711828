"""Curves over t: explained variance and standard deviation of h along directions."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from hspace.directions import Directions

__all__ = ["spectrum"]

_SHOWN = 10


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
