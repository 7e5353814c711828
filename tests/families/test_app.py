"""The app with a text-to-image model: what it draws, searches and gives away is under its prompt."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests import pipelines
from tests.cli.conftest import Run
from tests.cli.conftest import run as run

import hspace
from hspace.app import exports
from hspace.app.imports import bring
from hspace.app.painter import Painter
from hspace.app.visitor import Visitor
from hspace.app.work.bench import Bench, Opening
from hspace.directions import Recipe
from hspace.errors import HspaceError

ASKED = {"prompt": "a cat", "guidance_scale": 3.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("app") / "tiny-sd"
    pipelines.stable_diffusion("v_prediction").save_pretrained(folder)
    return folder


@pytest.fixture
def painter(folder: Path) -> Painter:
    return Painter(hspace.Sampler(hspace.load(folder, "cpu", **ASKED), 2, 0.0, batch_size=1), 1)  # type: ignore[arg-type]


@pytest.fixture
def visitor(painter: Painter, tmp_path: Path) -> Iterator[Visitor]:
    hspace.random_directions(painter.full.setting(), [3.0, 3.0]).save(tmp_path / "one.safetensors")
    visitor = Visitor(painter.full.setting(), (tmp_path / "one.safetensors",))
    visitor.move("random0", 2.0)
    yield visitor
    visitor.close()


def test_a_recipe_to_take_home_has_the_prompt(
    painter: Painter, visitor: Visitor, folder: Path, run: Run, tmp_path: Path
) -> None:
    x_0 = painter.draw(visitor.scene, visitor.library.directions())
    exports.picture(x_0).save(tmp_path / "expected.png")
    home = tmp_path / "home"
    home.mkdir()
    for file in (exports.recipe(visitor, painter), *exports.files(visitor)):
        shutil.copy(file, home)
    shell, python = exports.lines(visitor, painter.full.model, str(folder))
    assert torch.equal(Recipe.load(home / "recipe.json").run(hspace.load(folder, "cpu", prompt="a dog")), x_0)
    for name in ("recipe.json", "one.safetensors"):
        shutil.copy(home / name, tmp_path)  # where commands run
    result = run(*shlex.split(shell)[1:])
    assert result.exit_code == 0, result.output
    assert Path("picture.png").read_bytes() == (tmp_path / "expected.png").read_bytes()
    Path("picture.png").unlink()
    exec(python, {})
    assert Path("picture.png").read_bytes() == (tmp_path / "expected.png").read_bytes()


def test_recipes_of_other_prompts_are_not_brought(painter: Painter, visitor: Visitor, folder: Path) -> None:
    recipe = exports.recipe(visitor, painter)
    bring(visitor, painter, [recipe])
    other = Painter(hspace.Sampler(painter.full.model.conditioned("a dog"), 2, 0.0, batch_size=1), 1)
    with pytest.raises(
        HspaceError, match=r"drawn under prompt 'a cat', guidance 3, .* under prompt 'a dog', guidance 3"
    ):
        bring(visitor, other, [recipe])


def test_searches_are_under_the_prompt(painter: Painter, folder: Path) -> None:
    opening = Opening(str(folder), "cpu", "float32", painter.full.setting())
    bench = Bench(Opening.from_json(opening.to_json()))
    assert bench.sampler.model.condition == painter.full.model.condition
    assert torch.equal(bench.sampler.run([4]), painter.full.run([4]))
