"""The commands of long jobs on a tiny model, one after the other in one start: `python commands.py MODEL`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from PIL import Image

from hspace.cli import app
from hspace.jobs import world

JUDGE = """
def judge(images):
    return {"bright": images.mean((1, 2, 3)), "red": images[:, 0].mean((1, 2)) - images[:, 2].mean((1, 2))}
"""
SCORER = ("--scorer", "judge.py:judge")
SMALL = ("--device", "cpu", "--dtype", "float64", "--batch-size", "2")
DRAWN = ("-s", "2", *SMALL)
LEARNING = ("-k", "2", "--span", "3", "--iterations", "2", "--per-iteration", "3", "--reconstructor", "lenet")
EVALUATION = (
    "-n",
    "3",
    "--controls",
    "3",
    "--level",
    "0.5",
    "--unit-samples",
    "3",
    "--projected",
    "--strengths",
    "-2,2",
)
UNIT = ("--unit-samples", "5")
COMMANDS = (
    ("sample", "--seeds", "0:5", "-o", "all.png", *DRAWN),
    ("sample", "--seeds", "0:5", "-o", "each", *DRAWN),
    ("pca", "-n", "7", "-k", "2", "-o", "pcs.safetensors", "--picture", "pcs.png", *DRAWN),
    ("supervised", *SCORER, "-n", "9", "--extremes", "3", *UNIT, "-o", "scored.safetensors", *DRAWN),
    ("supervised", "--positive", "with", "--negative", "without", *UNIT, "-o", "seen.safetensors", *DRAWN),
    ("evaluate", "pcs.safetensors", *SCORER, *EVALUATION, *SMALL),
    (
        "learn",
        *LEARNING,
        "-n",
        "6",
        "--work",
        "learning",
        "-o",
        "learned.safetensors",
        "--rate",
        "1e-3",
        *DRAWN,
        "--batch-size",
        "16",
    ),
)


def main(model: str) -> None:
    torch.set_num_threads(1)
    if world("cpu").first:
        Path("judge.py").write_text(JUDGE)
        for name, shade in (("with", 200), ("without", 40)):
            Path(name).mkdir()
            for i in range(3):
                Image.new("RGB", (8, 8), (shade, shade + 9 * i, 90 - 20 * i)).save(f"{name}/{i}.png")
    world().arrive()
    for command in COMMANDS:
        app([*command, "--model", model], standalone_mode=False)
        world().arrive()  # the next command reads what process 0 has written


if __name__ == "__main__":
    main(sys.argv[1])
