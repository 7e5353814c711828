"""Rows and tables from effects made by hand."""

from __future__ import annotations

from typing import Any

from hspace.benchmark import table
from hspace.benchmark.summary import summarised


def row(direction: str, **effects: float) -> dict[str, Any]:
    largest = max(effects.values(), key=abs)
    return {
        "direction": direction,
        "effect": largest,
        "selectivity": abs(largest) / sum(abs(x) for x in effects.values()),
        "consistency": 1.0,
        "damage": 2.0,
        "content": {"pixel": 0.1, "ssim": 0.9},
        "effects": effects,
        "errors": dict.fromkeys(effects, 0.05),
    }


DATA = {
    "directions": [
        row("a", a=2.0, b=0.5),  # a, purely
        row("b", a=1.0, b=1.2, c=-1.1),  # b, not purely
        row("c", a=0.1, c=-3.0),  # c, downwards
        row("d", a=0.4, d=0.9),  # too little
        row("e", a=-2.5, e=2.4),  # a again, not purely
    ]
}


def test_factors_that_are_recovered() -> None:
    found = summarised(DATA, aimed=True)
    assert found["recovered"] == ["a", "b", "c"]
    assert found["best"] == {"a": 2.5, "b": 1.2, "c": 3.0}
    assert found["pure"] == ["a", "c"]
    assert found["on_target"] == 3  # a, b and d move their own factor most and upwards
    assert found["directions"] == 5
    assert summarised(DATA)["on_target"] is None
    uncertain = {"directions": [{**row("b", b=1.2), "errors": {"b": 0.11}}]}
    assert summarised(uncertain)["recovered"] == []


def test_the_table() -> None:
    row = {"method": "pca", "control": False, "space": "h", "injection": "symmetric", **summarised(DATA)}
    row |= {"samples": 1200, "calls": 12_000, "cpu_seconds": 90.0}
    noise = {**row, "method": "random", "control": True, "space": "noise", "on_target": 3, "cpu_seconds": None}
    head, rule, first, second = table({"setting": {"factors": list("abcde")}, "rows": [row, noise]}).splitlines()
    assert head.count("|") == rule.count("|") == first.count("|") == second.count("|")
    assert first.startswith("| pca | h | symmetric | 5 | 3 of 5 | 2 |  | 1.92 |")
    assert first.endswith("| 1,200 | 12,000 | 1.5 |")
    assert second.startswith("| *random* | x_T |  | 5 | 3 of 5 | 2 | 3 of 5 |")
