"""The commands as users run them, on a tiny real model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tests.cli.conftest import Run

import hspace
from hspace.diffusion import Inversion
from hspace.plot import to_uint8


def test_sample_draws_the_pictures_of_the_library(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    assert run("sample", "-m", tiny_folder, "--seeds", "0:3,7", "-s", 3, "-o", "each", "--device", "cpu").exit_code == 0
    sampler = hspace.Sampler(hspace.load(tiny_folder, device="cpu"), steps=3, eta=1.0)
    expected = to_uint8(sampler.run([7]))[0].astype(int)
    assert sorted(path.name for path in (tmp_path / "each").iterdir()) == ["0.png", "1.png", "2.png", "7.png"]
    assert np.abs(np.asarray(Image.open(tmp_path / "each" / "7.png")).astype(int) - expected).max() <= 1


def test_sample_draws_one_picture_of_all(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    result = run("sample", "-m", tiny_folder, "--seeds", "0:4", "-s", 2, "-o", "new/all.png", "--eta", "0,0.5")
    assert result.exit_code == 0, result.output
    assert Image.open(tmp_path / "new" / "all.png").size == (204, 204)


def test_pca_finds_what_the_library_finds(run: Run, tiny_folder: Path, directions_file: Path) -> None:
    sampler = hspace.Sampler(hspace.load(tiny_folder, device="cpu"), steps=4, eta=1.0)
    expected = hspace.PCA(3).fit(sampler, range(12)).directions_
    found = hspace.Directions.load(directions_file)
    assert found.names == expected.names
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.vectors, b.vectors)


def test_pca_draws_curves_and_a_strip(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    options = ("-n", 6, "-k", 2, "-s", 2, "--figure", "f.png", "--picture", "p.png", "--joint")
    assert run("pca", "-m", tiny_folder, *options).exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"directions.safetensors", "f.png", "p.png"}


def test_jacobian_finds_what_the_library_finds(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    options = ("--seeds", "5", "--timesteps", "25", "-k", 2, "-s", 4, "--unit-samples", 6, "--device", "cpu")
    mask = ("--mask", "2,2,6,7", "--outside-rank", 2)
    result = run("jacobian", "-m", tiny_folder, *options, *mask, "-o", "new/j.safetensors")
    assert result.exit_code == 0, result.output
    assert "products with the Jacobian (double_vjp; replayed: 6 modules" in result.stdout
    sampler = hspace.Sampler(hspace.load(tiny_folder, device="cpu"), steps=4)
    fitted = hspace.Jacobian(2, timesteps=25, mask=(2, 2, 6, 7), outside_rank=2, unit_seeds=range(6)).fit(sampler, [5])
    found = hspace.Directions.load(tmp_path / "new" / "j.safetensors")
    assert found.names == fitted.directions_.names == ("t25-0", "t25-1")
    for a, b in zip(found, fitted.directions_, strict=True):
        torch.testing.assert_close(a.vectors, b.vectors)


def test_jacobian_draws_curves_strip_and_heatmaps(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    mask = np.zeros((8, 8), np.uint8)
    mask[2:6, 1:5] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    pictures = ("--figure", "f.png", "--picture", "p.png", "--saliency", "s.png", "--mask", "mask.png")
    options = ("--seeds", "0:2", "--timesteps", "spread:2", "-k", 1, "-s", 4, "--unit-samples", 4)
    result = run("jacobian", "-m", tiny_folder, *options, *pictures)
    assert result.exit_code == 0, result.output
    assert {p.name for p in tmp_path.iterdir()} == {"jacobian.safetensors", "f.png", "p.png", "s.png", "mask.png"}
    shown = run("inspect", "jacobian.safetensors")
    assert "singular value" in " ".join(shown.stdout.split())


def test_jacobian_that_has_not_converged_says_so_everywhere(run: Run, tiny_folder: Path) -> None:
    options = ("--timesteps", "25", "-k", 3, "-s", 4, "--unit-samples", 4, "--max-products", 3)
    result = run("jacobian", "-m", tiny_folder, *options)
    assert result.exit_code == 0, result.output
    assert "warning: 1 of 1 Jacobians did not converge in 3 products" in result.stdout
    everything = json.loads(run("inspect", "jacobian.safetensors", "--json").stdout)
    assert not any(item["origin"]["converged"] for item in everything["directions"])


def test_jacobian_pools_many_images(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    options = ("--seeds", "0:3", "--timesteps", "25", "-k", 2, "-s", 4, "--unit-samples", 4, "--pooled")
    assert run("jacobian", "-m", tiny_folder, *options).exit_code == 0
    found = hspace.Directions.load(tmp_path / "jacobian.safetensors")
    assert found.names == ("t25-0", "t25-1")
    assert found[0].origin["images"] == 3


def test_photos_are_inverted_edited_and_looked_at(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    for name, shade in (("one", 60), ("two", 200)):
        Image.new("L", (30, 20), shade).save(tmp_path / f"{name}.jpg")
    model = ("-m", tiny_folder, "--device", "cpu")
    result = run("invert", "one.jpg", "two.jpg", *model, "-s", 4, "-o", "photo.safetensors", "--preview", "both.png")
    assert result.exit_code == 0, result.output
    inversion = Inversion.load(tmp_path / "photo.safetensors")
    assert inversion.names == ("one", "two")
    assert float(inversion.psnr.min()) > 60
    found = run("jacobian", *model, "--photo", "photo.safetensors", "--timesteps", "25", "-k", 1, "--unit-samples", 4)
    assert found.exit_code == 0, found.output
    assert hspace.Directions.load(tmp_path / "jacobian.safetensors").names == ("one-t25-0", "two-t25-0")
    edited = run("edit", "jacobian.safetensors", *model, "--photo", "photo.safetensors", "-d", "one-t25-0")
    assert edited.exit_code == 0, edited.output
    assert (tmp_path / "strip.png").exists()
    refused = run("edit", "jacobian.safetensors", *model, "--photo", "photo.safetensors", "-s", 9)
    assert refused.exit_code == 2
    assert "leave out --steps" in refused.stderr


def test_unreadable_photos_are_skipped_if_asked_for(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    Image.new("L", (8, 8), 60).save(tmp_path / "one.png")
    (tmp_path / "two.png").write_bytes(b"no picture")
    arguments = ("invert", "one.png", "two.png", "-m", tiny_folder, "--device", "cpu", "-s", 2)
    refused = run(*arguments)
    assert refused.exit_code == 2
    assert "two.png: no readable picture" in refused.stderr
    skipped = run(*arguments, "--skip-unreadable")
    assert skipped.exit_code == 0, skipped.output
    assert "skipped two.png: no readable picture" in skipped.output
    assert Inversion.load(tmp_path / "photo.safetensors").names == ("one",)


def test_edit_opens_the_model_that_the_file_names(
    run: Run, directions_file: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    result = run("edit", directions_file, "-m", tiny_folder, "-d", "pc1", "--seeds", "5", "--strengths", "-2,0,2")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "strip.png").exists()
    unknown = run("edit", directions_file)
    assert unknown.exit_code == 2
    assert "unknown model 'tiny'" in unknown.stderr


def test_edit_sums_what_is_set(run: Run, directions_file: Path, tiny_folder: Path, tmp_path: Path) -> None:
    terms = ("--set", "pc0=2", "--set", "pc2=-1", "--window", "80:20", "--injection", "asymmetric")
    options = (*terms, "-o", "sum.png", "--eta", "0", "-s", "5")
    assert run("edit", directions_file, "-m", tiny_folder, *options).exit_code == 0
    assert (tmp_path / "sum.png").exists()


def test_an_edit_with_another_eta_keeps_the_grid(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    model = ("-m", tiny_folder)
    run("pca", *model, "-n", 6, "-k", 2, "-s", 3, "--start", 60, "--eta", "1,0.5,0", "-o", "low.safetensors")
    found = hspace.Directions.load(tmp_path / "low.safetensors")
    assert run("edit", "low.safetensors", *model, "--eta", "0", "--strengths", "2", "-d", "pc0").exit_code == 0
    sampler = hspace.Sampler(hspace.load(tiny_folder, device="cpu"), steps=3, eta=0.0, start=60)
    hspace.plot.strip(sampler, [0, 1], found["pc0"], [2.0]).save("expected.png")
    assert np.array_equal(np.asarray(Image.open("strip.png")), np.asarray(Image.open("expected.png")))
    refused = run("edit", "low.safetensors", *model, "-s", 4)
    assert refused.exit_code == 2
    assert "found with one eta a step" in refused.stderr


def test_inspect_tells_where_directions_come_from(run: Run, directions_file: Path) -> None:
    text = run("inspect", directions_file).stdout
    for part in ("tiny", "mid_block", "8 x 4 x 4", "4 steps", "pc0", "pc2", "12 samples", hspace.__version__):
        assert part in text
    data = json.loads(run("inspect", directions_file, "--json").stdout)
    assert [item["name"] for item in data["directions"]] == ["pc0", "pc1", "pc2"]
    assert data["setting"]["h_shape"] == [8, 4, 4]


def test_demo_goes_the_whole_way(run: Run, tmp_path: Path) -> None:
    result = run("demo", "--samples", 12, "--steps", 2, "--checked", 2, "-o", "demo")
    assert result.exit_code == 0, result.output
    names = {"directions.safetensors", "pca.png", "samples.png", "spectrum.png", "summary.json"}
    assert {path.name for path in (tmp_path / "demo").iterdir()} == names
    summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
    directions = hspace.Directions.load(tmp_path / "demo" / "directions.safetensors")
    for item, direction in zip(summary["components"], directions, strict=True):
        assert direction.origin["command"] == "hspace demo --out demo --samples 12 --steps 2 --checked 2"
        assert direction.origin["moves"]["attribute"] == item["moves"]
        assert abs(item["effects"][item["moves"]]) == max(map(abs, item["effects"].values()))
    assert set(summary["random_of_pc0s_norm"]) == {"random0", "random1"}
    assert "hspace edit demo/directions.safetensors" in result.stdout


def test_version(run: Run) -> None:
    assert run("--version").stdout.strip() == hspace.__version__


def test_a_network_of_ones_own_keeps_its_tap(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "from hspace import Denoiser\n"
        "class Network(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.inner, self.outer = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)\n"
        "    def forward(self, x, t):\n"
        "        return self.outer(self.inner(x))\n"
        "def model():\n"
        "    torch.manual_seed(0)\n"
        "    return Denoiser(Network(), torch.linspace(0.99, 0.01, 50), image_shape=(3, 8, 8), tap='inner')\n"
    )
    result = run("pca", "-m", "mine.py:model", "-n", 6, "-k", 2, "-s", 3, "-o", "mine.safetensors")
    assert result.exit_code == 0, result.output
    assert hspace.Directions.load(tmp_path / "mine.safetensors").setting.tap == "inner"


def test_edit_projects_others_out(run: Run, directions_file: Path, tiny_folder: Path, tmp_path: Path) -> None:
    mixed = hspace.Directions.load(directions_file)
    hspace.Directions([(mixed["pc0"] + mixed["pc1"]).renamed("mixed")]).save(tmp_path / "mixed.safetensors")
    options = ("--without", f"{directions_file}:pc1", "--without", f"{directions_file}:pc2", "--strengths", "0,2")
    result = run("edit", "mixed.safetensors", "-m", tiny_folder, *options)
    assert result.exit_code == 0, result.output
    first, second = (line for line in result.stdout.splitlines() if line.startswith("cosine"))
    assert re.fullmatch(r"cosine of mixed with pc1: \+0\.\d+ before, [+-]0\.000 after", first)
    assert "with pc2" in second
    same = run("edit", "mixed.safetensors", "-m", tiny_folder, "--without", "mixed")
    assert same.exit_code == 2
    assert "nothing is left of 'mixed'" in same.stderr


def test_h_of_other_samples_is_drawn_in_a_table(run: Run, tiny_folder: Path, tmp_path: Path) -> None:
    arguments = ("swap", "-m", tiny_folder, "--device", "cpu", "-s", 2, "--seeds", "0:2", "--donors", "5,6,7")
    result = run(*arguments, "--window", "99:0")
    assert result.exit_code == 0, result.output
    assert "2 samples with the h of 3 others in swap.png" in result.output
    with Image.open(tmp_path / "swap.png") as picture:
        assert picture.width > 4 * 96
        assert picture.height > 3 * 96


def test_names_are_shown_as_they_are(run: Run, directions_file: Path, tmp_path: Path) -> None:
    hspace.Directions.load(directions_file).renamed({"pc0": "[/y]", "pc1": "a [b]c"}).save(tmp_path / "odd.safetensors")
    result = run("inspect", "odd.safetensors")
    assert result.exit_code == 0, result.output
    assert "[/y]" in result.output
    assert "a [b]c" in result.output
