"""What a visitor brings along: directions, and recipes, which put the sliders where they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from hspace.app.painter import Painter
from hspace.app.scene import Scene
from hspace.app.visitor import Visitor
from hspace.diffusion import Inversion
from hspace.directions import Recipe
from hspace.directions.ingredient import Ingredient
from hspace.directions.sources import hash_of
from hspace.errors import HspaceError

__all__ = ["PHOTO", "Brought", "bring"]

PHOTO = "photo"
"""What the one photo of a visitor is called."""
_LARGEST_RECIPE = 2**20  # bytes


class Brought(NamedTuple):
    """What came of files: names of sliders that are new, and whether the sliders moved."""

    sliders: tuple[str, ...]
    scene: Scene | None


def bring(visitor: Visitor, painter: Painter, files: Sequence[Path]) -> Brought:
    """Files of directions become sliders; with a recipe among them the sliders go where they were.

    A recipe needs the files that it names, among those given or those that the sliders are of; they are known by their
    hash, under any name.

    Raises:
        HspaceError: A file that is neither; two recipes; a recipe of another model, prompt, grid or precision, of
            directions that are not there, or with what sliders can't do: masks, projections on the way, several
            windows. Nothing is changed then.
        Superseded: The visit is over.
    """
    if not files:
        raise HspaceError("choose a file of directions first, or a recipe with its files")
    recipes = [file for file in files if file.suffix.lower() == ".json"]
    tensors = [file for file in files if file not in recipes]
    if not recipes:
        return Brought(_added(visitor, tensors), None)
    if len(recipes) > 1:
        raise HspaceError("one recipe at a time, please")
    recipe = _read(recipes[0])
    if recipe.setting.schedule != painter.full.schedule:
        raise HspaceError(
            f"{recipes[0].name} is of another grid than this app's: start one with --steps "
            f"{len(recipe.setting.schedule)} and the recipe's --eta"
        )
    prompt = _prompt(recipe, painter, recipes[0].name)
    recipe.sampler(painter.full.model)  # of this model, tap and precision
    by_hash = {hash_of(file): file for file in tensors}
    photo = _photo(recipe, painter, by_hash)
    wanted = {term.direction.source.sha256 for term in recipe.terms}
    known = {hash_of(slider.file) for slider in visitor.library.values()}
    names = _added(visitor, [file for sha256, file in by_hash.items() if sha256 in wanted - known])
    try:
        scene = replace(_scene(recipe, visitor), prompt=prompt)
        if photo is not None:
            visitor.photos = {PHOTO: painter.again(photo, wanted=visitor.present)}
    except HspaceError:
        for name in names:
            visitor.remove(name)
        raise
    visitor.change(**vars(scene))
    visitor.last = list(scene.strengths)[-1] if scene.strengths else None
    return Brought(names, scene)


def _added(visitor: Visitor, files: Sequence[Path]) -> tuple[str, ...]:
    """Sliders of files, all or none."""
    names: list[str] = []
    try:
        for file in files:
            kept = visitor.keep(file)
            try:
                names += visitor.library.add(kept)
            except BaseException as error:  # nothing is kept of what is no slider
                kept.unlink()
                if isinstance(error, HspaceError):
                    raise HspaceError(str(error).replace(kept.name, file.name)) from error
                raise
    except BaseException:
        for name in names:
            visitor.remove(name)
        raise
    return tuple(names)


def _read(path: Path) -> Recipe:
    if path.stat().st_size > _LARGEST_RECIPE:
        raise HspaceError(f"{path.name} is too large for a recipe")
    try:
        return Recipe.load(path)
    except HspaceError as error:
        raise HspaceError(str(error).replace(str(path), path.name)) from error


def _prompt(recipe: Recipe, painter: Painter, name: str) -> str | None:
    """The prompt of a recipe, where it is not the app's; nothing else of a condition can be chosen on the page."""
    here, there = painter.full.model.condition, recipe.setting.condition
    same = here if here is None or there is None else replace(here, prompt=there.prompt)
    if same != there:
        raise HspaceError(
            f"{name} was drawn under {there or 'no condition'}, this app draws under {here or 'none'}: "
            "start one with its --guidance-scale, --negative-prompt or --label"
        )
    return None if here == there or there is None else there.prompt


def _photo(recipe: Recipe, painter: Painter, by_hash: dict[str, Path]) -> Inversion | None:
    """The picture of a recipe that is of one."""
    if not isinstance(recipe.samples, tuple):
        source, rows = recipe.samples.source, recipe.samples.rows
        if source.sha256 not in by_hash:
            raise HspaceError(f"the recipe needs {Path(source.file).name} beside it, the inversion of its photo")
        whole = Inversion.load(by_hash[source.sha256])
        if list(rows) != [0] or len(whole) != 1:
            raise HspaceError("the recipe is of several photos, and the app shows one")
        return whole
    if len(recipe.samples) != 1:
        raise HspaceError(f"the recipe is of {len(recipe.samples)} samples, and the app shows one")
    return None


def _scene(recipe: Recipe, visitor: Visitor) -> Scene:
    """Where the sliders are.

    Raises:
        HspaceError: What sliders can't do; a direction that is not there.
    """
    strengths: dict[str, float] = {}
    windows = set()
    for term in recipe.terms:
        if term.mask is not None or term.without or term.factor != 1.0:
            raise HspaceError("the recipe has masks, projections or multiples: hspace edit --recipe draws it")
        name = _slider(visitor, term)
        if name in strengths:
            raise HspaceError(f"the recipe moves {name!r} twice: hspace edit --recipe draws it")
        strengths[name] = term.strength
        if visitor.library[name].direction.setting.space == "h":
            windows.add(term.window)
    if len(windows) > 1:
        raise HspaceError("the recipe has several windows: hspace edit --recipe draws it")
    seed, photo = (recipe.samples[0], None) if isinstance(recipe.samples, tuple) else (0, PHOTO)
    return Scene(seed, photo, strengths, windows.pop() if windows else None, recipe.setting.injection)


def _slider(visitor: Visitor, term: Ingredient) -> str:
    named = term.direction
    for name, slider in visitor.library.items():
        if slider.direction.name == named.name and hash_of(slider.file) == named.source.sha256:
            return name
    raise HspaceError(f"the recipe needs {Path(named.source.file).name} beside it, which has {named.name!r}")
