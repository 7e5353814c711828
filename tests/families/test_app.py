"""The app with a text-to-image model: what it draws, searches and gives away is under its prompt."""

from __future__ import annotations

import io
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests import pipelines, tiny
from tests.browser import Open
from tests.cli.conftest import Run
from tests.cli.conftest import run as run

import hspace
from hspace.app import exports
from hspace.app.handlers import Handlers
from hspace.app.imports import bring
from hspace.app.painter import Painter
from hspace.app.scene import Scene
from hspace.app.serving import opened
from hspace.app.visitor import Visitor
from hspace.app.work.bench import Bench, Opening
from hspace.directions import Recipe
from hspace.errors import HspaceError
from hspace.models import Condition

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


def test_another_prompt_is_another_picture(painter: Painter, visitor: Visitor) -> None:
    """The app's own as long as nothing is asked for; each prompt has its original; a photo is drawn under it, too."""
    house, model, directions = "a house", painter.full.model, visitor.library.directions()
    other = hspace.Sampler.on(model.conditioned(house), painter.full.setting(), batch_size=1)
    for _ in range(2):
        for sampler, prompt in ((painter.full, None), (other, house)):
            for scene in (replace(visitor.scene, prompt=prompt), replace(visitor.scene.reset(), prompt=prompt)):
                expected = sampler.run([0], scene.edit(directions))
                assert torch.equal(painter.draw(scene, directions), expected)
    photo = painter.invert(painter.full.run([5]).clamp(-1, 1), "me")
    for _ in range(2):
        for sampler, prompt in ((painter.full, None), (other, house)):
            drawn = painter.draw(Scene(photo="me", prompt=prompt), {}, photos={"me": photo})
            assert torch.equal(drawn, sampler.run(photo.full))


def test_recipes_bring_their_prompt(painter: Painter, visitor: Visitor) -> None:
    handlers = Handlers(painter)
    handlers.ask(visitor, " a house ")
    assert handlers.controls(visitor).prompt == "a house"
    drawn = painter.draw(visitor.scene, visitor.library.directions())
    recipe = exports.recipe(visitor, painter)
    assert Recipe.load(recipe).setting.condition == Condition("a house", guidance_scale=3.0)
    handlers.ask(visitor, "")
    assert visitor.scene.prompt is None
    bring(visitor, painter, [recipe])
    assert visitor.scene.prompt == "a house"
    assert torch.equal(painter.draw(visitor.scene, visitor.library.directions()), drawn)
    handlers.ask(visitor, None)
    bring(visitor, painter, [exports.recipe(visitor, painter)])
    assert visitor.scene.prompt is None
    guided = hspace.Sampler(painter.full.model.conditioned(guidance_scale=5.0), 2, 0.0, batch_size=1)
    with pytest.raises(HspaceError, match=r"under prompt 'a cat', guidance 3, this app .* 'a cat', guidance 5"):
        bring(visitor, Painter(guided, 1), [recipe])
    handlers.close()


def test_models_without_prompts() -> None:
    painter = Painter(hspace.Sampler(tiny.denoiser(), 2, batch_size=1), 1)
    handlers = Handlers(painter)
    assert handlers.prompt is None
    with pytest.raises(HspaceError, match="takes no prompt or class"):
        painter.draw(Scene(prompt="a cat"), {})
    handlers.close()


def test_the_prompt_on_the_page(painter: Painter, visit: Open) -> None:
    handlers = Handlers(painter)
    assert handlers.prompt == "a cat"
    with opened(handlers) as blocks:
        page = visit(str(blocks.local_url)).page
        expected = [exports.picture(painter.draw(Scene(prompt=prompt), {})) for prompt in (None, "a house")]
        assert shown(page, "") is not None
        first = shown(page, "")
        assert np.array_equal(np.asarray(first[1]), np.asarray(expected[0]))
        assert page.get_attribute("#prompt textarea", "placeholder") == "a cat"
        page.fill("#prompt textarea", "a house")
        page.press("#prompt textarea", "Enter")
        assert np.array_equal(np.asarray(shown(page, first[0])[1]), np.asarray(expected[1]))
    handlers.close()


def shown(page: Any, before: str) -> tuple[str, Image.Image]:
    """The picture on the page, no preview, once it is another; and where it is."""
    page.wait_for_function(
        "before => document.querySelector('#words')?.innerText.includes('picture in')"
        " && (document.querySelector('#picture img')?.src ?? before) !== before",
        arg=before,
        timeout=60_000,
    )
    source = str(page.evaluate("document.querySelector('#picture img').src"))
    return source, Image.open(io.BytesIO(page.request.get(source).body())).convert("RGB")


def test_searches_are_under_the_prompt(painter: Painter, folder: Path) -> None:
    opening = Opening(str(folder), "cpu", "float32", painter.full.setting())
    bench = Bench(Opening.from_json(opening.to_json()))
    assert bench.sampler.model.condition == painter.full.model.condition
    assert torch.equal(bench.sampler.run([4]), painter.full.run([4]))
