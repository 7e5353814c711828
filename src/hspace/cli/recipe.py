"""`hspace edit --recipe` and `--save-recipe`: pictures of an edit again, from a small JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hspace.atomic import writing
from hspace.cli import options
from hspace.cli.session import open_model, say
from hspace.diffusion import Inversion, Sampler
from hspace.directions import Edit, Recipe
from hspace.errors import HspaceError
from hspace.plot import grid

__all__ = ["draw", "save"]


def draw(path: Path, model: str | None, device: str | None, out: Path, others: Sequence[str]) -> None:
    """The pictures of a recipe in one PNG.

    Raises:
        HspaceError: `others`, parameters of the command that the recipe has, were given.
    """
    if others:
        spelt = {"file": "FILE", "together": "--set"}
        names = ", ".join(spelt.get(name, f"--{name.replace('_', '-')}") for name in others)
        raise HspaceError(f"--recipe holds the whole edit: leave out {names}")
    options.check_picture(out)
    recipe = Recipe.load(path)
    edit = recipe.edit()  # finds out before the model is opened whether a file is missing
    setting = recipe.setting
    name, computing = model or setting.model_id, options.Computing(recipe.precision)
    denoiser = open_model(name, setting.tap, device, computing, found=setting.condition)
    images = recipe.run(denoiser, progress=True)
    with writing(out) as partial:
        grid(images).save(partial)
    say(f"{len(images)} pictures of {edit.name} in {out}")


def save(
    path: Path,
    edit: Edit,
    sampler: Sampler,
    latents: Sequence[int] | Inversion,
    files: Sequence[Path],
    photo: Path | None,
) -> None:
    """The recipe of an edit."""
    edit.save(path, sampler, latents, files=files, photo=photo)
    say(f"recipe of {edit.name} in {path}; again with: hspace edit --recipe {path}")
