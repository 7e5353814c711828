"""Methods side by side: how many factors they recover, and how purely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch

__all__ = ["contest"]

_KINDS = {"h, symmetric": "#4a6fa5", "h, asymmetric": "#1f9e89", "x_T": "#b4452f"}


def contest(rows: Sequence[Mapping[str, Any]], factors: int) -> Figure:
    """Bars of recovered factors, the pure ones darker; beside them the mean selectivity of the directions.

    Args:
        rows: Of `hspace.benchmark.run`: method, space, injection, recovered, pure, selectivity, control.
        factors: That there are to recover.

    Example:
        >>> from hspace.plot import contest
        >>> row = {"method": "pca", "space": "h", "injection": "symmetric", "control": False}
        >>> len(contest([{**row, "recovered": ["age"], "pure": [], "selectivity": 0.4}], 12).axes)
        2
    """
    figure = Figure(figsize=(9.5, 1.3 + 0.25 * len(rows)), layout="constrained")
    bars, dots = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    for i, row in enumerate(rows):
        colour = _KINDS[_kind(row)]
        bars.barh(i, len(row["recovered"]), color=colour, alpha=0.35)
        bars.barh(i, len(row["pure"]), color=colour)
        dots.plot(row["selectivity"], i, "x" if row["control"] else "o", color=colour, markersize=5)
    bars.set_yticks(
        range(len(rows)), [f"{row['method']}{' (control)' if row['control'] else ''}, {_kind(row)}" for row in rows]
    )
    bars.tick_params(axis="y", labelsize=7)
    bars.set_ylim(len(rows) - 0.4, -0.6)
    bars.set_xlim(0, factors)
    bars.set_xlabel(f"factors recovered, of {factors} (dark: purely)", fontsize=8)
    dots.set_xlim(0, 1)
    dots.set_xlabel("selectivity, mean", fontsize=8)
    dots.grid(axis="x", alpha=0.3)
    bars.legend(handles=[Patch(color=colour, label=kind) for kind, colour in _KINDS.items()], fontsize=7)
    return figure


def _kind(row: Mapping[str, Any]) -> str:
    return f"h, {row['injection']}" if row["space"] == "h" else "x_T"
