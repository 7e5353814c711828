"""`hspace pca`: find principal components of h."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hspace.atomic import writing
from hspace.cli import options
from hspace.cli.commandline import reproducible
from hspace.cli.session import NO_STATE, checkpoint_for, open_model, open_sampler, say
from hspace.discovery import PCA
from hspace.errors import HspaceError
from hspace.jobs import world
from hspace.plot import spectrum, strip

__all__ = ["command"]


def command(
    model: options.Model = "faces64",
    asked: options.Asked = options.NOTHING,
    samples: Annotated[int, typer.Option("--samples", "-n", help="Number of samples.")] = 500,
    components: Annotated[int, typer.Option("--components", "-k", help="Number of components.")] = 10,
    joint: Annotated[bool, typer.Option("--joint", help="One PCA of all timesteps instead of one for each.")] = False,
    first_seed: Annotated[int, typer.Option(help="Samples are the seeds from here on.")] = 0,
    out: Annotated[Path, typer.Option("--out", "-o", help="File of directions.")] = Path("directions.safetensors"),
    figure: Annotated[Path | None, typer.Option(help="PNG: explained variance and standard deviation over t.")] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG: a strip of the first components.")] = None,
    steps: options.Steps = 50,
    eta: options.Eta = "1",
    start: options.Start = None,
    tap: options.Tap = None,
    injection: options.Injection = "symmetric",
    batch_size: options.BatchSize = None,
    resume: options.Resume = False,
    save_every: options.SaveEvery = 60.0,
    device: options.Device = None,
    computing: options.Computing = options.FLOAT32,
) -> None:
    """Find the principal components of h over fresh samples (Haas et al.) and save them as directions.

    After Ctrl-C the components of the samples finished so far are kept beside the output file, and --resume goes on.
    """
    if samples < 1:
        raise HspaceError(f"--samples must be at least 1, not {samples}")
    for path in filter(None, (out, figure, picture)):
        options.check_writable(path)
    sampler = open_sampler(open_model(model, tap, device, computing, asked), steps, eta, start, batch_size)
    pca = PCA(components, joint=joint, injection=options.parse_injection(injection))
    say(f"drawing {samples} samples of {sampler.model.model_id} on {sampler.model.device}, {steps} steps")
    with checkpoint_for(out, resume, save_every) as checkpoint:
        try:
            pca.fit(sampler, range(first_seed, first_seed + samples), progress=True, checkpoint=checkpoint)
        except KeyboardInterrupt as interrupt:
            if world().size > 1 or pca.n_samples_seen_ <= components:  # too few, or a share of them only
                raise
            kept = out.with_name(f"{out.stem}.interrupted{out.suffix}")
            reproducible(pca.finish().directions_, samples=pca.n_samples_seen_, **NO_STATE).save(kept)
            raise KeyboardInterrupt(
                f"{str(interrupt) or 'interrupted'}; components of {pca.n_samples_seen_} finished samples are in {kept}"
            ) from None
        directions = reproducible(pca.directions_, **NO_STATE)
        if world().first:
            directions.save(out)
    if not world().first:
        return
    say(f"{components} components of {samples} samples in {out}")
    if figure is not None:
        with writing(figure) as partial:
            spectrum(directions).savefig(partial)
        say(f"curves over t in {figure}")
    if picture is not None:
        fresh = range(first_seed + samples, first_seed + samples + 2)
        with writing(picture) as partial:
            strip(sampler, fresh, directions[:8], progress=True).save(partial)
        say(f"a strip of the first components in {picture}")
    where = "" if model == sampler.model.model_id else f" --model {model}"
    say(f"next: hspace inspect {out}, or hspace edit {out}{where} --direction pc0")
