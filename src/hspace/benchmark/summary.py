r"""A row of the table: what a set of directions does, taken together.

With e_j(a) the change of factor a along direction j from one end to the other, in standard deviations of the
population:

    recovered    factors that are the largest change of some direction, with |e_j(a)| >= 1 + 2 standard errors
    pure         those of them with a direction that has |e_j(a)| >= 1/2 sum_b |e_j(b)|
    on target    directions named after a factor (supervised ones) that change it most, and upwards
    effect, selectivity, consistency    means over the directions, of the factor that each moves most
    damage, pixel, SSIM    means over the directions
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["summarised"]

_LEAST, _PURE = 1.0, 0.5


def summarised(data: Mapping[str, Any], *, aimed: bool = False) -> dict[str, Any]:
    """Of an evaluation as JSON.

    Args:
        data: `Evaluation.to_json()`.
        aimed: Directions carry the names of factors.

    Example:
        >>> from hspace.benchmark.summary import summarised
        >>> one = {"direction": "age", "effect": 2.0, "selectivity": 0.8, "consistency": 1.0, "damage": 3.0,
        ...        "content": {"pixel": 0.1, "ssim": 0.9}, "effects": {"age": 2.0, "yaw": 0.5},
        ...        "errors": {"age": 0.1, "yaw": 0.1}}
        >>> found = summarised({"directions": [one]}, aimed=True)
        >>> found["recovered"], found["pure"], found["on_target"], found["best"]
        (['age'], ['age'], 1, {'age': 2.0})
    """
    recovered: dict[str, float] = {}
    pure: set[str] = set()
    on_target = 0
    rows = data["directions"]
    for row in rows:
        effects: dict[str, float] = row["effects"]
        most = max(effects, key=lambda name: abs(effects[name]))
        if abs(effects[most]) >= _LEAST + 2 * row["errors"][most]:
            recovered[most] = max(recovered.get(most, 0.0), abs(effects[most]))
            if abs(effects[most]) >= _PURE * sum(abs(x) for x in effects.values()):
                pure.add(most)
        on_target += most == row["direction"] and effects[most] > 0

    def mean(values: list[float]) -> float:
        return sum(values) / len(values)

    return {
        "directions": len(rows),
        "recovered": sorted(recovered),
        "pure": sorted(pure),
        "on_target": on_target if aimed else None,
        "best": recovered,
        "effect": mean([abs(row["effect"]) for row in rows]),
        "selectivity": mean([row["selectivity"] for row in rows]),
        "consistency": mean([row["consistency"] for row in rows]),
        "damage": mean([row["damage"] for row in rows]),
        "pixel": mean([row["content"]["pixel"] for row in rows]),
        "ssim": mean([row["content"]["ssim"] for row in rows]),
        "effects": {row["direction"]: row["effects"] for row in rows},
        "errors": {row["direction"]: row["errors"] for row in rows},
    }
