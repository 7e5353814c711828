"""`hspace evaluate`: what directions do, how purely, and whether chance does as much."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Table

from hspace.atomic import writing
from hspace.attributes import Scorer, load_scorer
from hspace.cli import options
from hspace.cli.commandline import command_line
from hspace.cli.session import NO_STATE, checkpoint_for, open_model, say
from hspace.diffusion import Sampler
from hspace.directions import Direction, Directions
from hspace.discovery import calibrate, random_controls, shuffled_controls
from hspace.errors import HspaceError
from hspace.evaluation import Distance, Evaluation, duplicates, evaluate, load_distance
from hspace.evaluation import named as under_names
from hspace.evaluation import projected as cleaned
from hspace.evaluation.evaluate import UNNAMED
from hspace.jobs import Checkpoint, world
from hspace.plot import effect_matrix
from hspace.version import __version__

__all__ = ["command"]

FRESH = 1_000_000  # seeds from here on were never used to find the directions


Files = Annotated[list[Path], typer.Argument(metavar="DIRECTIONS...", help="Files of directions, of one setting.")]
ScorerName = Annotated[
    str,
    typer.Option("--scorer", help="portraits, module:function, a classifier's folder, ... as in hspace supervised."),
]
Names = Annotated[
    list[str] | None, typer.Option("--direction", "-d", help="Of the file; may be repeated. Default: all.")
]
Samples = Annotated[int, typer.Option("--samples", "-n", help="Fresh samples for each direction.")]
Repeats = Annotated[int, typer.Option(help="Times as many fresh samples, each group with its own figures.")]
FirstSeed = Annotated[int, typer.Option(help="Samples are the seeds from here on.")]
Strengths = Annotated[
    str, typer.Option(help="Separated by commas; 0 is added. Effects are from the lowest to the highest.")
]
Controls = Annotated[int, typer.Option(help="Random directions of its length for each one; 0: none.")]
Within = Annotated[Path | None, typer.Option(help="File of components: as many controls more, within their span.")]
Shuffled = Annotated[
    Path | None, typer.Option(help="File of directions from shuffled labels (hspace supervised --shuffles): controls.")
]
Distances = Annotated[
    list[str] | None,
    typer.Option("--distance", help="clip:MODEL, lpips, module:function: how far pictures go. May be repeated."),
]
UnitSamples = Annotated[int, typer.Option(help="More unedited samples that scores are brought to their unit with.")]
Level = Annotated[float, typer.Option(help="Of significance.")]
Seed = Annotated[int, typer.Option(help="Of the random directions.")]


def command(
    files: Files,
    scorer: ScorerName = "portraits",
    direction: Names = None,
    samples: Samples = 16,
    repeats: Repeats = 1,
    first_seed: FirstSeed = FRESH,
    strengths: Strengths = "-3,-1.5,1.5,3",
    controls: Controls = 20,
    within: Within = None,
    shuffled: Shuffled = None,
    distance: Distances = None,
    unit_samples: UnitSamples = 100,
    level: Level = 0.05,
    seed: Seed = 0,
    projected: Annotated[
        bool, typer.Option("--projected", help="Also each direction without the others: before and after.")
    ] = False,
    above: Annotated[
        float, typer.Option(help="With --projected: leave out others whose attribute moves by this share of its own.")
    ] = 0.0,
    named: Annotated[Path | None, typer.Option(help="File: the directions under the names of what they move.")] = None,
    model: options.Model = "faces64",
    asked: options.Asked = options.NOTHING,
    out: Annotated[Path, typer.Option("--out", "-o", help="JSON with everything.")] = Path("evaluation.json"),
    figure: Annotated[Path | None, typer.Option(help="PNG: the effect matrix.")] = None,
    batch_size: options.BatchSize = None,
    resume: options.Resume = False,
    save_every: options.SaveEvery = 60.0,
    device: options.Device = None,
    computing: options.Computing = options.FLOAT32,
) -> None:
    """Measure what directions do to scores on fresh samples, against directions of chance of the same length.

    On the grid that they were found on, and the way they are meant to go in. Several files are measured as one set, so
    that directions of several methods can be compared.

    Table I of Haas et al.: hspace evaluate FILE --strengths 0,3 --samples 100 --repeats 10 --projected
    """
    for path in filter(None, (out, named)):
        options.check_writable(path)
    if figure is not None:
        options.check_picture(figure)
    if named is not None and len(files) > 1:
        raise HspaceError("--named takes one file of directions")
    sampler, directions, _ = opened(files, direction, model, batch_size, device, computing, asked)
    judge = load_scorer(scorer, device=device)
    wanted = Wanted(
        samples=samples,
        repeats=repeats,
        first_seed=first_seed,
        strengths=options.parse_floats(strengths, "--strengths"),
        controls=controls,
        within=within,
        shuffled=shuffled,
        distances=distances_of(distance, device),
        unit_samples=unit_samples,
        level=level,
        seed=seed,
    )
    about = {
        "version": __version__,
        "command": command_line(**NO_STATE),
        "setting": directions.setting.to_json(),
        "dtype": computing.dtype,
        "scorer": scorer,
        "first_seed": first_seed,
        "unit_samples": unit_samples,
        "seed_of_controls": seed,
    }
    with checkpoint_for(out, resume, save_every, scorer=scorer, distance=distance) as checkpoint:
        found = measured(sampler, directions, judge, wanted, checkpoint)
        data = {**about, **found.to_json(), "duplicates": duplicates(found)}
        show(found)
        if projected:
            others, more_seeds = cleaned(directions, found, above=above), wanted.more_seeds()
            clean = calibrate(others, sampler, more_seeds, progress=world().first)
            again = wanted._replace(controls=0, within=None, shuffled=None)
            after = measured(sampler, clean, judge, again, checkpoint.beside("projected"))
            data["projected"] = {"above": above, **after.to_json()}
            show_projection(found, after)
        if world().first:
            with writing(out) as partial:
                partial.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    if not world().first:
        return
    say(f"everything in {out}")
    if named is not None:
        told = {direction for direction, name in found.names().items() if name != UNNAMED}
        under_names(directions, found.effects(), only=told).save(named)
        say(f"the directions under the names of what they move in {named}")
    if figure is not None:
        effects, _ = found.matrix()
        low, high = found.response.strengths[0], found.response.strengths[-1]
        title = f"change from {low:g} to {high:g}, {samples * repeats} samples"
        with writing(figure) as partial:
            effect_matrix(effects, directions.names, found.response.attributes, title=title).savefig(partial)
        say(f"the effect matrix in {figure}")


class Wanted(NamedTuple):
    """How to measure."""

    samples: int
    repeats: int
    first_seed: int
    strengths: Sequence[float]
    controls: int
    within: Path | None
    shuffled: Path | None
    distances: Mapping[str, Distance]
    unit_samples: int
    level: float
    seed: int

    def seeds(self) -> range:
        """Of the samples that are edited."""
        return range(self.first_seed, self.first_seed + self.samples * self.repeats)

    def more_seeds(self) -> range:
        """Behind them, at least 2, for units."""
        first = self.seeds().stop
        return range(first, first + max(2, self.unit_samples))


def distances_of(names: list[str] | None, device: str | None) -> dict[str, Distance]:
    """Those of `--distance`.

    Raises:
        HspaceError: There is none of the name, or two that are called the same.
    """
    found: dict[str, Distance] = {}
    for text in names or ():
        name, distance = load_distance(text, device=device)
        if name in found:
            raise HspaceError(f"--distance {text}: there is a distance {name!r} already")
        found[name] = distance
    return found


class Opened(NamedTuple):
    """Directions, the sampler on the grid that they were found on, and by direction the file and its name there."""

    sampler: Sampler
    directions: Directions
    homes: dict[str, tuple[str, str]]


def opened(
    files: list[Path],
    names: list[str] | None,
    model: str,
    batch_size: int | None,
    device: str | None,
    computing: options.Computing,
    asked: options.Asked,
) -> Opened:
    """The directions of all files as one set; a name that is there twice gets that of its file."""
    sets = [Directions.load(file) for file in files]
    count = Counter(name for each in sets for name in each.names)
    items: list[Direction] = []
    homes: dict[str, tuple[str, str]] = {}
    for file, each in zip(files, sets, strict=True):
        if each.setting != sets[0].setting:
            raise HspaceError(
                f"{file} has directions of another setting (model, tap, grid, eta, injection) than {files[0]}"
            )
        for item in each:
            name = item.name if count[item.name] == 1 else f"{file.stem} {item.name}"
            if name in homes:
                raise HspaceError(f"{file} and {homes[name][0]} have the same name and directions: rename one of them")
            items.append(item.renamed(name))
            homes[name] = (str(file), item.name)
    directions = Directions(items)
    if names:
        directions = directions[names]
    tap = directions.setting.tap if directions.setting.space == "h" else None
    denoiser = open_model(model, tap, device, computing, asked, directions.setting.condition)
    sampler = Sampler.on(denoiser, directions.setting, batch_size=batch_size)
    return Opened(sampler, directions, homes)


def measured(
    sampler: Sampler, directions: Directions, judge: Scorer, wanted: Wanted, checkpoint: Checkpoint | None = None
) -> Evaluation:
    """Draws, scores, compares."""
    for name, value, least in (("samples", wanted.samples, 2), ("repeats", wanted.repeats, 1)):
        if value < least:
            raise HspaceError(f"--{name} must be at least {least}, not {value}")
    for name, value in (("controls", wanted.controls), ("unit-samples", wanted.unit_samples)):
        if value < 0:
            raise HspaceError(f"--{name} must not be negative, but is {value}")
    controls: dict[str, Directions] = {}
    if wanted.controls:
        controls["gaussian"] = random_controls(directions, wanted.controls, seed=wanted.seed)
        if wanted.within is not None:
            span = Directions.load(wanted.within)
            controls["span"] = random_controls(directions, wanted.controls, within=span, seed=wanted.seed)
    if wanted.shuffled is not None:
        controls["shuffled"] = shuffled_controls(directions, Directions.load(wanted.shuffled))
    more = "".join(f", {len(chance)} controls ({kind})" for kind, chance in controls.items())
    several = "1 direction" if len(directions) == 1 else f"{len(directions)} directions"
    ends = len({0.0, min((0.0, *wanted.strengths)), max((0.0, *wanted.strengths))}) - 1
    edits = len(directions) * len({*wanted.strengths} - {0.0}) + ends * sum(len(chance) for chance in controls.values())
    work = (len(wanted.seeds()) * (edits + 1) + wanted.unit_samples) * len(sampler.timesteps)
    say(f"drawing {len(wanted.seeds())} samples of {several}{more}: about {work:,} image-steps")
    return evaluate(
        sampler,
        directions,
        judge,
        wanted.seeds(),
        strengths=wanted.strengths,
        repeats=wanted.repeats,
        controls=controls,
        distances=wanted.distances,
        unit_seeds=wanted.more_seeds() if wanted.unit_samples else None,
        level=wanted.level,
        progress=True,
        checkpoint=checkpoint,
    )


def show(found: Evaluation) -> None:
    """A table, the best direction first, and what the controls say; the rest is in the JSON."""
    table = Table(box=None, pad_edge=False)
    for head in ("direction", "moves", "by", "name", "selectivity", "consistency", "damage"):
        table.add_column(head, justify="left" if head in ("direction", "moves", "name") else "right", no_wrap=True)
    names, by_direction = found.names(), {score.direction: score for score in found.scores}
    for direction in found.ranking():
        score = by_direction[direction]
        table.add_row(
            score.direction,
            score.attribute,
            f"{score.effect:+.2f} ± {score.error:.2f}",
            names[direction],
            f"{score.selectivity:.2f}",
            f"{score.consistency:.2f}",
            f"{found.damage[direction]:.1f}",
        )
    _printed(table)
    for verdict in found.verdicts:
        say(f"{verdict.direction} {verdict.words}")
    for first, *others in duplicates(found):
        say(f"{', '.join(others)} {'does' if len(others) == 1 else 'do'} the same as {first}")


def show_projection(before: Evaluation, after: Evaluation) -> None:
    """The table of Haas et al.: change of every attribute by every direction, before and after projection."""
    own = list(dict.fromkeys(score.attribute for score in before.scores))
    table = Table(box=None, pad_edge=False, title="before -> after projection")
    for head in ("direction", *own):
        table.add_column(head, justify="left" if head == "direction" else "right")
    columns = [before.response.attributes.index(name) for name in own]
    pairs = zip(before.response.directions, before.matrix()[0][:, columns], after.matrix()[0][:, columns], strict=True)
    for name, old, new in pairs:
        cells = (f"{a:+.2f} -> {b:+.2f}" for a, b in zip(old.tolist(), new.tolist(), strict=True))
        table.add_row(name, *cells)
    _printed(table)


def _printed(table: Table) -> None:
    """Whole rows, into a pipe as well; of several processes by the first."""
    if not world().first:
        return
    needed = Console(width=10_000).measure(table).maximum
    Console(width=max(Console().width, needed)).print(table)
