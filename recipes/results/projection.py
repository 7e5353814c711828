"""Effect matrices before and after projecting every direction out of every other (table I of Haas et al.).

Two of them: of factors at the bottleneck, and of entangled factors where the decoder draws them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common import DECODER, FRESH, Work, portraits, say
from torch import Tensor

import hspace
from hspace.atomic import writing
from hspace.directions import Directions
from hspace.evaluation.distances import frechet_distance
from hspace.faces import FACTORS
from hspace.plot import strip

STRENGTH = 3.0
ROWS = ("age", "hair_length", "beard", "yaw", "skin")
OUT = (*ROWS, "hair_tone")
"""Every row is without all the others of these."""

SEEDS = FRESH[:32]

ENTANGLED = ("smile", "age", "hair_length", "beard", "hair_tone")
BESIDE = ("glasses",)
"""Measured with them and reported apart: age follows glasses further than projection puts right."""

DECODER_STRENGTH = 1.5
"""Both ends stay near the population: the same factors move further there."""

LEAKS = 0.5
"""In the decoder a row is without those of the others that it changes by more than this share of its own change. Being
without them all turns small leaks round and makes them larger."""

DECODER_SEEDS = FRESH[32:]
"""Rows, strength and share were chosen on the first four of FRESH."""


def measure(work: Work) -> None:
    directions, sampler = work.directions("annotated")[list(OUT)], work.sampler()
    projected = _projected(directions, {name: [other for other in OUT if other != name] for name in ROWS}, sampler)
    projected.save(work.folder / "projected.safetensors")
    response = work.read("response")  # the same strengths; 64 seeds
    before = {name: {key: response[name][key] for key in ("change", "error")} for name in ROWS if name in response}
    fresh = directions[[name for name in ROWS if name not in before]]
    before.update(_changes(fresh, _ends(work, sampler, fresh, STRENGTH, SEEDS)))
    after = _changes(projected, _ends(work, sampler, projected, STRENGTH, SEEDS))
    found: dict[str, Any] = {"before": before, "after": after, "seeds": len(SEEDS)}
    found["cosines"] = _cosines(directions)
    work.write("projection", found)
    _tell(found, ROWS)


def measure_in_decoder(work: Work) -> None:
    """The same at a tap of the decoder, with what the edits do to the pictures."""
    directions, sampler = work.directions("annotated-decoder")[[*ENTANGLED, *BESIDE]], work.sampler(tap=DECODER)
    rendered = work.scorer.table(portraits(range(1000))).cpu()
    plain = work.table(sampler, [None], FRESH)[0]  # as many as the pictures of a row
    damage: dict[str, Any] = {"unedited": frechet_distance(plain, rendered)}
    found: dict[str, Any] = {"seeds": len(DECODER_SEEDS), "cosines": _cosines(directions), "damage": damage}

    def measured(items: Directions) -> tuple[dict[str, Any], dict[str, float]]:
        ends = _ends(work, sampler, items, DECODER_STRENGTH, DECODER_SEEDS)
        distances = [frechet_distance(row.flatten(0, 1), rendered) for row in ends]
        return _changes(items, ends), dict(zip(items.names, distances, strict=True))

    found["before"], damage["before"] = measured(directions)
    work.write("projection-decoder", found)
    found["without"] = {name: _dragged(name, row["change"]) for name, row in found["before"].items()}
    leaking = {name: others for name, others in found["without"].items() if others}
    projected = _projected(directions, leaking, sampler)
    projected.save(work.folder / "projected-decoder.safetensors")
    with writing(work.docs / "projection-decoder.png") as partial:
        strip(sampler, DECODER_SEEDS[:2], projected, (-3.0, -1.5, 0.0, 1.5, 3.0)).save(partial)
    after = measured(projected)
    found["after"], damage["after"] = ({**found["before"], **after[0]}, {**damage["before"], **after[1]})
    work.write("projection-decoder", found)
    _tell(found, (*ENTANGLED, *BESIDE))


def _dragged(name: str, change: dict[str, float]) -> list[str]:
    """The other rows that one changes by much."""
    return [other for other in ENTANGLED if other != name and abs(change[other]) > LEAKS * abs(change[name])]


def _projected(directions: Directions, without: dict[str, list[str]], sampler: hspace.Sampler) -> Directions:
    """Every row without some of the others, in the unit of strength again."""
    clean = [
        directions[name].without(*(directions[other] for other in others)).renamed(name)
        for name, others in without.items()
    ]
    return hspace.calibrate(Directions(clean), sampler, range(100))


def _ends(work: Work, sampler: hspace.Sampler, directions: Directions, strength: float, seeds: Sequence[int]) -> Tensor:
    """(directions, 2, seeds, factors) scores at both ends."""
    edits = [end * direction for direction in directions for end in (-strength, strength)]
    return work.table(sampler, edits, seeds).reshape(len(directions), 2, len(seeds), -1)


def _changes(directions: Directions, ends: Tensor) -> dict[str, dict[str, dict[str, float]]]:
    """Mean and standard error of the change of every factor, by direction."""
    change = ends[:, 1] - ends[:, 0]
    means, errors = change.mean(1), change.std(1) / change.shape[1] ** 0.5
    return {
        name: {
            "change": dict(zip(FACTORS, means[i].tolist(), strict=True)),
            "error": dict(zip(FACTORS, errors[i].tolist(), strict=True)),
        }
        for i, name in enumerate(directions.names)
    }


def _cosines(directions: Directions) -> list[list[float]]:
    return [[round(float(x), 3) for x in row] for row in directions.cosines()]


def _tell(found: dict[str, Any], rows: Sequence[str]) -> None:
    for label in ("before", "after"):
        for name in rows:
            row = found[label][name]["change"]
            say(f"{label} {name}: " + ", ".join(f"{other} {row[other]:+.2f}" for other in rows))
