"""A published model of others (recipes/own_network.py) with real pictures and labels that a detector measured.

ANIMEFACES names the folder of the pictures with their labels.csv; default: ../shared/data/animefaces beside this
repository.
"""

from __future__ import annotations

import os
import sys
from functools import cached_property
from pathlib import Path

from common import STEPS, Work, say

import hspace
from hspace.atomic import writing
from hspace.cli.labels import from_table
from hspace.discovery import Labelled
from hspace.photos import read_photos
from hspace.plot import strip

_HERE = Path(__file__).resolve()
PICTURES = Path(os.environ.get("ANIMEFACES", _HERE.parents[3] / "shared" / "data" / "animefaces"))
MODEL = Path(os.environ.get("ANIMEFACES64", _HERE.parents[3] / "shared" / "models" / "animefaces64"))
COLUMNS = ("hair_val", "mouth_h", "eye_offset")
STRENGTHS = (-4.0, -2.0, 0.0, 2.0, 4.0)


class Anime:
    """The adapter, loaded once."""

    def __init__(self, work: Work) -> None:
        self.work = work

    @cached_property
    def model(self) -> hspace.Denoiser:
        sys.path.insert(0, str(_HERE.parents[1]))
        from own_network import animefaces64

        return animefaces64().to(dtype=self.work.dtype)

    def sampler(self, eta: float) -> hspace.Sampler:
        return hspace.Sampler(self.model, STEPS, eta)


def there() -> bool:
    """Whether both its pictures and its checkpoint are."""
    return (PICTURES / "labels.csv").is_file() and (MODEL / "network.py").is_file()


def inversion(work: Work) -> None:
    anime = Anime(work)
    paths = sorted(PICTURES.glob("*.png"))[:32]
    images = read_photos(paths, anime.model.image_shape)
    found = {}
    for name, eta, refine, n in (
        ("edit-friendly DDPM, 32 pictures", 1.0, 0, 32),
        ("DDIM, 5 fixed-point iterations, 8 of them", 0.0, 5, 8),
    ):
        inverted = anime.sampler(eta).invert(images[:n], refine=refine, names=[path.stem for path in paths[:n]])
        inverted.save(work.folder / f"anime-{eta:g}.safetensors")
        found[name] = {"mean": float(inverted.psnr.mean()), "least": float(inverted.psnr.min())}
        say(f"anime, {name}: {found[name]}")
        work.write("anime-inversion", found)


def labelled(work: Work) -> None:
    anime = Anime(work)
    paths, labels = from_table(PICTURES, PICTURES / "labels.csv", COLUMNS, quantile=0.125)
    estimator = Labelled(injection="asymmetric", unit_seeds=range(48))
    estimator.fit(anime.sampler(1.0), paths, labels)  # edit-friendly: one pass a picture and step
    estimator.directions_.save(work.folder / "anime.safetensors")
    accuracy = {
        name: {each: [float(values.mean()), float(values.max())] for each, values in by.items()}
        for name, by in estimator.accuracy_.items()
    }
    work.write("anime-labelled", {"accuracy": accuracy, "counts": estimator.counts_})
    say(f"anime: {estimator.counts_}, accuracy {accuracy}")


def draw(work: Work) -> None:
    anime, directions = Anime(work), work.directions("anime")
    photos = hspace.diffusion.Inversion.load(work.folder / "anime-1.safetensors")
    with writing(work.docs / "anime-labelled-photos.png") as partial:
        strip(anime.sampler(1.0), photos[[0, 5, 9]], directions, STRENGTHS).save(partial)
    with writing(work.docs / "anime-labelled-samples.png") as partial:
        strip(anime.sampler(0.0), [3, 5, 8], directions, STRENGTHS).save(partial)
