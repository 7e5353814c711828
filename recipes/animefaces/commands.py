"""What the recipe runs: every method of the package on one network of someone else's, as a user types it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FULL", "Size", "Stage", "stages"]

MODEL = "recipes/own_network.py:animefaces64"
SCORER = "recipes/animefaces/attributes.py:scores"
COLUMNS = ("hair_val", "mouth_h", "eye_offset")
BOXES = {"mouth": "19,38,32,45", "eyes": "14,16,50,30"}
"""In the picture of seed 10."""
PHOTOS = ("10001", "10047", "10065")


@dataclass(frozen=True)
class Size:
    """How much of everything; steps of each grid, samples, directions."""

    grid: int = 16
    steps: int = 20
    steps_of_one: int = 15
    """Where one image is looked at."""
    steps_scored: int = 10
    """Where many are scored."""
    steps_learned: int = 6
    samples: int = 200
    components: int = 10
    products: int = 200
    quantile: float = 0.125
    unit: int = 48
    unit_of_one: int = 32
    scored: int = 80
    extremes: int = 20
    unit_scored: int = 16
    learned: int = 5
    reconstructor: str = "resnet18"
    span: int = 32
    per_iteration: int = 8
    checked: int = 200
    minutes: float = 45
    iterations: int = 27
    judged: int = 3
    controls: int = 20
    unit_judged: int = 8
    dtype: str = "bfloat16"


FULL = Size()


@dataclass(frozen=True)
class Stage:
    """Commands that run one after the other; what they write is in the working folder."""

    name: str
    commands: tuple[str, ...]
    resumes: bool = False
    """Whether they take `--resume` from the start."""

    def arguments(self) -> list[list[str]]:
        """Of each command, without the first word."""
        return [shlex.split(command)[1:] for command in self.commands]


def stages(work: Path, data: Path, size: Size = FULL) -> list[Stage]:
    """All of them, in an order in which each finds what it needs."""
    n, of = size, f"--model {MODEL} --dtype {size.dtype}"
    columns = " ".join(f"--column {name}" for name in COLUMNS)
    attributes = " ".join(f"--attribute {name}" for name in COLUMNS)
    pictures = " ".join(str(data / f"{name}.png") for name in PHOTOS)
    return [
        Stage(
            "samples",
            (f"hspace sample {of} --seeds 0:{n.grid} --steps {n.steps_of_one} --out {work}/samples.png",),
            resumes=True,
        ),
        Stage(
            "pca",
            (
                (
                    f"hspace pca {of} --samples {n.samples} --components {n.components} --steps {n.steps} "
                    f"--out {work}/pca.safetensors --figure {work}/spectrum.png --picture {work}/pca.png"
                ),
            ),
            resumes=True,
        ),
        Stage(
            "jacobian",
            tuple(
                f"hspace jacobian {of} --seeds 10 --timesteps spread:3 --components 1 --mask {box} --outside-rank 5 "
                f"--tol 1e-2 --max-products {n.products} --unit-samples {n.unit_of_one} --steps {n.steps_of_one} "
                f"--out {work}/{part}.safetensors --saliency {work}/where-{part}.png"
                for part, box in BOXES.items()
            ),
        ),
        Stage(
            "labelled",
            (
                (
                    f"hspace supervised {of} --photos {data} --labels {data}/labels.csv {columns} "
                    f"--quantile {n.quantile:g} --steps {n.steps} --eta 1 --injection asymmetric "
                    f"--unit-samples {n.unit} --out {work}/labelled.safetensors"
                ),
            ),
            resumes=True,
        ),
        Stage(
            "annotated",
            (
                (
                    f"hspace supervised {of} --scorer {SCORER} {attributes} --samples {n.scored} "
                    f"--extremes {n.extremes} --unit-samples {n.unit_scored} --steps {n.steps_scored} "
                    f"--out {work}/annotated.safetensors"
                ),
            ),
            resumes=True,
        ),
        Stage(
            "annotated-strip",
            (
                (
                    f"hspace edit {work}/annotated.safetensors {of} --seeds 10,13 --strengths=-4,0,4 "
                    f"--out {work}/annotated.png"
                ),
            ),
        ),
        Stage(
            "learned",
            (
                (
                    f"hspace learn {of} --directions {n.learned} --span {n.span} --samples {n.samples} "
                    f"--per-iteration {n.per_iteration} --iterations {n.iterations} --minutes {n.minutes:g} "
                    f"--steps {n.steps_learned} --reconstructor {n.reconstructor} --adversarial 0 --noise 0.05 "
                    f"--max-strength 8 --min-strength 2 --checked {n.checked} "
                    f"--work {work}/learning --out {work}/learned.safetensors"
                ),
            ),
        ),
        Stage(
            "learned-strip",
            (
                (
                    f"hspace edit {work}/learned.safetensors {of} --seeds 10,13 --steps {n.steps_of_one} --eta 1 "
                    f"--strengths=-2,0,2 --out {work}/learned.png"
                ),
            ),
        ),
        Stage(
            "invert",
            (
                (
                    f"hspace invert {pictures} {of} --steps {n.steps} --eta 1 --out {work}/photos.safetensors "
                    f"--preview {work}/photos.png"
                ),
                (
                    f"hspace edit {work}/labelled.safetensors {of} --photo {work}/photos.safetensors "
                    f"--strengths=-4,-2,0,2,4 --out {work}/edited.png"
                ),
            ),
        ),
        Stage(
            "recipe",
            (
                (
                    f"hspace edit {work}/labelled.safetensors {of} --photo {work}/photos.safetensors --set hair_val=2 "
                    f"--set mouth_h=3 --out {work}/both.png --save-recipe {work}/both.json"
                ),
                f"hspace edit --recipe {work}/both.json --model {MODEL} --out {work}/again.png",
            ),
        ),
        Stage(
            "without",
            (
                (
                    f"hspace edit {work}/labelled.safetensors {of} --photo {work}/photos.safetensors "
                    f"--direction eye_offset --without hair_val --without mouth_h "
                    f"--strengths=-4,-2,0,2,4 --out {work}/without.png"
                ),
            ),
        ),
        Stage(
            "swap",
            (f"hspace swap {of} --seeds 10,0,13 --donors 7,8,11 --steps {n.steps_of_one} --out {work}/swap.png",),
        ),
        Stage(
            "evaluate",
            (
                (
                    f"hspace evaluate {work}/learned.safetensors {of} --scorer {SCORER} --direction learned0 "
                    f"--samples {n.judged} --strengths 0,3 --controls {n.controls} --unit-samples {n.unit_judged} "
                    f"--out {work}/learned.json"
                ),
            ),
            resumes=True,
        ),
        Stage(
            "report",
            (
                (
                    f"hspace report {work}/learned.safetensors {of} --scorer {SCORER} --samples 2 "
                    f"--strengths=-3,3 --controls 0 --unit-samples {n.unit_judged} --shown 1 --out {work}/learned.html"
                ),
            ),
        ),
    ]
