"""Prompts and classes on the command line: asked for once, they go along with directions, photos and recipes."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests import pipelines
from tests.cli.conftest import Run

import hspace
from hspace.diffusion import Inversion
from hspace.directions import Directions, Recipe
from hspace.models import Condition
from hspace.plot import grid, strip

ASKED = ("--prompt", "a cat", "--negative-prompt", "a dog", "--guidance-scale", 3, "--shift-in", "conditional")
CAT = Condition("a cat", "a dog", guidance_scale=3.0, shifted="conditional")


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-sd"
    pipelines.stable_diffusion("v_prediction").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def class_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny-classes"
    pipelines.ddim(num_class_embeds=3).save_pretrained(folder)
    return folder


def ran(run: Run, *arguments: object) -> str:
    result = run(*arguments, "--device", "cpu")
    assert result.exit_code == 0, result.output
    return result.stdout


def refused(run: Run, *arguments: object) -> str:
    result = run(*arguments, "--device", "cpu")
    assert result.exit_code == 2
    assert "\n" not in result.stderr.strip()
    return result.stderr


@pytest.fixture
def cats(run: Run, text_folder: Path, tmp_path: Path) -> Path:
    """Two components, found under a prompt."""
    file = tmp_path / "cats.safetensors"
    ran(run, "pca", "-m", text_folder, *ASKED, "-n", 6, "-k", 2, "-s", 2, "--eta", 0, "-o", file)
    return file


def test_directions_remember_the_prompt_and_are_made_again(run: Run, cats: Path, tmp_path: Path) -> None:
    directions = Directions.load(cats)
    assert directions.setting.condition == CAT
    command = str(directions[0].origin["command"])
    assert "--prompt 'a cat' --negative-prompt 'a dog' --guidance-scale 3.0 --shift-in conditional" in command
    words = shlex.split(command)[1:]
    words[words.index("--out") + 1] = str(tmp_path / "again.safetensors")
    ran(run, *words)
    again = Directions.load(tmp_path / "again.safetensors")
    assert all((a.vectors == b.vectors).all() for a, b in zip(directions, again, strict=True))
    shown = " ".join(run("inspect", cats).stdout.replace("│", " ").split())
    assert "prompt 'a cat', guidance 3 against 'a dog', shifted in the conditional pass only" in shown
    assert json.loads(run("inspect", cats, "--json").stdout)["setting"]["condition"]["prompt"] == "a cat"


def test_directions_go_in_under_their_own_prompt_or_another(run: Run, cats: Path, text_folder: Path) -> None:
    model, directions = hspace.load(text_folder, "cpu"), Directions.load(cats)
    for options, condition in (
        ((), CAT),
        (("--prompt", "a house"), Condition("a house", "a dog", guidance_scale=3.0, shifted="conditional")),
        (("--negative-prompt", "", "--shift-in", "both"), Condition("a cat", guidance_scale=3.0)),
    ):
        ran(run, "edit", cats, "-m", text_folder, "-d", "pc0", "--seeds", 7, "--strengths", "0,2", *options)
        sampler = hspace.Sampler.on(model.under(condition), directions.setting)
        expected = strip(sampler, [7], [directions["pc0"]], [0, 2])
        assert np.array_equal(np.asarray(Image.open("strip.png")), np.asarray(expected)), options


def test_recipes_have_theirs(run: Run, cats: Path, text_folder: Path) -> None:
    edited = ("edit", cats, "-m", text_folder, "--set", "pc0=2", "--seeds", 3, "--prompt", "a house")
    ran(run, *edited, "--save-recipe", "r.json")
    ran(run, "edit", "--recipe", "r.json", "-m", text_folder, "-o", "again.png")
    recipe = Recipe.load("r.json")
    assert recipe.setting.condition is not None
    assert recipe.setting.condition.prompt == "a house"
    images = recipe.run(hspace.load(text_folder, "cpu"))
    assert np.array_equal(np.asarray(Image.open("again.png")), np.asarray(grid(images)))
    said = refused(run, "edit", "--recipe", "r.json", "-m", text_folder, "--prompt", "a cat", "--shift-in", "both")
    assert "--recipe holds the whole edit: leave out --prompt, --shift-in" in said


def test_photos_are_edited_under_the_prompt_they_were_inverted_with(run: Run, cats: Path, text_folder: Path) -> None:
    Image.new("RGB", (20, 20), (200, 40, 90)).save("photo.png")
    inverted = ("invert", "photo.png", "-m", text_folder, "-s", 2, "--eta", 1)
    ran(run, *inverted, "--prompt", "a sea", "--guidance-scale", 2, "-o", "photo.safetensors")
    inversion = Inversion.load("photo.safetensors")
    assert inversion.setting.condition == Condition("a sea", guidance_scale=2.0)
    edited = ("edit", cats, "-m", text_folder, "-d", "pc0", "--photo", "photo.safetensors", "--strengths", "0,2")
    assert "note" not in ran(run, *edited)
    sampler = hspace.Sampler.on(hspace.load(text_folder, "cpu").under(inversion.setting.condition), inversion.setting)
    expected = strip(sampler, inversion, [Directions.load(cats)["pc0"]], [0, 2])
    assert np.array_equal(np.asarray(Image.open("strip.png")), np.asarray(expected))
    said = ran(run, *edited, "--prompt", "a house")
    assert "note: the photo was inverted under prompt 'a sea', guidance 2; here prompt 'a house', guidance 2: " in said


def test_classes(run: Run, class_folder: Path) -> None:
    asked = ("pca", "-m", class_folder, "-n", 6, "-k", 1, "-s", 2, "-o", "d.safetensors")
    assert "needs a class, label 0 to 2: give --label" in refused(run, *asked)
    assert "takes a class, label 0 to 2; found 3" in refused(run, *asked, "--label", 3)
    assert "takes no prompt, but a class" in refused(run, *asked, "--prompt", "a cat")
    ran(run, *asked, "--label", 2)
    assert Directions.load("d.safetensors").setting.condition == Condition(label=2)
    ran(run, "sample", "-m", class_folder, "--seeds", "0:2", "-s", 2, "--eta", 0, "--label", 1)
    sampler = hspace.Sampler(hspace.load(class_folder, "cpu", label=1), 2, 0.0)
    assert np.array_equal(np.asarray(Image.open("samples.png")), np.asarray(grid(sampler.run(range(2)))))


def test_what_can_not_be_asked_for(run: Run, tiny_folder: Path, text_folder: Path) -> None:
    said = refused(run, "sample", "-m", tiny_folder, "--prompt", "a cat")
    assert "takes no prompt or class; asked for: prompt 'a cat'" in said
    assert "--shift-in must be both or conditional, not 'first'" in refused(
        run, "sample", "-m", text_folder, "--shift-in", "first"
    )
    assert "takes a prompt, no label" in refused(run, "sample", "-m", text_folder, "--label", 1)
