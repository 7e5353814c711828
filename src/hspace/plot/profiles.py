"""What two directions do to attributes, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

__all__ = ["profiles"]

_COLOURS = ("#9aa5b1", "#1565c0")


def profiles(
    effects: Float[Tensor, "2 a"],
    attributes: Sequence[str],
    names: tuple[str, str],
    *,
    errors: Float[Tensor, "2 a"] | None = None,
    title: str = "",
) -> Figure:
    """Changes of attributes along two directions, such as before and after a projection; the largest first.

    Args:
        effects: In standard deviations.
        attributes: Names of the columns.
        names: Of the directions.
        errors: Standard errors.
        title: Over it.

    Example:
        >>> import torch
        >>> from hspace.plot import profiles
        >>> figure = profiles(torch.tensor([[2.0, -0.5], [1.8, 0.1]]), ["smile", "age"], ("before", "after"))
        >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
        ['smile', 'age']
    """
    values = effects.detach().cpu().double().numpy()
    spread = None if errors is None else errors.detach().cpu().double().numpy()
    order = np.argsort(-np.abs(values[0]), kind="stable")
    figure = Figure(figsize=(6.4, 1.4 + 0.42 * len(order)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(order))
    for row, (name, colour, offset) in enumerate(zip(names, _COLOURS, (-0.2, 0.2), strict=True)):
        whiskers = None if spread is None else spread[row, order]
        axes.barh(places + offset, values[row, order], 0.38, xerr=whiskers, color=colour, label=name, ecolor="#333333")
    axes.set_yticks(places, [attributes[i] for i in order])
    axes.invert_yaxis()
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("change from -3 to 3, in standard deviations of the attribute")
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    if title:
        axes.set_title(title, fontsize=10)
    return figure
