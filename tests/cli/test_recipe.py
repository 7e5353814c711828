"""Recipes and masks of `hspace edit`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from tests import tiny
from tests.cli.conftest import Run

import hspace
from hspace.cli.edit import mask_for
from hspace.diffusion import Inversion
from hspace.directions import Directions, Edit, Recipe
from hspace.plot import grid, to_uint8


@pytest.fixture
def noise_file(run: Run, tiny_folder: Path, tmp_path: Path) -> Path:
    """A direction `n` of x_T, on the grid of `directions_file`."""
    sampler = hspace.Sampler(hspace.load(tiny_folder, device="cpu"), 4)
    vectors = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    path = tmp_path / "x.safetensors"
    Directions([hspace.Direction(vectors, sampler.setting(space="noise"), "n")]).save(path)
    return path


def ran(run: Run, *arguments: object) -> str:
    result = run(*arguments, "--device", "cpu")
    assert result.exit_code == 0, result.output
    return result.stdout


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path))


def test_an_edit_is_drawn_again_from_its_recipe(
    run: Run, directions_file: Path, noise_file: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    model = ("-m", tiny_folder)
    terms = ("--set", "pc0=2", "--set", "pc2=-1.5", "--without", "pc1", "--window", "80:20", "--mask", "0,0,8,4")
    said = ran(run, "edit", directions_file, *model, *terms, "--seeds", "3:6", "--save-recipe", "r.json")
    assert "recipe of " in said
    assert "hspace edit --recipe r.json" in said
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("r.json", "pcs.safetensors"):
        (tmp_path / name).rename(moved / name)
    first, second = moved / "1.png", moved / "2.png"
    assert "3 pictures of 2 pc0 without pc1 - 1.5 pc2 without pc1" in ran(
        run, "edit", "--recipe", moved / "r.json", *model, "-o", first
    )
    ran(run, "edit", "--recipe", moved / "r.json", *model, "-o", second)
    assert first.read_bytes() == second.read_bytes()
    denoiser = hspace.load(tiny_folder, device="cpu")
    images = Recipe.load(moved / "r.json").run(denoiser)
    assert np.array_equal(pixels(first), np.asarray(grid(images)))
    tile = pixels(first)[4:100:12, 4:100:12]  # enlarged by 12, within a border of 4
    assert np.array_equal(tile, to_uint8(images)[0])
    pcs, upper = Directions.load(moved / "pcs.safetensors"), torch.zeros(4, 4)
    upper[:2] = 1
    clean = [pcs[name].without(pcs["pc1"]) for name in ("pc0", "pc2")]
    edit = Edit.of(clean[0], 2.0, window=(80, 20), mask=upper) + Edit.of(clean[1], -1.5, window=(80, 20), mask=upper)
    sampler = hspace.Sampler.on(denoiser, pcs.setting)
    assert torch.equal(images, sampler.run([3, 4, 5], edit))


def test_a_photo_is_drawn_again_from_its_recipe(
    run: Run, directions_file: Path, noise_file: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    for name, shade in (("one", 60), ("two", 200)):
        Image.new("L", (30, 20), shade).save(tmp_path / f"{name}.png")
    model = ("-m", tiny_folder)
    ran(run, "invert", "one.png", "two.png", *model, "-s", 4, "-o", "photo.safetensors")
    terms = ("--set", "pc1=1.5", "--set", f"{noise_file}:n=0.5", "--injection", "asymmetric")
    ran(run, "edit", directions_file, *model, *terms, "--photo", "photo.safetensors", "--save-recipe", "new/r.json")
    recipe = Recipe.load(tmp_path / "new" / "r.json")
    ran(run, "edit", "--recipe", "new/r.json", *model, "-o", "again.png")
    denoiser = hspace.load(tiny_folder, device="cpu")
    pcs, n = Directions.load(directions_file), Directions.load(noise_file)["n"]
    edit = Edit.of(pcs["pc1"], 1.5, injection="asymmetric") + Edit.of(n, 0.5)
    expected = hspace.Sampler.on(denoiser, pcs.setting).run(Inversion.load(tmp_path / "photo.safetensors"), edit)
    assert torch.equal(recipe.run(denoiser), expected)
    assert np.array_equal(pixels(tmp_path / "again.png"), np.asarray(grid(expected)))
    data = json.loads((tmp_path / "new" / "r.json").read_text())
    assert [term["file"] for term in data["terms"]] == ["../pcs.safetensors", "../x.safetensors"]
    assert data["samples"]["inversion"] == "../photo.safetensors"


def test_one_direction_is_a_recipe_at_strength_1(run: Run, directions_file: Path, tiny_folder: Path) -> None:
    model = ("-m", tiny_folder, "--dtype", "bfloat16")
    ran(
        run, "edit", directions_file, *model, "-d", "pc2", "--seeds", "7", "--strengths", "3", "--save-recipe", "r.json"
    )
    recipe = Recipe.load("r.json")
    assert (recipe.precision, recipe.samples) == ("bfloat16", (7,))
    (term,) = recipe.edit().terms
    assert (term.direction.name, term.strength) == ("pc2", 1.0)
    ran(run, "edit", "--recipe", "r.json", "-m", tiny_folder, "-o", "again.png")  # in its precision by itself
    denoiser = hspace.load(tiny_folder, device="cpu", dtype=torch.bfloat16)
    assert np.array_equal(pixels(Path("again.png")), np.asarray(grid(recipe.run(denoiser))))


def test_directions_of_x_t_are_drawn(run: Run, noise_file: Path, tiny_folder: Path, tmp_path: Path) -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[:4] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    options = ("--seeds", "5", "--strengths", "0,2", "--mask", "mask.png")
    ran(run, "edit", noise_file, "-m", tiny_folder, *options, "--save-recipe", "r.json")
    n = Directions.load(noise_file)["n"]
    sampler = hspace.Sampler.on(hspace.load(tiny_folder, device="cpu"), n.setting)
    edit = Edit.of(n, mask=torch.from_numpy(mask / 255.0))
    hspace.plot.strip(sampler, [5], edit, [0.0, 2.0]).save("expected.png")
    assert np.array_equal(pixels(tmp_path / "strip.png"), pixels(tmp_path / "expected.png"))
    assert torch.equal(Recipe.load("r.json").run(sampler.model), sampler.run([5], edit))


def test_a_mask_is_averaged_over_the_cells_of_h(tmp_path: Path) -> None:
    model = tiny.denoiser()
    h, x_T = hspace.Sampler(model, 2).setting(), hspace.Sampler(model, 2).setting(space="noise")
    mask = mask_for("1,0,4,2", model, h)
    assert torch.equal(mask, torch.tensor([[0.5, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    expected = torch.from_numpy(grey / 255.0).reshape(4, 2, 4, 2).mean((1, 3)).float()
    torch.testing.assert_close(mask_for(str(tmp_path / "grey.png"), model, h), expected)
    torch.testing.assert_close(mask_for(str(tmp_path / "grey.png"), model, x_T), torch.from_numpy(grey / 255.0).float())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("edit",), "give a file of directions, or --recipe"),
        (("edit", "{file}", "--recipe", "r.json"), "--recipe holds the whole edit: leave out FILE"),
        (
            (
                "edit",
                "--recipe",
                "r.json",
                "--seeds",
                "1",
                "--set",
                "a=1",
                "--save-recipe",
                "s.json",
                "--dtype",
                "float64",
            ),
            "leave out --set, --seeds, --save-recipe, --dtype",
        ),
        (("edit", "--recipe", "r.json", "-s", 3, "--eta", "0", "--mask", "x"), "leave out --mask, --steps, --eta"),
        (("edit", "--recipe", "nothing.json", "-m", "{tiny}"), "nothing.json: expected a recipe, found nothing"),
        (("edit", "--recipe", "{file}", "-m", "{tiny}"), "pcs.safetensors: no readable JSON"),
        (("edit", "--recipe", "r.json", "-o", "picture"), "expected the name of a picture, such as picture.png"),
        (
            ("edit", "{file}", "-m", "{tiny}", "--save-recipe", "r.json"),
            "--save-recipe is for one edit, not for 3 rows",
        ),
        (("edit", "{file}", "-m", "{tiny}", "-d", "pc0", "--save-recipe", "{folder}"), "it is a folder"),
        (
            ("edit", "{file}", "-m", "{tiny}", "--set", "nowhere.safetensors:a=1"),
            "nowhere.safetensors: expected a file",
        ),
        (("edit", "{file}", "-m", "{tiny}", "--set", "{file}:a=1"), "no direction 'a'; there are pc0, pc1, pc2"),
        (("edit", "{file}", "-m", "{tiny}", "--mask", "0,0,9,9"), "box 0,0,9,9: expected 0 <= x0 < x1 <= 8"),
        (("edit", "{file}", "-m", "{tiny}", "--mask", "mouth"), "mask 'mouth' is no box"),
        (("edit", "{file}", "-m", "{tiny}", "--mask", "small.png"), "mask small.png has shape (4, 4), expected (8, 8)"),
    ],
)
def test_bad_input_is_one_line(
    run: Run, directions_file: Path, tiny_folder: Path, tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    Image.new("L", (4, 4), 255).save(tmp_path / "small.png")
    before = {path.name for path in tmp_path.iterdir()}
    filled = [str(a).format(file=directions_file, tiny=tiny_folder, folder=tmp_path) for a in arguments]
    result = run(*filled)
    assert result.exit_code == 2, result.output
    line = result.stderr.strip().splitlines()[-1]
    assert line.startswith("hspace: ")
    assert message in line
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_recipe_whose_files_or_model_are_gone(run: Run, directions_file: Path, tiny_folder: Path) -> None:
    ran(run, "edit", directions_file, "-m", tiny_folder, "-d", "pc0", "--strengths", "1", "--save-recipe", "r.json")
    unknown = run("edit", "--recipe", "r.json")
    assert unknown.exit_code == 2
    assert "unknown model 'tiny'" in unknown.stderr
    other = run("edit", "--recipe", "r.json", "-m", "faces64", "--device", "cpu")
    assert other.exit_code == 2
    assert "a direction of another model" in other.stderr
    directions_file.unlink()
    gone = run("edit", "--recipe", "r.json", "-m", tiny_folder)
    assert gone.exit_code == 2
    assert "pcs.safetensors: the recipe needs the file with sha256" in gone.stderr


def test_the_model_is_the_one_that_the_recipe_names(run: Run, tmp_path: Path) -> None:
    sampler = hspace.Sampler(hspace.load("faces64", device="cpu"), 2)
    directions = hspace.random_directions(sampler.setting(), [1.0, 1.0])
    directions.save("d.safetensors")
    Edit.of(directions[0], 2.0).save("r.json", sampler, [1], files=["d.safetensors"])
    ran(run, "edit", "--recipe", "r.json", "-o", "r.png")
    assert np.array_equal(pixels(tmp_path / "r.png"), np.asarray(grid(sampler.run([1], 2.0 * directions[0]))))
