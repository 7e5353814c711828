"""Directions of nine factors from 1,000 samples and the scorer: 100 extremes at each end, all from one pass."""

from __future__ import annotations

import torch
from common import COLOURS, DECODER, FRESH, SEVEN, Work, say
from scipy.stats import spearmanr

import hspace
from hspace.attributes import load_scorer
from hspace.faces import FACTORS

STRENGTHS = (-3.0, -1.5, 0.0, 1.5, 3.0)


def find(work: Work) -> None:
    annotated = hspace.Annotated((*SEVEN, *COLOURS), n_extremes=100, injection="asymmetric")
    annotated.fit(work.sampler(), load_scorer("portraits"), range(1000))
    annotated.directions_.save(work.folder / "annotated.safetensors")
    accuracy = {
        name: {each: [round(float(x), 3) for x in values] for each, values in by.items()}
        for name, by in annotated.accuracy_.items()
    }
    scores = {name: values.tolist() for name, values in annotated.scores_.items()}
    found = {"accuracy": accuracy, "timesteps": work.sampler().timesteps, "scores": scores}
    work.write("annotated", found)


def find_in_decoder(work: Work) -> None:
    """Of all twelve factors at a tap of the decoder, from the scores that are there."""
    annotated = hspace.Annotated(FACTORS, n_extremes=100, injection="asymmetric", sketch_size=0)
    annotated.fit(work.sampler(tap=DECODER), work.read("annotated")["scores"], range(1000))
    annotated.directions_.save(work.folder / "annotated-decoder.safetensors")


def response(work: Work) -> None:
    """Mean scores of 64 fresh seeds at every strength, and their Spearman correlation with it."""
    directions, sampler = work.directions("annotated"), work.sampler()
    plain = work.table(sampler, [None], FRESH)[0]
    found = {}
    for name in SEVEN:
        edits = [strength * directions[name] for strength in STRENGTHS if strength]
        table = work.table(sampler, edits, FRESH)
        table = torch.cat([table[:2], plain[None], table[2:]])  # (5, 64, 12)
        change = table[-1] - table[0]
        own = table[:, :, FACTORS.index(name)].mean(1).tolist()
        found[name] = {
            "own": own,
            "spearman": float(spearmanr(STRENGTHS, own).statistic),
            "change": dict(zip(FACTORS, change.mean(0).tolist(), strict=True)),
            "error": dict(zip(FACTORS, (change.std(0) / len(change) ** 0.5).tolist(), strict=True)),
        }
        say(f"{name}: own {[round(x, 2) for x in own]}, Spearman {found[name]['spearman']:.3f}")
        work.write("response", found)
