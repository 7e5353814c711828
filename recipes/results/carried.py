"""What h carries of each factor, and why some hardly move.

Swap: the h of one sample is replaced by another's at all timesteps. A least-squares fit

    score(swapped) = a score(donor of h) + b score(receiver) + c

over 100 pairs says what share of a factor comes with h (a) and what stays with x_T and the skip connections (b).
Variants: the directions of three factors, found or used in other ways, and what they change between -3 and 3.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from common import DECODER, FRESH, Work, say

import hspace
from hspace.directions import Direction, Edit, swap
from hspace.faces import FACTORS

PAIRS = 100
WEAK = ("glasses", "age", "mouth_open")
SEEDS = FRESH[:8]


def swapped(work: Work) -> None:
    found = {}
    sampler = work.sampler()
    receivers, donors = range(20_000, 20_000 + PAIRS), range(30_000, 30_000 + PAIRS)
    scores = [work.scorer.table(sampler.run(seeds)).double().numpy() for seeds in (donors, receivers)]
    for injection in ("symmetric", "asymmetric"):
        after = work.scorer.table(swap(sampler, receivers, donors, injection=injection)).double().numpy()
        shares = {}
        for j, name in enumerate(FACTORS):
            columns = np.stack([scores[0][:, j], scores[1][:, j], np.ones(PAIRS)], 1)
            fitted, *_ = np.linalg.lstsq(columns, after[:, j], rcond=None)
            rest = after[:, j] - columns @ fitted
            shares[name] = {
                "donor": float(fitted[0]),
                "receiver": float(fitted[1]),
                "r2": 1 - float(rest.var() / after[:, j].var()),
            }
            say(f"{injection} {name}: donor {fitted[0]:+.2f}, receiver {fitted[1]:+.2f}")
        found[injection] = shares
        work.write("swapped", found)


def variants(work: Work) -> None:
    base, sampler = work.directions("annotated"), work.sampler()
    scores = {name: work.read("annotated")["scores"][name] for name in (*WEAK, "smile")}
    found: dict[str, dict[str, float]] = {}

    def measured(label: str, edits: Mapping[str, Direction | Edit], on: hspace.Sampler, strength: float = 3.0) -> None:
        ends = [end * edit for edit in edits.values() for end in (-strength, strength)]
        table = work.table(on, ends, SEEDS)
        change = (table[1::2] - table[::2]).mean(1)
        found[label] = {name: float(change[i, FACTORS.index(name)]) for i, name in enumerate(edits)}
        say(f"{label}: " + ", ".join(f"{name} {value:+.2f}" for name, value in found[label].items()))
        work.write("variants", found)

    def again(on: hspace.Sampler, **options: object) -> dict[str, Direction]:
        chosen = {"n_extremes": 30, "injection": "asymmetric", "sketch_size": 0, "unit_seeds": range(40), **options}
        annotated = hspace.Annotated(WEAK, **chosen).fit(on, scores, range(1000))  # type: ignore[arg-type]
        return {name: annotated.directions_[name] for name in WEAK}

    def of(**options: object) -> dict[str, Edit]:
        return {name: Edit.of(base[name], **options) for name in WEAK}  # type: ignore[arg-type]

    response = work.read("response")  # on 64 seeds
    found["as in the first table, 100 extremes"] = {name: response[name]["change"][name] for name in WEAK}
    measured("symmetric injection, rescaled by the gain of the steps", of(injection="symmetric"), sampler)
    measured("early half of the steps only", of(window=(999, 500)), sampler)
    measured("late half of the steps only", of(window=(499, 0)), sampler)
    measured("30 extremes", again(sampler), sampler)
    measured("normal of a linear SVM, 30 extremes", again(sampler, classifier="svm", sketch_size=60), sampler)
    other = work.sampler(tap=DECODER)
    measured(f"h read and moved at {DECODER}, 30 extremes", again(other), other)
    noise = again(sampler, space="noise", n_extremes=100)
    measured("x_T instead of h", noise, sampler)
    measured("x_T instead of h, strength 15", noise, sampler, 15.0)
