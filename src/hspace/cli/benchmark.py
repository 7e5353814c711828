"""`hspace benchmark`: methods against each other on pictures whose factors are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from hspace.atomic import writing
from hspace.attributes import load_scorer
from hspace.benchmark import METHODS, Task, portraits, run, table
from hspace.cli import options
from hspace.cli.commandline import command_line
from hspace.cli.evaluate import FRESH
from hspace.cli.session import open_model, open_sampler, say
from hspace.directions import Directions
from hspace.errors import HspaceError
from hspace.faces import IMAGE_SIZE
from hspace.plot import contest

__all__ = ["command"]


def command(
    work: Annotated[Path, typer.Option(help="Folder for what is done: the same command goes on there.")] = Path(
        "benchmark"
    ),
    methods: Annotated[str | None, typer.Option(help=f"Separated by commas, of: {', '.join(METHODS)}.")] = None,
    also: Annotated[
        list[str] | None, typer.Option(help="NAME=FILE: directions made elsewhere, retimed. May be repeated.")
    ] = None,
    calls: Annotated[int, typer.Option(help="Of the network, at most about so many for every method.")] = 4000,
    directions: Annotated[int, typer.Option("--directions", "-k", help="Of every unsupervised method.")] = 12,
    samples: Annotated[int, typer.Option("--samples", "-n", help="Fresh samples that are edited.")] = 12,
    strength: Annotated[float, typer.Option(help="Directions are followed from -strength to strength.")] = 3.0,
    unit_samples: Annotated[int, typer.Option(help="Samples for the unit of strength, out of the calls.")] = 50,
    seed: Annotated[int, typer.Option(help="Of random directions and of training.")] = 0,
    model: options.Model = "faces64",
    asked: options.Asked = options.NOTHING,
    out: Annotated[Path, typer.Option("--out", "-o", help="JSON with everything.")] = Path("benchmark.json"),
    table_file: Annotated[Path | None, typer.Option("--table", help="Markdown: the table.")] = None,
    figure: Annotated[Path | None, typer.Option(help="PNG: the same as a picture.")] = None,
    steps: options.Steps = 10,
    eta: options.Eta = "0",
    start: options.Start = None,
    tap: options.Tap = None,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    computing: options.Computing = options.FLOAT32,
) -> None:
    """Compare all methods on the bundled model, whose factors are known; none gets more calls of the network.

    Every method finds directions, which then go into fresh samples, symmetrically and asymmetrically. What is done has
    its file in the folder and is not done again.
    """
    for path in filter(None, (out, table_file)):
        options.check_writable(path)
    if figure is not None:
        options.check_picture(figure)
    if samples < 2:
        raise HspaceError(f"--samples must be at least 2, not {samples}")
    sampler = open_sampler(open_model(model, tap, device, computing, asked), steps, eta, start, batch_size)
    expected = (3, IMAGE_SIZE, IMAGE_SIZE)
    if sampler.model.picture_shape != expected:
        raise HspaceError(
            f"factors are known of portraits of shape {expected}; {model} has {sampler.model.picture_shape}"
        )
    task = Task(
        sampler,
        load_scorer("portraits", device=device),
        portraits,
        calls=calls,
        k=directions,
        unit_samples=unit_samples,
        seed=seed,
    )
    others = {}
    for text in also or ():
        name, _, file = text.partition("=")
        if not (name and file):
            raise HspaceError(f"--also must look like NAME=FILE, not {text!r}")
        if name in others:
            raise HspaceError(f"--also {text}: there are directions of the name {name!r} already")
        loaded = Directions.load(Path(file))
        setting = sampler.setting(loaded.setting.injection, loaded.setting.space)
        others[name] = Directions([item.retimed(setting) for item in loaded])
    chosen = tuple(METHODS) if methods is None else tuple(name.strip() for name in methods.split(","))
    found = run(
        *(task, work, range(FRESH, FRESH + samples)),
        methods=chosen,
        also=others,
        strength=strength,
        about={"scorer": "portraits"},
        say=say,
    )
    with writing(out) as partial:
        partial.write_text(json.dumps({"command": command_line(), **found}, indent=1) + "\n", encoding="utf-8")
    text = table(found)
    typer.echo(text, nl=False)
    if table_file is not None:
        with writing(table_file) as partial:
            partial.write_text(text, encoding="utf-8")
    if figure is not None:
        with writing(figure) as partial:
            contest(found["rows"], len(task.factors)).savefig(partial, dpi=120)
    say(f"everything in {out}")
