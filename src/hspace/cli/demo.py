"""`hspace demo`: the whole way, from the bundled model to pictures of what its directions do."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from PIL import Image
from torch import Tensor

from hspace.atomic import writing
from hspace.attributes import load_scorer
from hspace.cli import options
from hspace.cli.commandline import reproducible
from hspace.cli.session import open_model, say
from hspace.diffusion import Sampler
from hspace.directions import Directions
from hspace.discovery import PCA, random_directions
from hspace.errors import HspaceError
from hspace.evaluation import Effects, effects, told
from hspace.plot import grid, spectrum, strip
from hspace.version import __version__

__all__ = ["command"]

COMPONENTS = 10
_SHOWN = 8  # components in pca.png
_GRID = 64  # samples in samples.png
_STRENGTH = 3.0
_ETA = 0.0  # DDIM: with fresh noise at every step small features such as the mouth follow an edit less
_FRESH = 1_000_000  # seeds from here on were never used to find the directions


def command(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pictures.")] = Path("demo"),
    samples: Annotated[int, typer.Option("--samples", "-n", help="Samples that the components are found from.")] = 400,
    steps: options.Steps = 20,
    checked: Annotated[int, typer.Option(help="Fresh seeds on which effects are measured.")] = 8,
    batch_size: options.BatchSize = None,
    device: options.Device = None,
    computing: options.Computing = options.BFLOAT16,
) -> None:
    """Find, name and draw the principal components of the bundled model: a few minutes on two CPU cores.

    Samples are DDIM's (eta 0), and shifts go in asymmetrically (Asyrp): both move a picture further than the defaults.
    """
    if samples < 1:
        raise HspaceError(f"--samples must be at least 1, not {samples}")
    if checked < 2:
        raise HspaceError(f"--checked must be at least 2, not {checked}")
    for name in ("samples.png", "pca.png", "spectrum.png", "directions.safetensors", "summary.json"):
        options.check_writable(out / name)
    model = open_model("faces64", None, device, computing)
    sampler = Sampler(model, steps, eta=_ETA, batch_size=batch_size)
    seconds: dict[str, float] = {}

    with _stage(seconds, f"1/3 drawing {samples} samples, fitting {COMPONENTS} components to their h"):
        first: list[Tensor] = []

        def keep(rows: slice, images: Tensor) -> None:
            if rows.start < _GRID:
                first.append(images.cpu())

        pca = PCA(COMPONENTS, injection="asymmetric").fit(sampler, range(samples), progress=True, on_batch=keep)
        _save_picture(grid(torch.cat(first)[:_GRID]), out / "samples.png")
        with writing(out / "spectrum.png") as partial:
            spectrum(pca.directions_).savefig(partial)
        pcs = reproducible(pca.directions_)
        pcs.save(out / "directions.safetensors")  # named below; kept if the rest is interrupted

    with _stage(seconds, f"2/3 measuring what they do to the twelve factors, on {checked} fresh seeds"):
        control = random_directions(pcs.setting, pcs[0].norms(), n=2)
        fresh = range(_FRESH, _FRESH + checked)
        measured = effects(
            sampler, Directions([*pcs, *control]), load_scorer(), fresh, strength=_STRENGTH, progress=True
        )
        pcs = Directions([told(item, measured) for item in pcs], pcs.measured)
        pcs.save(out / "directions.safetensors")

    with _stage(seconds, f"3/3 drawing the first {_SHOWN}"):
        titles = [f"{item.name}: {_effects_in_words(measured.of(item.name))}" for item in pcs[:_SHOWN]]
        picture = strip(sampler, range(_FRESH, _FRESH + 2), pcs[:_SHOWN], titles=titles, progress=True)
        _save_picture(picture, out / "pca.png")

    with writing(out / "summary.json") as partial:
        partial.write_text(json.dumps(_summary(pcs, measured, sampler, samples, checked, seconds), indent=2) + "\n")
    _tell(out, pcs, measured)


@contextmanager
def _stage(seconds: dict[str, float], title: str) -> Iterator[None]:
    say(title)
    started = time.monotonic()
    yield
    seconds[title] = round(time.monotonic() - started, 1)


def _effects_in_words(change: dict[str, float]) -> str:
    """The largest change, and others of at least 1, up to three in all: "yaw +1.9, glasses -1.1"."""
    first, *others = sorted(change.items(), key=lambda item: -abs(item[1]))[:3]
    return ", ".join(f"{name} {value:+.1f}" for name, value in (first, *(o for o in others if abs(o[1]) >= 1)))


def _save_picture(picture: Image.Image, path: Path) -> None:
    with writing(path) as partial:
        picture.save(partial)


def _summary(
    pcs: Directions, measured: Effects, sampler: Sampler, samples: int, checked: int, seconds: dict[str, float]
) -> dict[str, Any]:
    rounded = {name: {k: round(v, 3) for k, v in measured.of(name).items()} for name in measured.directions}
    return {
        "version": __version__,
        "model": {
            "id": sampler.model.model_id,
            "weights": sampler.model.weight_hash,
            "dtype": str(sampler.model.dtype),
        },
        "samples": samples,
        "steps": len(sampler.schedule),
        "eta": _ETA,
        "injection": pcs.setting.injection,
        "unit": f"change of the score from strength -{_STRENGTH:g} to {_STRENGTH:g}, mean of {checked} fresh seeds, "
        "in standard deviations of the population",
        "components": [
            {
                "name": item.name,
                "moves": item.origin["moves"]["attribute"],
                "change": item.origin["moves"]["change"],
                "explained_variance_ratio": round(float(pcs.measured["explained_variance_ratio"][:, i].mean()), 4),
                "effects": rounded[item.name],
            }
            for i, item in enumerate(pcs)
        ],
        "random_of_pc0s_norm": {name: rounded[name] for name in measured.directions if name.startswith("random")},
        "seconds": seconds,
    }


def _tell(out: Path, pcs: Directions, measured: Effects) -> None:
    say("")
    for item in pcs:
        say("{0:5} moves {attribute:12} by {change:+.2f} standard deviations".format(item.name, **item.origin["moves"]))
    largest = max(abs(measured.largest(name)[1]) for name in measured.directions if name.startswith("random"))
    say(f"two random directions of pc0's norm move no factor by more than {largest:.2f}")
    say(f"""
Open {out / "pca.png"} (components from -3 to 3), {out / "samples.png"} and {out / "spectrum.png"};
the figures are in {out / "summary.json"}. Next, for example:
  hspace inspect {out / "directions.safetensors"}
  hspace edit {out / "directions.safetensors"} --direction pc1 --seeds 5:9 --out pc1.png
  hspace edit {out / "directions.safetensors"} --set pc0=2 --set pc1=-1.5 --out both.png
  hspace pca --model FOLDER_OR_HUB_ID --samples 500 --out mine.safetensors""")
