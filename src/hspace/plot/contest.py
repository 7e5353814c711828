"""Methods side by side: how many factors they recover, how purely, and what it costs the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

__all__ = ["contest"]

_KINDS = {"h, symmetric": "#4a6fa5", "h, asymmetric": "#1f9e89", "x_T": "#b4452f"}


def contest(rows: Sequence[Mapping[str, Any]], factors: int) -> Figure:
    """Bars of recovered factors (the pure ones darker), and damage over recovered factors.

    Args:
        rows: Of `hspace.benchmark.run`: method, space, injection, recovered, pure, damage, control.
        factors: That there are to recover.

    Example:
        >>> from hspace.plot import contest
        >>> row = {"method": "pca", "space": "h", "injection": "symmetric", "control": False}
        >>> len(contest([{**row, "recovered": ["age"], "pure": [], "damage": 2.0}], 12).axes)
        2
    """
    figure = Figure(figsize=(11, 1.5 + 0.26 * len(rows)), layout="constrained")
    bars, cloud = figure.subplots(1, 2, width_ratios=(3, 2))
    for i, row in enumerate(rows):
        colour = _KINDS[_kind(row)]
        bars.barh(i, len(row["recovered"]), color=colour, alpha=0.35)
        bars.barh(i, len(row["pure"]), color=colour)
        marker = "x" if row["control"] else "o"
        cloud.scatter(len(row["recovered"]), row["damage"], color=colour, marker=marker, s=30)
        cloud.annotate(
            row["method"], (len(row["recovered"]), row["damage"]), (3, 3), textcoords="offset points", fontsize=6
        )
    bars.set_yticks(
        range(len(rows)), [f"{row['method']}{' (control)' if row['control'] else ''}, {_kind(row)}" for row in rows]
    )
    bars.tick_params(axis="y", labelsize=7)
    bars.invert_yaxis()
    bars.set_xlim(0, factors)
    bars.set_xlabel(f"factors of {factors} that some direction moves most, by one standard deviation (dark: purely)")
    cloud.set_xlabel("factors recovered")
    cloud.set_ylabel("damage (Frechet distance of scores)")
    for kind, colour in _KINDS.items():
        cloud.scatter([], [], color=colour, label=kind)
    cloud.scatter([], [], color="grey", marker="x", label="control")
    cloud.legend(fontsize=7)
    return figure


def _kind(row: Mapping[str, Any]) -> str:
    return f"h, {row['injection']}" if row["space"] == "h" else "x_T"
