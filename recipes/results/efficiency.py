"""How many labelled examples a direction needs, in h and in x_T (figure 8a of Haas et al.).

Samples of the highest and of the lowest 30 percent of yaw, drawn at random: the more, the better the mean difference.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import torch
from common import FRESH, Work, say
from torch import Tensor

import hspace
from hspace.atomic import writing
from hspace.directions import Direction, Directions
from hspace.discovery.contrast import Contrast
from hspace.faces import FACTORS

FACTOR = "yaw"
SIZES = (1, 5, 20, 50, 200)
SEEDS = FRESH[:16]


def measure(work: Work) -> None:
    sampler = work.sampler()
    scores = np.array(work.read("annotated")["scores"][FACTOR])
    order, generator = np.argsort(scores), np.random.default_rng(0)
    third = int(0.3 * len(scores))
    low, high = (generator.permutation(part)[: SIZES[-1]] for part in (order[:third], order[-third:]))
    seeds = [int(seed) for pair in zip(high, low, strict=True) for seed in pair]  # high, low, high, low, ...
    labels = {str(n): [float(1 - i % 2) if i < 2 * n else np.nan for i in range(len(seeds))] for n in SIZES}
    contrasts = {"h": Contrast(labels, 0), "noise": Contrast(labels, 0)}
    contrasts["noise"].add([sampler.latents(seeds).x_T().flatten(1)])
    batch: list[Tensor] = []

    def record(timestep: int, h: Tensor, _: slice) -> None:
        if timestep == sampler.timesteps[0]:
            batch.clear()
        batch.append(h.flatten(1))

    for _ in sampler.stream(seeds, record=record):
        contrasts["h"].add(batch)
    column = FACTORS.index(FACTOR)
    found: dict[str, dict[str, list[float]]] = {}
    for space, contrast in contrasts.items():
        setting = sampler.setting("asymmetric", space)  # type: ignore[arg-type]
        shape = (-1, *setting.h_shape)
        items = [Direction(contrast.vectors(str(n), "mean").float().reshape(shape), setting, str(n)) for n in SIZES]
        directions = hspace.calibrate(Directions(items), sampler, range(100))
        for strength in (3.0, 15.0) if space == "noise" else (3.0,):
            ends = [end * item for item in directions for end in (-strength, strength)]
            table = work.table(sampler, ends, SEEDS)[:, :, column]
            change = table[1::2] - table[::2]
            label = f"{'x_T' if space == 'noise' else 'h'}, from {-strength:g} to {strength:g}"
            found[label] = {
                "change": change.mean(1).tolist(),
                "error": (change.std(1) / len(SEEDS) ** 0.5).tolist(),
            }
            say(f"{label}: " + ", ".join(f"{n}: {x:+.2f}" for n, x in zip(SIZES, found[label]["change"], strict=True)))
            work.write("efficiency", {"factor": FACTOR, "sizes": SIZES, "found": found})


def draw(work: Work) -> None:
    data = work.read("efficiency")
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    for label, curve in data["found"].items():
        axes.errorbar(data["sizes"], curve["change"], curve["error"], label=label, marker="o", capsize=2)
    axes.set(xscale="log", xlabel="labelled examples of each class", ylabel=f"change of {data['factor']} (std)")
    axes.set_xticks(data["sizes"], data["sizes"], minor=False)
    axes.minorticks_off()
    axes.axhline(0, color="grey", linewidth=0.5)
    axes.legend()
    with writing(work.docs / "sample-efficiency.png") as partial:
        figure.savefig(partial, dpi=130)
    plt.close(figure)


def run(work: Work) -> None:
    torch.set_grad_enabled(False)
    measure(work)
    draw(work)
