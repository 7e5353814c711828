"""`hspace supervised`: find directions of attributes, from labelled pictures or from a scorer's annotation."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from hspace.atomic import writing
from hspace.attributes import load_scorer, read_scores, scores_of
from hspace.cli import options
from hspace.cli.commandline import reproducible
from hspace.cli.labels import from_folders, from_table
from hspace.cli.session import NO_STATE, checkpoint_for, open_model, open_sampler, say
from hspace.diffusion import Sampler, Space
from hspace.directions import Directions
from hspace.discovery import Annotated as AnnotatedDirections
from hspace.discovery import Labelled
from hspace.discovery.contrast import Classifier
from hspace.discovery.supervised import Supervised
from hspace.errors import HspaceError
from hspace.jobs import world
from hspace.photos import Fit
from hspace.plot import strip

__all__ = ["command"]

_OF_PICTURES = {"refine", "fit", "skip_unreadable"}
_WAYS: dict[str, tuple[set[str], set[str]]] = {  # what each needs, and what else belongs to it
    "--positive and --negative": ({"positive", "negative"}, {"name", *_OF_PICTURES}),
    "--photos, --labels and --column": (
        {"photos", "labels", "column"},
        {"file_column", "threshold", "quantile", *_OF_PICTURES},
    ),
    "--scorer": ({"scorer"}, {"attribute", "clip_prompt", "samples", "extremes", "balance_by", "first_seed"}),
}


def command(
    positive: Annotated[Path | None, typer.Option(help="Folder of pictures with the attribute.")] = None,
    negative: Annotated[Path | None, typer.Option(help="Folder of pictures without it.")] = None,
    name: Annotated[str | None, typer.Option(help="Of the attribute, with two folders. Default: the folder's.")] = None,
    photos: Annotated[Path | None, typer.Option(help="Folder of pictures, with --labels.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="CSV: a column with the names of files, others with labels.")
    ] = None,
    column: Annotated[list[str] | None, typer.Option(help="Of the labels; may be repeated.")] = None,
    file_column: Annotated[str | None, typer.Option(help="With the names of files. Default: the first.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Numbers above it are with the attribute.")] = None,
    quantile: Annotated[
        float | None, typer.Option(help="Share of the pictures in each class: the highest and the lowest, such as 0.1.")
    ] = None,
    scorer: Annotated[
        str | None,
        typer.Option(
            help="portraits, module:function, file.py:function, a folder or hub id of a transformers image classifier "
            "or CLIP, or a CSV of scores with a column seed."
        ),
    ] = None,
    attribute: Annotated[
        list[str] | None, typer.Option("--attribute", "-a", help="Of the scorer; may be repeated. Default: all.")
    ] = None,
    clip_prompt: Annotated[
        list[str] | None,
        typer.Option(help="For CLIP, NAME=much of it|little of it: 'smile=a smiling face|a grave face'; repeatable."),
    ] = None,
    samples: Annotated[int, typer.Option("--samples", "-n", help="With --scorer: how many to draw.")] = 1000,
    extremes: Annotated[int, typer.Option(help="With --scorer: samples at each end.")] = 100,
    balance_by: Annotated[
        str | None, typer.Option(help="With --scorer: an attribute that both ends shall have equally.")
    ] = None,
    first_seed: Annotated[int, typer.Option(help="With --scorer: samples are the seeds from here on.")] = 0,
    classifier: Annotated[str, typer.Option(help="mean (the paper's difference), svm, or logistic.")] = "mean",
    space: Annotated[str, typer.Option(help="h, or noise for directions of x_T.")] = "h",
    refine: Annotated[int, typer.Option(help="Of pictures, with eta 0: fixed-point iterations a step.")] = 0,
    fit: Annotated[str, typer.Option(help="Of pictures: crop, fit or stretch, as in hspace invert.")] = "crop",
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out files that are no readable pictures.")
    ] = False,
    unit_samples: Annotated[int, typer.Option(help="Samples that the unit of strength is measured with.")] = 100,
    shuffles: Annotated[
        int,
        typer.Option(
            help="Directions of each attribute from shuffled labels, into another file beside --out: controls for "
            "hspace evaluate --shuffled."
        ),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of the shuffles.")] = 0,
    model: options.Model = "faces64",
    asked: options.Asked = options.NOTHING,
    out: Annotated[Path, typer.Option("--out", "-o", help="File of directions.")] = Path("supervised.safetensors"),
    picture: Annotated[Path | None, typer.Option(help="PNG: a strip of the directions.")] = None,
    steps: options.Steps = 50,
    eta: Annotated[str | None, typer.Option(help="Default: 0 (DDIM) for pictures, 1 (DDPM) for a scorer.")] = None,
    start: options.Start = None,
    tap: options.Tap = None,
    injection: options.Injection = "symmetric",
    batch_size: options.BatchSize = None,
    resume: options.Resume = False,
    save_every: options.SaveEvery = 60.0,
    device: options.Device = None,
    computing: options.Computing = options.FLOAT32,
) -> None:
    """Find directions of attributes, from labelled pictures of your own or by scoring generated samples (Haas et al.).

    One of: --positive DIR --negative DIR; --photos DIR --labels CSV --column NAME; --scorer NAME --attribute NAME.
    After Ctrl-C --resume goes on.
    """
    given = dict(locals())
    changed = {name for name, p in signature(command).parameters.items() if given[name] != p.default}
    _check_way(changed)
    if fit not in get_args(Fit):
        raise HspaceError(f"--fit must be one of {', '.join(get_args(Fit))}, not {fit!r}")
    if classifier not in get_args(Classifier):
        raise HspaceError(f"--classifier must be one of {', '.join(get_args(Classifier))}, not {classifier!r}")
    if space not in get_args(Space):
        raise HspaceError(f"--space must be one of {', '.join(get_args(Space))}, not {space!r}")
    if samples < 1:
        raise HspaceError(f"--samples must be at least 1, not {samples}")
    beside = out.with_name(f"{out.stem}-shuffled{out.suffix}")
    for path in (out, beside) if shuffles else (out,):
        options.check_writable(path)
    if picture is not None:
        options.check_picture(picture)
    shared: dict[str, Any] = {
        "classifier": classifier,
        "space": space,
        "injection": options.parse_injection(injection),
        "unit_seeds": range(unit_samples),
        "n_shuffles": shuffles,
        "seed": seed,
    }

    def opened(default_eta: str) -> Sampler:
        denoiser = open_model(model, tap, device, computing, asked)
        return open_sampler(denoiser, steps, eta or default_eta, start, batch_size)

    def kept(found: Supervised) -> Directions:
        directions = reproducible(found.directions_, **NO_STATE)
        if world().first:
            directions.save(out)
            if found.shuffled_ is not None:
                reproducible(found.shuffled_, **NO_STATE).save(beside)
        return directions

    found: Supervised
    if scorer is not None:
        seeds = range(first_seed, first_seed + samples)
        annotated = AnnotatedDirections(attribute, n_extremes=extremes, balance_by=balance_by, **shared)
        if scorer.endswith(".csv"):
            judge: Any = scores_of(read_scores(scorer), seeds)
        else:
            judge = load_scorer(scorer, prompts=_prompts(clip_prompt), device=device)
        sampler = opened("1")
        say(f"drawing {samples} samples of {sampler.model.model_id} on {sampler.model.device}, {steps} steps")
        with checkpoint_for(out, resume, save_every, scorer=scorer, prompt=clip_prompt) as checkpoint:
            found = annotated.fit(sampler, judge, seeds, progress=True, checkpoint=checkpoint)
            directions = kept(found)
        fresh = range(first_seed + samples, first_seed + samples + 2)
    else:
        if positive is not None and negative is not None:
            paths, flags = from_folders(positive, negative)
            truth: Any = {name or positive.resolve().name: flags}
        elif photos is not None and labels is not None:
            paths, truth = from_table(
                photos, labels, column or [], file_column=file_column, threshold=threshold, quantile=quantile
            )
        labelled = Labelled(
            refine=refine,
            photo_fit=fit,  # type: ignore[arg-type]  # checked above
            unreadable="skip" if skip_unreadable else "refuse",
            **shared,
        )
        sampler = opened("0")
        say(f"inverting pictures with {sampler.model.model_id} on {sampler.model.device}, {steps} steps")
        with checkpoint_for(out, resume, save_every) as checkpoint:
            found = labelled.fit(sampler, paths, truth, progress=True, checkpoint=checkpoint)
            directions = kept(found)
        for reason in labelled.skipped_.values():
            say(f"skipped {reason}")
        fresh = range(2)
    if not world().first:
        return
    _report(found)
    say(f"{len(directions)} directions in {out}: {', '.join(directions.names)}")
    if found.shuffled_ is not None:
        say(f"{shuffles} of each from shuffled labels in {beside}")
    if picture is not None:
        with writing(picture) as partial:
            strip(sampler, fresh, directions[:8], progress=True).save(partial)
        say(f"a strip of the directions in {picture}")
    where = "" if model == sampler.model.model_id else f" --model {model}"
    say(f"next: hspace inspect {out}, or hspace edit {out}{where} --direction {directions.names[0]!r}")


def _check_way(changed: set[str]) -> None:
    """Exactly one way, all of it, and no option of another."""
    begun = [way for way, (needed, _) in _WAYS.items() if needed & changed]
    if len(begun) != 1:
        raise HspaceError(f"give one of: {'; '.join(_WAYS)}")
    needed, more = _WAYS[begun[0]]
    if not needed <= changed:
        raise HspaceError(f"{begun[0]} go together: one of them is missing")
    others = set().union(*(other for _, other in _WAYS.values())) - more
    if strangers := sorted(f"--{name.replace('_', '-')}" for name in others & changed):
        raise HspaceError(f"{', '.join(strangers)} does not go with {begun[0]}")


def _prompts(texts: list[str] | None) -> dict[str, tuple[str, str]] | None:
    """`smile=a smiling face|a grave face` by name."""
    if not texts:
        return None
    prompts = {}
    for text in texts:
        name, equals, rest = text.partition("=")
        much, bar, little = rest.partition("|")
        if not (equals and bar and name.strip() and much.strip() and little.strip()):
            raise HspaceError(f"--clip-prompt must look like 'smile=a smiling face|a grave face', not {text!r}")
        prompts[name.strip()] = (much.strip(), little.strip())
    return prompts


def _report(found: Supervised) -> None:
    """Sizes of the classes, and how well h tells them apart by each classifier."""
    for name, (positives, negatives) in found.counts_.items():
        say(f"{name}: {positives} with, {negatives} without")
        for classifier, accuracy in found.accuracy_[name].items():
            best = int(accuracy.argmax())
            at = found.setting_.timesteps[best]
            chosen = "  <- used" if classifier == found.classifier else ""
            say(
                f"  {classifier:8} cross-validated balanced accuracy {accuracy.mean():.2f} over t, "
                f"at best {accuracy[best]:.2f} at t = {at}{chosen}"
            )
