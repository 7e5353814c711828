"""An effect matrix as a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

__all__ = ["effect_matrix"]


def effect_matrix(
    effects: Float[Tensor, "k a"], directions: Sequence[str], attributes: Sequence[str], *, title: str = ""
) -> Figure:
    """Changes of attributes (columns) along directions (rows), with their numbers.

    Args:
        effects: In standard deviations.
        directions: Names of the rows.
        attributes: Names of the columns.
        title: Over it.

    Example:
        >>> import torch
        >>> from hspace.plot import effect_matrix
        >>> len(effect_matrix(torch.tensor([[2.0, -0.1]]), ["pc0"], ["yaw", "age"]).axes)
        2
    """
    values = effects.detach().cpu().double().numpy()
    figure = Figure(figsize=(2.5 + 0.75 * len(attributes), 1.8 + 0.4 * len(directions)), layout="constrained")
    axes = figure.subplots()
    limit = max(1.0, float(np.abs(values).max()))
    image = axes.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    axes.set_xticks(range(len(attributes)), attributes, rotation=45, ha="right")
    axes.set_yticks(range(len(directions)), directions)
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            ink = "white" if abs(value) > 0.6 * limit else "black"
            axes.text(j, i, f"{value:+.1f}", ha="center", va="center", color=ink, fontsize=8)
    figure.colorbar(image, label="standard deviations")
    if title:
        axes.set_title(title, fontsize=10)
    return figure
