"""A recipe puts the sliders where they were, on whatever page it is opened; what does not fit changes nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests import tiny

import hspace
from hspace.app import exports
from hspace.app.imports import PHOTO, bring
from hspace.app.painter import Painter
from hspace.app.scene import Scene
from hspace.app.visitor import Visitor
from hspace.directions import Edit, Term
from hspace.errors import HspaceError


@pytest.fixture
def home(visitor: Visitor, painter: Painter, tmp_path: Path) -> list[Path]:
    """What somebody took home: two sliders, renamed, in a window, of another seed."""
    visitor.change(seed=5, window=(painter.full.timesteps[1], 0), injection="asymmetric")
    visitor.move("pc0", 2.0)
    visitor.move("random0", -1.5)
    visitor.rename("pc0", "smile")
    files = [exports.recipe(visitor, painter), *exports.files(visitor)]
    return [Path(shutil.copy(file, tmp_path / file.name)) for file in files]


@pytest.fixture
def stranger(painter: Painter) -> Iterator[Visitor]:
    """Somebody without sliders."""
    stranger = Visitor(painter.full.setting())
    yield stranger
    stranger.close()


def test_a_recipe_with_its_files(visitor: Visitor, painter: Painter, home: list[Path], stranger: Visitor) -> None:
    found = bring(stranger, painter, home)
    assert found.scene == stranger.scene
    assert stranger.scene == Scene(5, None, {"pc0": 2.0, "random0": -1.5}, (painter.full.timesteps[1], 0), "asymmetric")
    assert set(stranger.library) == {"pc0", "pc1", "pc2", "random0"}
    assert stranger.last == "random0"
    drawn = [painter.draw(each.scene, each.library.directions()) for each in (visitor, stranger)]
    assert torch.equal(*drawn)


def test_directions_that_are_there_are_not_needed_again(visitor: Visitor, painter: Painter, home: list[Path]) -> None:
    visitor.change(strengths={}, seed=0)
    found = bring(visitor, painter, [file for file in home if file.suffix == ".json"])
    assert found.sliders == ()
    assert visitor.scene.strengths == {"smile": 2.0, "random0": -1.5}  # under the visitor's own name


def test_a_recipe_of_a_photo(painter: Painter, pcs: Path, stranger: Visitor, tmp_path: Path) -> None:
    first = Visitor(painter.full.setting(), (pcs,))
    first.photos = {"photo": painter.invert(painter.full.run([9]).float(), "photo")}
    first.change(photo="photo")
    first.move("pc1", 1.0)
    files = [exports.recipe(first, painter), *exports.files(first)]
    found = bring(stranger, painter, files)
    assert found.scene is not None
    assert found.scene.photo == PHOTO
    drawn = [painter.draw(each.scene, each.library.directions(), photos=each.photos) for each in (first, stranger)]
    assert torch.equal(*drawn)
    quick = [
        painter.draw(each.scene, each.library.directions(), photos=each.photos, quick=True)
        for each in (first, stranger)
    ]
    assert torch.equal(*quick)
    first.close()


def without(files: list[Path], name: str) -> list[Path]:
    return [file for file in files if file.name != name]


def edited(files: list[Path], **changes: object) -> list[Path]:
    """The recipe with other fields."""
    recipe = next(file for file in files if file.suffix == ".json")
    recipe.write_text(json.dumps({**json.loads(recipe.read_text()), **changes}))
    return files


def test_what_does_not_fit_is_told_and_changes_nothing(
    home: list[Path], stranger: Visitor, painter: Painter, sampler: hspace.Sampler, pcs: Path, tmp_path: Path
) -> None:
    def refused(files: list[Path], message: str) -> None:
        before = stranger.scene
        with pytest.raises(HspaceError, match=message) as raised:
            bring(stranger, painter, files)
        assert str(stranger.folder) not in str(raised.value)
        assert stranger.scene == before
        assert not stranger.library

    refused([], r"choose a file of directions first")
    refused([home[0], home[0]], r"one recipe at a time")
    refused(without(home, pcs.name), rf"needs {pcs.name} beside it")
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{")
    refused([wrong], r"^wrong\.json: no readable JSON")
    wrong.write_text(" " * (2**20 + 1))
    refused([wrong], r"too large for a recipe")
    Image.new("RGB", (4, 4)).save(tmp_path / "picture.png")
    refused([tmp_path / "picture.png"], r"^picture\.png")
    refused([pcs, tmp_path / "picture.png"], r"^picture\.png")  # the good one before it is taken back
    refused(edited(home, samples={"seeds": [1, 2]}), r"of 2 samples, and the app shows one")


def test_what_sliders_cannot_do_is_told(
    painter: Painter, sampler: hspace.Sampler, pcs: Path, stranger: Visitor, tmp_path: Path
) -> None:
    directions = hspace.Directions.load(pcs)
    mask = torch.ones(directions[0].setting.h_shape[-2:])
    top = painter.full.timesteps[0]
    edits = {
        r"masks, projections or multiples": Edit((Term(directions[0], 1.0, mask=mask),)),
        r"masks, projections": Edit((Term(directions[0].without(directions[1]), 1.0),)),
        r"or multiples": Edit((Term(2.0 * directions[0], 1.0),)),
        r"moves 'pc0' twice": Edit((Term(directions[0], 1.0), Term(directions[0], 1.0))),
        r"several windows": Edit((Term(directions[0], 1.0, (top, 0)), Term(directions[1], 1.0))),
        r"the slider 'pc0' goes from -5 to 5": Edit((Term(directions[0], 9.0),)),
    }
    for message, edit in edits.items():
        edit.save(tmp_path / "recipe.json", sampler, [0], files=[pcs])
        with pytest.raises(HspaceError, match=message):
            bring(stranger, painter, [tmp_path / "recipe.json", pcs])
        assert not stranger.library


def test_another_grid_or_precision_is_told(painter: Painter, pcs: Path, stranger: Visitor, tmp_path: Path) -> None:
    model = painter.full.model
    other = hspace.Sampler(model, 3, 1.0)
    directions = hspace.Directions.load(pcs)
    Edit.of(directions[0]).save(tmp_path / "recipe.json", other, [0], files=[pcs])
    with pytest.raises(HspaceError, match=r"of another grid than this app's: start one with --steps 3"):
        bring(stranger, painter, [tmp_path / "recipe.json", pcs])
    float32 = hspace.Sampler(tiny.denoiser(dtype=torch.float32), 4, 1.0)
    Edit.of(directions[0]).save(tmp_path / "recipe.json", float32, [0], files=[pcs])
    with pytest.raises(HspaceError, match=r"made in float32, the model computes in float64"):
        bring(stranger, painter, [tmp_path / "recipe.json", pcs])
