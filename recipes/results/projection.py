"""Effect matrices before and after projecting every direction out of every other (table I of Haas et al.)."""

from __future__ import annotations

from typing import Any

from common import FRESH, Work, say

import hspace
from hspace.directions import Directions
from hspace.evaluation import Effects, effects

STRENGTH = 3.0
ROWS = ("age", "hair_length", "beard", "yaw", "skin")
OUT = (*ROWS, "hair_tone")
"""Every row is without all the others of these."""

SEEDS = FRESH[:32]


def measure(work: Work) -> None:
    directions, sampler = work.directions("annotated")[list(OUT)], work.sampler()
    clean = [
        directions[name].without(*(directions[other] for other in OUT if other != name)).renamed(name) for name in ROWS
    ]
    projected = hspace.calibrate(Directions(clean), sampler, range(100))
    projected.save(work.folder / "projected.safetensors")

    def measured(items: Directions) -> Effects:
        return effects(sampler, items, work.scorer, SEEDS, strength=STRENGTH)

    response = work.read("response")  # the same strengths; 64 seeds
    known = [name for name in ROWS if name in response]
    fresh = measured(directions[[name for name in ROWS if name not in response]])
    before = {name: {key: response[name][key] for key in ("change", "error")} for name in known}
    before.update(_rows(fresh))
    found: dict[str, Any] = {"before": before, "after": _rows(measured(projected)), "seeds": len(SEEDS)}
    found["cosines"] = [[round(float(x), 3) for x in row] for row in directions.cosines()]
    work.write("projection", found)
    for label in ("before", "after"):
        for name in ROWS:
            row = found[label][name]["change"]
            say(f"{label} {name}: " + ", ".join(f"{other} {row[other]:+.2f}" for other in ROWS))


def _rows(table: Effects) -> dict[str, dict[str, dict[str, float]]]:
    return {
        name: {
            "change": table.of(name),
            "error": dict(zip(table.attributes, map(float, table.error[i]), strict=True)),
        }
        for i, name in enumerate(table.directions)
    }
