"""`hspace jacobian`: find directions of single images, or of a part of them."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Annotated, get_args

import typer
from PIL import Image

from hspace.atomic import writing
from hspace.attributes import load_regions
from hspace.cli import options
from hspace.cli.commandline import reproducible
from hspace.cli.session import open_model, open_sampler, sampler_for, say
from hspace.diffusion import Inversion, Sampler
from hspace.discovery import Jacobian
from hspace.errors import HspaceError, HspaceWarning
from hspace.masks import Regions
from hspace.models import Denoiser
from hspace.models.products import Route
from hspace.plot import heatmaps, singular_values, strip

__all__ = ["command"]

_REGIONS = {"faces64": "portraits"}  # of bundled models


def command(
    model: options.Model = "faces64",
    asked: options.Asked = options.NOTHING,
    seeds: Annotated[str, typer.Option(help="Images, such as 0 or 0:4; with --pooled those to look at.")] = "0",
    photo: Annotated[
        Path | None,
        typer.Option(help="Look at the pictures of this inversion, as hspace invert wrote it, on its grid."),
    ] = None,
    timesteps: Annotated[
        str, typer.Option(help="Where to look: all, spread:5 (five over the grid), or some of it, such as 599,399.")
    ] = "spread:5",
    components: Annotated[int, typer.Option("--components", "-k", help="Directions at each timestep.")] = 3,
    mask: Annotated[
        str | None, typer.Option(help="What shall change: a box x0,y0,x1,y1, a PNG, or the name of a region.")
    ] = None,
    regions: Annotated[
        str | None, typer.Option(help="Finds named regions: portraits, module:function or file.py:function.")
    ] = None,
    outside_rank: Annotated[
        int, typer.Option(help="Modes of the rest of the picture to leave alone; 5 keeps it still.")
    ] = 0,
    pooled: Annotated[bool, typer.Option("--pooled", help="What all images have in common.")] = False,
    tol: Annotated[float, typer.Option(help="Largest relative residual.")] = 1e-3,
    max_products: Annotated[int, typer.Option(help="Give up after so many products, for an image and timestep.")] = 200,
    block_size: Annotated[int | None, typer.Option(help="Vectors in one product. Default: 1 on a CPU.")] = None,
    route: Annotated[str | None, typer.Option(help=f"{', '.join(get_args(Route))}. Default: what works.")] = None,
    unit_samples: Annotated[int, typer.Option(help="Samples that the unit of strength is measured with.")] = 100,
    out: Annotated[Path, typer.Option("--out", "-o", help="File of directions.")] = Path("jacobian.safetensors"),
    figure: Annotated[Path | None, typer.Option(help="PNG: singular values over t.")] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG: a strip of the top directions at several t.")] = None,
    saliency: Annotated[Path | None, typer.Option(help="PNG: where each direction changes the picture.")] = None,
    steps: options.Steps = 50,
    eta: options.Eta = "1",
    start: options.Start = None,
    tap: options.Tap = None,
    injection: options.Injection = "symmetric",
    batch_size: Annotated[int, typer.Option(help="Images side by side.")] = 4,
    device: options.Device = None,
    computing: options.Computing = options.FLOAT32,
) -> None:
    """Find what changes given images most: singular vectors of the Jacobian of the denoiser (Haas et al.).

    After Ctrl-C the directions of the images finished so far are kept beside the output file.
    """
    if saliency is not None and pooled:
        raise HspaceError("--saliency shows single images: leave out --pooled")
    if route is not None and route not in get_args(Route):
        raise HspaceError(f"--route must be one of {', '.join(get_args(Route))}, not {route!r}")
    options.check_writable(out)
    for path in filter(None, (figure, picture, saliency)):
        options.check_picture(path)
    latents = options.parse_seeds(seeds) if photo is None else Inversion.load(photo)
    found = latents.setting.condition if isinstance(latents, Inversion) else None
    denoiser = open_model(model, tap, device, computing, asked, found)
    if isinstance(latents, Inversion):
        sampler = sampler_for(latents, denoiser)
    else:
        sampler = open_sampler(denoiser, steps, eta, start, None)
    jacobian = Jacobian(
        components,
        timesteps=_timesteps(timesteps, sampler),
        mask=mask,
        regions=_regions(mask, regions, denoiser),
        outside_rank=outside_rank,
        pooled=pooled,
        tol=tol,
        max_products=max_products,
        block_size=block_size,
        batch_size=batch_size,
        route=route,  # type: ignore[arg-type]  # checked above
        unit_seeds=range(unit_samples),
        injection=options.parse_injection(injection),
    )
    say(f"following {len(latents)} samples of {denoiser.model_id} on {denoiser.device}, {len(sampler.timesteps)} steps")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", HspaceWarning)
        try:
            jacobian.fit(sampler, latents, progress=True)
        except KeyboardInterrupt:
            if not jacobian.n_samples_seen_:
                raise KeyboardInterrupt("interrupted before the first image was done; nothing was written") from None
            for warning in caught:
                say(f"warning: {warning.message}")
            kept = out.with_name(f"{out.stem}.interrupted{out.suffix}")
            finished = {}
            if not isinstance(latents, Inversion):
                finished["seeds"] = ",".join(map(str, latents[: jacobian.n_samples_seen_]))
            reproducible(jacobian.finish().directions_, **finished).save(kept)
            raise KeyboardInterrupt(
                f"interrupted; directions of {jacobian.n_samples_seen_} finished images are in {kept}"
            ) from None
    for warning in caught:
        say(f"warning: {warning.message}")
    directions = reproducible(jacobian.directions_)
    directions.save(out)
    say(
        f"{len(directions)} directions in {out}: {int(jacobian.products_.sum())} products with the Jacobian "
        f"({jacobian.route_}; {jacobian.decoding_}), largest residual {float(jacobian.residuals_.max()):.1e}"
    )
    if figure is not None:
        with writing(figure) as partial:
            singular_values(directions).savefig(partial)
        say(f"singular values over t in {figure}")
    if saliency is not None:
        with writing(saliency) as partial:
            _saliency(jacobian).save(partial)
        say(f"where directions change the picture in {saliency}")
    if picture is not None:
        looked_at = jacobian.timesteps_
        few = looked_at[:: -(-len(looked_at) // 5)]  # of the first image, at up to five timesteps
        shown = directions[[i * components + j for i, t in enumerate(looked_at) if t in few for j in range(components)]]
        # The image itself, and for a sample one that the directions were not found in.
        rows = latents[:1] if isinstance(latents, Inversion) else [latents[0], max(latents) + 1]
        with writing(picture) as partial:
            strip(sampler, rows, shown, (-2, -1, 0, 1, 2), progress=True).save(partial)
        say(f"a strip of the top directions in {picture}")
    where = "" if model == denoiser.model_id else f" --model {model}"
    which = f"--seeds {seeds}" if photo is None else f"--photo {photo}"
    say(f"next: hspace inspect {out}, or hspace edit {out}{where} --direction {directions.names[0]} {which}")


def _timesteps(text: str, sampler: Sampler) -> list[int] | None:
    """`all`, `spread:5` or `599,399`."""
    grid = sampler.timesteps
    if text == "all":
        return None
    if match := re.fullmatch(r"spread:(\d+)", text):
        n = min(int(match[1]), len(grid))
        if n < 1:
            raise HspaceError("--timesteps spread:0 names no timestep")
        return [grid[int((i + 0.5) * len(grid) / n)] for i in range(n)]
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise HspaceError(f"--timesteps must be all, spread:5 or timesteps such as 599,399, not {text!r}")
    return [int(part) for part in text.split(",")]


def _regions(mask: str | None, name: str | None, model: Denoiser) -> Regions | None:
    """Those of `--regions`; for a bundled model its own, if the mask is a word."""
    if name is None and mask is not None and re.fullmatch(r"[A-Za-z_]+", mask):
        name = _REGIONS.get(model.model_id)
    return None if name is None else load_regions(name)


def _saliency(jacobian: Jacobian) -> Image.Image:
    """A row for each image and timestep, a column for each component."""
    if jacobian.images_ is None or jacobian.saliency_ is None:
        raise HspaceError("a pooled fit has no saliency maps")
    n, t, k = jacobian.saliency_.shape[:3]
    titles = [f"{sample}, t = {timestep}" for sample in jacobian.samples_[:n] for timestep in jacobian.timesteps_]
    masks = None if jacobian.masks_ is None else jacobian.masks_.repeat_interleave(t, 0)
    images = jacobian.images_.float().repeat_interleave(t, 0)
    heads = ["picture", *(f"|J v|, {j}" for j in range(k))]
    return heatmaps(images, jacobian.saliency_.float().flatten(0, 1), titles=titles, heads=heads, masks=masks)
