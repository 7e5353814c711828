"""`hspace report`: one self-contained HTML page about a set of directions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hspace.atomic import writing
from hspace.attributes import load_scorer
from hspace.cli import evaluate, options
from hspace.cli.commandline import command_line
from hspace.cli.session import say
from hspace.errors import HspaceError
from hspace.plot import strip
from hspace.report import report

__all__ = ["command"]


def command(
    files: evaluate.Files,
    scorer: evaluate.ScorerName = "portraits",
    direction: evaluate.Names = None,
    samples: evaluate.Samples = 16,
    repeats: evaluate.Repeats = 1,
    first_seed: evaluate.FirstSeed = evaluate.FRESH,
    strengths: evaluate.Strengths = "-3,-1.5,1.5,3",
    controls: evaluate.Controls = 20,
    within: evaluate.Within = None,
    shuffled: evaluate.Shuffled = None,
    distance: evaluate.Distances = None,
    unit_samples: evaluate.UnitSamples = 100,
    level: evaluate.Level = 0.05,
    seed: evaluate.Seed = 0,
    shown: Annotated[int, typer.Option(help="Samples in the strip of each direction.")] = 2,
    title: Annotated[str | None, typer.Option(help="Of the page. Default: the file's name.")] = None,
    model: options.Model = "faces64",
    asked: options.Asked = options.NOTHING,
    out: Annotated[Path, typer.Option("--out", "-o", help="HTML.")] = Path("report.html"),
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    computing: options.Computing = options.FLOAT32,
) -> None:
    """Measure directions as hspace evaluate does, and write one page with a card for each: strip, figures, controls.

    The page needs no network and no other file.
    """
    if not 1 <= shown <= samples * repeats:
        raise HspaceError(f"--shown must be from 1 to the number of samples, {samples * repeats}, not {shown}")
    options.check_writable(out)
    sampler, directions, homes = evaluate.opened(files, direction, model, batch_size, device, computing, asked)
    judge = load_scorer(scorer, device=device)
    wanted = evaluate.Wanted(
        samples=samples,
        repeats=repeats,
        first_seed=first_seed,
        strengths=options.parse_floats(strengths, "--strengths"),
        controls=controls,
        within=within,
        shuffled=shuffled,
        distances=evaluate.distances_of(distance, device),
        unit_samples=unit_samples,
        level=level,
        seed=seed,
    )
    found = evaluate.measured(sampler, directions, judge, wanted)
    columns = found.response.strengths
    strips = {item.name: strip(sampler, wanted.seeds()[:shown], item, columns, progress=False) for item in directions}
    page = report(
        directions,
        found,
        strips,
        title=title or ", ".join(file.stem for file in files),
        homes=homes,
        model=None if model == sampler.model.model_id else model,
        scorer=scorer,
        commands={"This page": command_line()},
    )
    with writing(out) as partial:
        partial.write_text(page, encoding="utf-8")
    say(f"{len(directions)} {'direction' if len(directions) == 1 else 'directions'} in {out}")
