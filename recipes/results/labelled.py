"""The same factors from 20 + 20 rendered portraits with labels, through inversion: how far do both methods agree?"""

from __future__ import annotations

import numpy as np
from common import SEVEN, Work, portraits, say

import hspace
from hspace.faces import FACTORS, factor_table

POOL = range(50_000, 50_200)
EACH = 20


def twenty_each(values: np.ndarray) -> np.ndarray:
    """The 20 highest 1, the 20 lowest 0; of equal values the first."""
    order = np.argsort(values, kind="stable")
    labels = np.full(len(values), np.nan)
    labels[order[:EACH]], labels[np.argsort(-values, kind="stable")[:EACH]] = 0.0, 1.0
    return labels


def find(work: Work) -> None:
    table = factor_table(POOL)
    labels = {name: twenty_each(table[:, FACTORS.index(name)]) for name in SEVEN}
    labelled = hspace.Labelled(injection="asymmetric").fit(work.sampler(), portraits(POOL), labels)
    labelled.directions_.save(work.folder / "labelled.safetensors")
    annotated = work.directions("annotated")
    cosines = {name: annotated[name].cosine(labelled.directions_[name]) for name in SEVEN}
    accuracy = {
        name: {each: [round(float(x), 3) for x in values] for each, values in by.items()}
        for name, by in labelled.accuracy_.items()
    }
    work.write("labelled", {"cosine": cosines, "accuracy": accuracy})
    say(f"cosines of labelled and annotated directions: {cosines}")
