"""Effect matrices before and after projecting every direction out of every other (table I of Haas et al.)."""

from __future__ import annotations

from typing import Any

from common import FIVE, FRESH, Work, say

import hspace
from hspace.directions import Directions
from hspace.evaluation import effects

STRENGTH = 3.0


def measure(work: Work) -> None:
    directions, sampler = work.directions("annotated")[list(FIVE)], work.sampler()
    clean = []
    for name in FIVE:
        others = [directions[other] for other in FIVE if other != name]
        clean.append(directions[name].without(*others).renamed(name))
    projected = hspace.calibrate(Directions(clean), sampler, range(100))
    projected.save(work.folder / "projected.safetensors")
    table = effects(sampler, projected, work.scorer, FRESH, strength=STRENGTH)
    before = work.read("response")  # the same seeds and strengths
    found: dict[str, Any] = {
        "before": {
            "change": {name: before[name]["change"] for name in FIVE},
            "error": {name: before[name]["error"] for name in FIVE},
            "cosines": [[round(float(x), 3) for x in row] for row in directions.cosines()],
        },
        "after": {
            "change": {name: table.of(name) for name in FIVE},
            "error": {
                name: dict(zip(table.attributes, map(float, row), strict=True))
                for name, row in zip(FIVE, table.error, strict=True)
            },
            "cosines": [[round(float(x), 3) for x in row] for row in projected.cosines()],
        },
    }
    work.write("projection", found)
    for label, part in found.items():
        for name in FIVE:
            row = part["change"][name]
            say(f"{label} {name}: " + ", ".join(f"{other} {row[other]:+.2f}" for other in FIVE))
