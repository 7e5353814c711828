"""`hspace learn`: learn directions that a network can tell apart."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Annotated, get_args

import typer
from torch import Tensor

from hspace.atomic import writing
from hspace.attributes import Scorer, load_scorer
from hspace.cli import options
from hspace.cli.commandline import reproducible
from hspace.cli.session import open_model, open_sampler, say
from hspace.diffusion import Sampler
from hspace.directions import Direction, Directions
from hspace.discovery import Learned
from hspace.errors import HspaceError
from hspace.evaluation import effects, named, spread
from hspace.jobs import world
from hspace.learning.reconstructor import ReconstructorSize
from hspace.learning.shift import Kind, Parametrisation
from hspace.photos import photo_files, read_photos
from hspace.plot import strip

__all__ = ["command"]

_SHOWN = 10  # directions in a strip
_SEEDS = 8  # fresh samples on which effects are measured


def command(
    model: options.Model = "faces64",
    asked: options.Asked = options.NOTHING,
    n: Annotated[int, typer.Option("--directions", "-k", help="How many to learn.")] = 10,
    kind: Annotated[str, typer.Option(help="global: a vector a timestep; block: a small network of h.")] = "global",
    parametrisation: Annotated[str, typer.Option(help="ortho, linear, or fixed: random, the control.")] = "ortho",
    span: Annotated[int, typer.Option(help="Leading components of h that directions are made of; 0: all of h.")] = 64,
    samples: Annotated[int, typer.Option("--samples", "-n", help="Samples that are shifted, again and again.")] = 1000,
    first_seed: Annotated[int, typer.Option(help="They are the seeds from here on.")] = 0,
    iterations: Annotated[int, typer.Option(help="Of the training.")] = 2000,
    minutes: Annotated[float | None, typer.Option(help="End training after so many in this call.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="End it after so many iterations without a better running loss.")
    ] = None,
    per_iteration: Annotated[int, typer.Option(help="Samples in an iteration.")] = 32,
    warmup: Annotated[int, typer.Option(help="First iterations, in which the reconstructor learns alone.")] = 0,
    max_strength: Annotated[float, typer.Option(help="Of shifts, in standard deviations.")] = 6.0,
    min_strength: Annotated[float, typer.Option(help="Of shifts.")] = 0.5,
    rate: Annotated[float, typer.Option(help="Learning rate of the directions.")] = 1e-2,
    reconstructor: Annotated[str, typer.Option(help="resnet18 or lenet.")] = "resnet18",
    reconstructor_rate: Annotated[float, typer.Option(help="Learning rate of the reconstructor.")] = 3e-4,
    replays: Annotated[int, typer.Option(help="Steps of the reconstructor on earlier pairs after each iteration.")] = 3,
    noise: Annotated[float, typer.Option(help="On what the reconstructor sees, at most.")] = 0.1,
    adversarial: Annotated[float, typer.Option(help="Weight of the discriminator; 0: none.")] = 0.1,
    real: Annotated[Path | None, typer.Option(help="Folder of real pictures for the discriminator.")] = None,
    checked: Annotated[int, typer.Option(help="Fresh samples that accuracy is measured on in the end.")] = 200,
    segment: Annotated[int, typer.Option(help="Steps in one graph: memory for time.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the training.")] = 0,
    folder: Annotated[Path, typer.Option("--work", help="Folder for state, log and strips of the training.")] = Path(
        "learning"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the training in the folder stands.")] = False,
    strip_every: Annotated[float, typer.Option(help="Minutes from one strip to the next; 0: none.")] = 10.0,
    scorer: Annotated[
        str | None, typer.Option(help="Names the directions: portraits, module:function, ... as in hspace supervised.")
    ] = None,
    hidden_codes: Annotated[int, typer.Option(help="Fresh pairs for the check against hidden codes; 0: no check.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="File of directions.")] = Path("learned.safetensors"),
    picture: Annotated[Path | None, typer.Option(help="PNG: a strip of the directions.")] = None,
    steps: options.Steps = 10,
    eta: options.Eta = "0",
    start: options.Start = None,
    tap: options.Tap = None,
    injection: options.Injection = "symmetric",
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    computing: options.Computing = options.FLOAT32,
) -> None:
    """Learn directions that a network can tell apart in the pictures (after Zhang et al.), and save them.

    Ctrl-C keeps the last state: the same command with --resume goes on. A block's network is saved beside the
    directions.
    """
    for name, value, known in (
        ("--kind", kind, get_args(Kind)),
        ("--parametrisation", parametrisation, get_args(Parametrisation)),
        ("--reconstructor", reconstructor, get_args(ReconstructorSize)),
    ):
        if value not in known:
            raise HspaceError(f"{name} must be one of {', '.join(known)}, not {value!r}")
    if samples < 1:
        raise HspaceError(f"--samples must be at least 1, not {samples}")
    if hidden_codes and hidden_codes < 4:
        raise HspaceError(f"--hidden-codes must be 0 or at least 4, not {hidden_codes}")
    for path in (out, folder / "log.csv"):
        options.check_writable(path)
    if picture is not None:
        options.check_picture(picture)
    judge = None if scorer is None else load_scorer(scorer, device=device)
    sampler = open_sampler(open_model(model, tap, device, computing, asked), steps, eta, start, batch_size)
    learned = Learned(
        n,
        kind=kind,  # type: ignore[arg-type]  # checked above, as the next
        parametrisation=parametrisation,  # type: ignore[arg-type]
        span=span or None,
        reconstructor=reconstructor,  # type: ignore[arg-type]
        iterations=iterations,
        patience=patience,
        batch_size=per_iteration,
        warmup=warmup,
        max_strength=max_strength,
        min_strength=min_strength,
        shift_rate=rate,
        reconstructor_rate=reconstructor_rate,
        replays=replays,
        noise=noise,
        adversarial_weight=adversarial,
        segment=segment,
        checked=checked,
        seed=seed,
        injection=options.parse_injection(injection),
    )
    seeds = range(first_seed, first_seed + samples)
    shown = [seeds[-1] + 1]
    say(f"learning {n} directions of {sampler.model.model_id} on {sampler.model.device}, {steps} steps")
    last_strip = time.monotonic()

    def on_save(now: Learned) -> None:
        nonlocal last_strip
        if strip_every and time.monotonic() - last_strip >= 60 * strip_every:
            _draw(folder / "strips" / f"{now.iteration_:06d}.png", sampler, shown, now.directions_now())
            last_strip = time.monotonic()

    try:
        learned.fit(
            sampler,
            seeds,
            real=None if real is None else _pictures(real, sampler),
            folder=folder,
            resume=resume,
            minutes=minutes,
            on_save=on_save,
            progress=True,
        )
    except KeyboardInterrupt as interrupt:
        message = str(interrupt) or "interrupted"
        if (folder / "state.safetensors").exists():
            raise KeyboardInterrupt(f"{message}; go on with --resume") from None
        if any(folder.glob("population.*")):  # which says so itself
            raise
        raise KeyboardInterrupt(f"{message}; training had not begun") from None
    if not world().first:
        return
    _tell(learned)
    directions = reproducible(learned.directions_, resume=None)  # a training without a break comes to the same
    if judge is not None:
        directions.save(out)  # named below; kept if the scorer fails
        directions = _named(sampler, directions, judge, learned)
    directions.save(out)
    for item in directions:
        say(_line(item))
    say(f"{len(directions)} directions in {out}, state and log in {folder}")
    if kind == "block":
        network = out.with_name(f"{out.stem}.network{out.suffix}")
        learned.network_.save(network)
        say(f"their network in {network}")
    if hidden_codes:
        found = learned.hidden_codes(hidden_codes, progress=True)
        say("fresh reconstructors on degraded pictures: " + ", ".join(f"{how} {x:.0%}" for how, x in found.items()))
    if picture is not None:
        _draw(picture, sampler, [shown[0], shown[0] + 1], directions)
        say(f"a strip of the directions in {picture}")


def _tell(learned: Learned) -> None:
    told = learned.told_
    say(
        f"ended after iteration {learned.iteration_} ({learned.stopped_}); on {learned.checked} fresh samples the "
        f"reconstructor tells the type of {told.accuracy:.0%} (chance {1 / learned.n_directions:.0%}) and the strength "
        f"to {told.strength_error:.2f}"
    )


def _line(item: Direction) -> str:
    origin = item.origin
    moves = "moves {attribute} by {change:+.2f} sd, ".format(**origin["moves"]) if "moves" in origin else ""
    return f"  {item.name:14} {moves}accuracy {origin['accuracy']:.0%}, changes a pixel by {origin['effect']:.2f}"


def _named(sampler: Sampler, directions: Directions, judge: Scorer, learned: Learned) -> Directions:
    """By what they move most on fresh seeds; the unit is the population's standard deviation.

    An attribute that does not vary there has none and names nothing.
    """
    found = spread(judge, (sampler.model.to_pictures(x_0) for x_0 in learned.population_.images.split(64)))
    unit = {name: deviation or math.inf for name, deviation in found.items()}
    measured = effects(sampler, directions, judge, learned.fresh_seeds(_SEEDS), progress=True)
    return named(directions, measured, unit=unit)


def _pictures(folder: Path, sampler: Sampler) -> Tensor:
    """All pictures of a folder."""
    return read_photos(photo_files(folder), sampler.model.picture_shape)


def _draw(path: Path, sampler: Sampler, seeds: list[int], directions: Directions) -> None:
    with writing(path) as partial:
        strip(sampler, seeds, directions[:_SHOWN], (-3.0, 0.0, 3.0)).save(partial)
