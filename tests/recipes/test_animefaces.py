"""The recipe of the anime model: all its commands run, at a tiny size; the page shows those that it runs.

The network is the published one's own class, narrow and with random weights: what is tested is that a network of
someone else's goes through every method. tests/models/test_load.py opens the weights themselves.
"""

from __future__ import annotations

import csv
import importlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from typer.testing import CliRunner

from hspace.cli import app

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT.parent / "shared" / "data" / "animefaces"


@pytest.fixture(scope="module")
def recipe() -> Iterator[Any]:
    """Its modules, which import each other as scripts do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "recipes" / "animefaces")
        names = ("attributes", "commands", "figures", "run")
        yield {name: importlib.import_module(name) for name in names}
        for name in names:
            patch.delitem(sys.modules, name)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, recipe: Any) -> Path:
    """A few of the labelled ones."""
    if not PICTURES.is_dir():
        pytest.skip("no ../shared/data/animefaces beside the repository")
    folder = tmp_path_factory.mktemp("pictures")
    with (PICTURES / "labels.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    wanted = {f"{name}.png" for name in recipe["commands"].PHOTOS}
    rows = [row for i, row in enumerate(rows) if i % 20 == 0 or row["file"] in wanted]
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    for row in rows:
        shutil.copy(PICTURES / row["file"], folder)
    return folder


@pytest.fixture
def narrow(shared_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published class with 8 channels instead of 64 takes the place of the model."""
    folder = tmp_path / "narrow"
    folder.mkdir()
    source = (shared_models / "animefaces64" / "network.py").read_text(encoding="utf-8")
    small = "\n\ndef load():\n    torch.manual_seed(0)\n    return KerasUNet(base=8).eval()\n"
    (folder / "network.py").write_text(source + small, encoding="utf-8")
    monkeypatch.setenv("ANIMEFACES64", str(folder))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "network", raising=False)
    monkeypatch.chdir(ROOT)


@pytest.mark.usefixtures("narrow")
def test_every_command_runs_on_a_network_of_someone_elses(
    recipe: Any, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANIMEFACES", str(pictures))
    tiny = recipe["commands"].Size(
        grid=2,
        steps=2,
        steps_of_one=3,
        steps_scored=2,
        steps_learned=2,
        samples=4,
        components=2,
        quantile=0.05,
        unit=2,
        unit_of_one=2,
        scored=6,
        extremes=2,
        unit_scored=2,
        learned=2,
        span=2,
        reconstructor="lenet",
        per_iteration=2,
        checked=4,
        minutes=1,
        iterations=2,
        judged=2,
        controls=19,
        unit_judged=2,
        dtype="float32",
    )
    work = tmp_path / "work"
    for stage in recipe["commands"].stages(work, pictures, tiny):
        for words in stage.arguments():
            result = CliRunner().invoke(app, words)
            assert result.exit_code == 0, f"{stage.name}: {result.output}"
    recipe["figures"].draw(work, tmp_path)
    for name in ("mouth", "eyes", "pca", "labelled", "annotated", "learned"):
        with safe_open(work / f"{name}.safetensors", "pt") as file:
            for key in file.keys():  # noqa: SIM118  # it is no dict
                tensor = file.get_tensor(key)
                assert not tensor.is_floating_point() or bool(tensor.isfinite().all()), (name, key)
    for picture in (tmp_path / "anime-jacobian.png", work / "learned.png", work / "swap.png"):
        assert Image.open(picture).width > 64
    assert Image.open(work / "both.png").height > 64
    assert (work / "learned.html").stat().st_size > 10_000


def test_a_stage_runs_once_and_says_what_it_cost(recipe: Any, tmp_path: Path) -> None:
    stage = recipe["commands"].Stage("version", ("hspace --version",))
    for _ in range(2):
        recipe["run"].run(stage, tmp_path / "work")
    (cost,) = (tmp_path / "work" / "costs.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(cost)["command"] == "hspace --version"
    assert json.loads(cost)["cpu_minutes"] > 0


def test_the_page_shows_the_commands_that_the_recipe_runs(recipe: Any) -> None:
    page = (ROOT / "docs" / "animefaces.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^    (hspace .*)$", page.replace(" \\\n      ", " "), re.MULTILINE))
    ran = {
        command
        for stage in recipe["commands"].stages(Path("runs/animefaces"), Path("../shared/data/animefaces"))
        for command in stage.commands
    }
    assert shown == ran


def test_the_scorer_follows_what_the_detector_measured(
    recipe: Any, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From part of the pictures: brighter ones, and only they, are called brighter."""
    monkeypatch.setenv("ANIMEFACES", str(pictures))
    attributes = recipe["attributes"]
    attributes._data.cache_clear()
    attributes._regression.cache_clear()
    images = torch.linspace(-1, 1, 5)[:, None, None, None].expand(5, 3, 64, 64)
    found = attributes.scores(images)
    assert set(found) == set(attributes.COLUMNS)
    assert bool((found["hair_val"].diff() > 0).all())
    assert {name: int(mask.sum()) for name, mask in attributes.parts(images[:1]).items()} == {"eyes": 680, "mouth": 198}
