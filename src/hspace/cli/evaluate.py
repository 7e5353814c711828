"""`hspace evaluate`: what directions do, how purely, and whether random ones do as much."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from hspace.atomic import writing
from hspace.attributes import Scorer, load_scorer
from hspace.cli import options
from hspace.cli.session import open_model, say
from hspace.diffusion import Sampler
from hspace.directions import Directions
from hspace.discovery import random_directions
from hspace.errors import HspaceError
from hspace.evaluation import Evaluation, evaluate
from hspace.plot import effect_matrix
from hspace.version import __version__

__all__ = ["command"]

FRESH = 1_000_000  # seeds from here on were never used to find the directions


File = Annotated[Path, typer.Argument(metavar="DIRECTIONS", help="File of directions.")]
ScorerName = Annotated[
    str,
    typer.Option("--scorer", help="portraits, module:function, a classifier's folder, ... as in hspace supervised."),
]
Names = Annotated[
    list[str] | None, typer.Option("--direction", "-d", help="Of the file; may be repeated. Default: all.")
]
Samples = Annotated[int, typer.Option("--samples", "-n", help="Fresh samples for each direction.")]
FirstSeed = Annotated[int, typer.Option(help="They are the seeds from here on.")]
Strengths = Annotated[str, typer.Option(help="Separated by commas; 0 is added.")]
Controls = Annotated[int, typer.Option(help="Random directions of its length for each one; 0: none.")]
Within = Annotated[
    Path | None, typer.Option(help="File of components: random directions are drawn within their span, not all of h.")
]
UnitSamples = Annotated[int, typer.Option(help="More unedited samples that scores are brought to their unit with.")]
Level = Annotated[float, typer.Option(help="Of significance.")]
Seed = Annotated[int, typer.Option(help="Of the random directions.")]


def command(
    file: File,
    scorer: ScorerName = "portraits",
    direction: Names = None,
    samples: Samples = 16,
    first_seed: FirstSeed = FRESH,
    strengths: Strengths = "-3,-1.5,1.5,3",
    controls: Controls = 20,
    within: Within = None,
    unit_samples: UnitSamples = 84,
    level: Level = 0.05,
    seed: Seed = 0,
    model: options.Model = "faces64",
    out: Annotated[Path, typer.Option("--out", "-o", help="JSON with everything.")] = Path("evaluation.json"),
    figure: Annotated[Path | None, typer.Option(help="PNG: the effect matrix.")] = None,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
) -> None:
    """Measure what directions do to scores on fresh samples, against random directions of the same length.

    On the grid that they were found on, and the way they are meant to go in.
    """
    options.check_writable(out)
    if figure is not None:
        options.check_picture(figure)
    sampler, directions = opened(file, direction, model, batch_size, device, dtype)
    judge = load_scorer(scorer, device=device)
    wanted = Wanted(
        samples, first_seed, options.parse_floats(strengths, "--strengths"), controls, within, unit_samples, level, seed
    )
    found = measured(sampler, directions, judge, wanted)
    seeds = [first_seed, first_seed + samples - 1]
    about = {"version": __version__, "directions": str(file), "scorer": scorer, "seeds": seeds}
    with writing(out) as partial:
        partial.write_text(json.dumps({**about, **found.to_json()}, indent=1) + "\n", encoding="utf-8")
    _show(found)
    say(f"everything in {out}")
    if figure is not None:
        effects, _ = found.matrix()
        low, high = found.response.strengths[0], found.response.strengths[-1]
        title = f"change from {low:+g} to {high:+g}, {samples} samples"
        with writing(figure) as partial:
            effect_matrix(effects, directions.names, found.response.attributes, title=title).savefig(partial)
        say(f"the effect matrix in {figure}")


class Wanted(NamedTuple):
    """How to measure."""

    samples: int
    first_seed: int
    strengths: Sequence[float]
    controls: int
    within: Path | None
    unit_samples: int
    level: float
    seed: int


def opened(
    file: Path, names: list[str] | None, model: str, batch_size: int | None, device: str | None, dtype: str
) -> tuple[Sampler, Directions]:
    """Directions, and the sampler on the grid that they were found on."""
    directions = Directions.load(file)
    if names:
        directions = directions[names]
    tap = directions.setting.tap if directions.setting.space == "h" else None
    sampler = Sampler.on(open_model(model, tap, device, dtype), directions.setting, batch_size=batch_size)
    return sampler, directions


def measured(sampler: Sampler, directions: Directions, judge: Scorer, wanted: Wanted) -> Evaluation:
    """Draws, scores, compares."""
    if wanted.samples < 2:
        raise HspaceError(f"--samples must be at least 2, not {wanted.samples}")
    if wanted.controls < 0:
        raise HspaceError(f"--controls must not be negative, but is {wanted.controls}")
    if wanted.unit_samples < 0:
        raise HspaceError(f"--unit-samples must not be negative, but is {wanted.unit_samples}")
    span = None if wanted.within is None else Directions.load(wanted.within)
    random = _controls(directions, wanted.controls, span, wanted.seed) if wanted.controls else None
    more = f" and {len(random)} controls" if random else ""
    say(f"drawing {wanted.samples} samples of {len(directions)} directions{more}")
    seeds = range(wanted.first_seed, wanted.first_seed + wanted.samples)
    return evaluate(
        sampler,
        directions,
        judge,
        seeds,
        strengths=wanted.strengths,
        controls=random,
        unit_seeds=range(seeds.stop, seeds.stop + wanted.unit_samples) if wanted.unit_samples else None,
        level=wanted.level,
        progress=True,
    )


def _controls(directions: Directions, m: int, within: Directions | None, seed: int) -> Directions:
    """m of the length of each, in their order."""
    items = []
    for j, item in enumerate(directions):
        drawn = random_directions(directions.setting, item.norms(), n=m, within=within, seed=seed + j)
        items += [control.renamed(f"{item.name} {control.name}") for control in drawn]
    return Directions(items)


def _show(found: Evaluation) -> None:
    table = Table(box=None, pad_edge=False)
    for head in ("direction", "moves", "by", "purely", "straight", "reliably", "pixel", "SSIM", "damage"):
        table.add_column(head, justify="left" if head in ("direction", "moves") else "right")
    for score in found.scores:
        left = found.content[score.direction]
        table.add_row(
            score.direction,
            score.attribute,
            f"{score.effect:+.2f} ± {score.error:.2f}",
            f"{score.selectivity:.2f}",
            f"{score.linearity:.2f}",
            f"{score.consistency:.2f}",
            f"{left.pixel:.2f}",
            f"{left.ssim:.2f}",
            f"{found.damage[score.direction]:.1f}",
        )
    Console().print(table)
    for verdict in found.verdicts:
        say(f"{verdict.direction} {verdict.words}")
