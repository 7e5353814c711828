"""`hspace report`: one self-contained HTML page about a set of directions."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from hspace.atomic import writing
from hspace.attributes import load_scorer
from hspace.cli import evaluate, options
from hspace.cli.session import say
from hspace.errors import HspaceError
from hspace.plot import strip
from hspace.report import report

__all__ = ["command"]


def command(
    file: evaluate.File,
    scorer: evaluate.ScorerName = "portraits",
    direction: evaluate.Names = None,
    samples: evaluate.Samples = 16,
    first_seed: evaluate.FirstSeed = evaluate.FRESH,
    strengths: evaluate.Strengths = "-3,-1.5,1.5,3",
    controls: evaluate.Controls = 20,
    within: evaluate.Within = None,
    unit_samples: evaluate.UnitSamples = 84,
    level: evaluate.Level = 0.05,
    seed: evaluate.Seed = 0,
    shown: Annotated[int, typer.Option(help="Samples in the strip of each direction.")] = 2,
    title: Annotated[str | None, typer.Option(help="Of the page. Default: the file's name.")] = None,
    model: options.Model = "faces64",
    out: Annotated[Path, typer.Option("--out", "-o", help="HTML.")] = Path("report.html"),
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
) -> None:
    """Measure directions as hspace evaluate does, and write one page with a card for each: strip, figures, control.

    The page needs no network and no other file.
    """
    if shown < 1:
        raise HspaceError(f"--shown must be at least 1, not {shown}")
    options.check_writable(out)
    sampler, directions = evaluate.opened(file, direction, model, batch_size, device, dtype)
    judge = load_scorer(scorer, device=device)
    ends = options.parse_floats(strengths, "--strengths")
    wanted = evaluate.Wanted(samples, first_seed, ends, controls, within, unit_samples, level, seed)
    found = evaluate.measured(sampler, directions, judge, wanted)
    seeds = range(first_seed, first_seed + shown)
    columns = found.response.strengths
    strips = {item.name: strip(sampler, seeds, item, columns, progress=False) for item in directions}
    page = report(
        directions,
        found,
        strips,
        title=title or file.stem,
        file=str(file),
        scorer=scorer,
        commands={"This page": shlex.join(["hspace", *sys.argv[1:]])},
    )
    with writing(out) as partial:
        partial.write_text(page, encoding="utf-8")
    say(f"{len(directions)} directions in {out}")
