"""The contest as a table in Markdown, one row for each method and injection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["table"]

HEAD = (
    "method",
    "directions of",
    "injection",
    "k",
    "recovered",
    "pure",
    "on target",
    "effect",
    "selectivity",
    "consistency",
    "damage",
    "pixel",
    "samples",
    "calls",
    "CPU minutes",
)


def table(found: Mapping[str, Any]) -> str:
    """What `hspace.benchmark.run` found.

    Args:
        found: Its result, or the JSON of it.
    """
    factors = len(found["setting"]["factors"])
    lines: list[Sequence[str]] = [HEAD, ["---"] * len(HEAD)]
    for row in found["rows"]:
        name = f"*{row['method']}*" if row["control"] else row["method"]
        aimed = "" if row["on_target"] is None else f"{row['on_target']} of {row['directions']}"
        lines.append(
            [
                name,
                "h" if row["space"] == "h" else "x_T",
                row["injection"] if row["space"] == "h" else "",
                str(row["directions"]),
                f"{len(row['recovered'])} of {factors}",
                str(len(row["pure"])),
                aimed,
                *(f"{row[key]:.2f}" for key in ("effect", "selectivity", "consistency", "damage", "pixel")),
                _number(row["samples"]),
                _number(row["calls"]),
                "" if row["cpu_seconds"] is None else f"{row['cpu_seconds'] / 60:.1f}",
            ]
        )
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
