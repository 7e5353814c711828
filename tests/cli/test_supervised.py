"""`hspace supervised`, by its three ways in."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.cli.conftest import Run

import hspace
from hspace.directions import Directions
from hspace.photos import read_photos

SMALL = ("-s", 3, "--unit-samples", 4, "--device", "cpu")
SCORER = """
def colours(images):
    return {"red": images[:, 0].mean((1, 2)), "blue": images[:, 2].mean((1, 2))}

def wrong(images):
    return {"red": [0.0]}

def broken(images):
    return {"red": [float("nan")] * len(images)}

def same(images):
    return {"red": [1.0] * len(images)}
"""


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Twelve pictures, a table of labels, two folders of six."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "album"
    for name in ("album", "dark", "light"):
        (tmp_path / name).mkdir()
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "light", "number", "word", "same"])
        for i in range(12):
            light = i % 2
            pixels = generator.integers(0, 128, (8, 8, 3), dtype=np.uint8) + 127 * light
            for place in (folder, tmp_path / ("light" if light else "dark")):
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{i}.png")
            table.writerow([f"{i}.png", ("no", "yes")[light], i, "much", 1])
    return folder


@pytest.fixture
def scorer(tmp_path: Path) -> Path:
    file = tmp_path / "own_scorer.py"
    file.write_text(SCORER)
    return file


def test_two_folders(run: Run, tiny_folder: Path, album: Path) -> None:
    result = run(
        *("supervised", "-m", tiny_folder, "--positive", "light", "--negative", "dark"),
        *("--picture", "strip.png", "-o", "light.safetensors", *SMALL),
    )
    assert result.exit_code == 0, result.output
    assert "light: 6 with, 6 without" in result.output
    assert "mean     cross-validated balanced accuracy" in result.output
    assert "<- used" in result.output
    direction = Directions.load("light.safetensors")["light"]
    assert direction.setting.schedule.etas == (0.0,) * 3
    photos = read_photos(sorted(Path("light").glob("*.png")) + sorted(Path("dark").glob("*.png")), (3, 8, 8))
    sampler = hspace.Sampler(hspace.load(tiny_folder, device="cpu"), steps=3, eta=0.0)
    expected = hspace.Labelled(unit_seeds=range(4)).fit(sampler, photos, [1] * 6 + [0] * 6).directions_[0]
    assert torch.equal(direction.vectors, expected.vectors)
    assert Image.open("strip.png").width > 400


def test_a_table_of_labels(run: Run, tiny_folder: Path, album: Path) -> None:
    arguments = ("supervised", "-m", tiny_folder, "--photos", "album", "--labels", "labels.csv", *SMALL)
    result = run(*arguments, "--column", "light", "-o", "a.safetensors", "--classifier", "svm")
    assert result.exit_code == 0, result.output
    assert "light: 6 with, 6 without" in result.output
    assert Directions.load("a.safetensors")["light"].origin["parameters"]["classifier"] == "svm"
    result = run(*arguments, "--column", "number", "--quantile", "0.25", "--space", "noise", "-o", "b.safetensors")
    assert result.exit_code == 0, result.output
    assert "number: 3 with, 3 without" in result.output
    assert Directions.load("b.safetensors").setting.space == "noise"
    result = run(*arguments, "--column", "number", "--column", "light", "--threshold", "9")
    assert "number: 2 with, 10 without" in result.output
    assert "light: 6 with, 6 without" in result.output  # labels already


def test_a_scorer_of_ones_own(run: Run, tiny_folder: Path, scorer: Path) -> None:
    arguments = ("supervised", "-m", tiny_folder, "--scorer", f"{scorer}:colours", "-n", 12, "--extremes", 3, *SMALL)
    result = run(*arguments, "-a", "red", "-a", "blue", "--picture", "strip.png")
    assert result.exit_code == 0, result.output
    directions = Directions.load("supervised.safetensors")
    assert directions.names == ("red", "blue")
    assert directions.setting.schedule.etas == (1.0,) * 3
    result = run(*arguments, "-a", "red", "--balance-by", "blue", "--extremes", 2)
    assert result.exit_code == 0, result.output
    edit = ("edit", "supervised.safetensors", "-m", tiny_folder, "-d", "red")
    for follow_up in (("inspect", "supervised.safetensors"), edit):
        result = run(*follow_up)
        assert result.exit_code == 0, result.output
        assert "inspect" not in follow_up or "2 with" in result.output


def test_scores_from_a_table(run: Run, tiny_folder: Path) -> None:
    rows = ["seed,smile", *(f"{seed},{seed % 5}" for seed in range(10))]
    Path("scores.csv").write_text("\n".join(rows))
    arguments = ("supervised", "-m", tiny_folder, "--scorer", "scores.csv", "--extremes", 2, *SMALL)
    result = run(*arguments, "-n", 10)
    assert result.exit_code == 0, result.output
    assert Directions.load("supervised.safetensors").names == ("smile",)
    result = run(*arguments, "-n", 11)
    assert result.exit_code == 2
    assert "10" in result.stderr


def test_unreadable_pictures(run: Run, tiny_folder: Path, album: Path) -> None:
    (album / "3.png").write_bytes(b"\x89PNG not really")
    arguments = ("supervised", "-m", tiny_folder, "--photos", "album", "--labels", "labels.csv", "--column", "light")
    result = run(*arguments, *SMALL)
    assert result.exit_code == 2
    assert "3.png: no readable picture" in result.stderr
    assert not Path("supervised.safetensors").exists()
    result = run(*arguments, *SMALL, "--skip-unreadable")
    assert result.exit_code == 0, result.output
    assert "skipped album/3.png" in result.output
    assert "light: 5 with, 6 without" in result.output
    (album / "4.png").unlink()
    result = run(*arguments, *SMALL)
    assert result.exit_code == 2
    result = run(*arguments, *SMALL, "--skip-unreadable")
    assert "skipped album/4.png: no readable picture (no such file)" in result.output
    assert "light: 5 with, 5 without" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one of: --positive and --negative; --photos, --labels and --column; --scorer"),
        (("--positive", "light", "--scorer", "portraits"), "give one of"),
        (("--positive", "light"), "--positive and --negative go together"),
        (
            ("--positive", "light", "--negative", "dark", "--quantile", 0.1, "--balance-by", "red"),
            "--balance-by, --quantile does not go with --positive and --negative",
        ),
        (("{table}", "--column", "light", "--name", "x"), "--name does not go with --photos, --labels and --column"),
        (("--scorer", "portraits", "--refine", 3), "--refine does not go with --scorer"),
        (("--scorer", "portraits", "--device", "nonsense"), "can't put portraits on device nonsense"),
        (("--photos", "album", "--labels", "blank.csv", "--column", "a"), "blank.csv: no rows in this table"),
        (("--photos", "album", "--labels", "late.csv", "--column", "light"), "late.csv, line 4: light is 'much'"),
        (("--photos", "album", "--labels", "labels.csv"), "--photos, --labels and --column go together"),
        (("--positive", "light", "--negative", "empty"), "empty: no pictures in this folder"),
        (("--positive", "light", "--negative", "nowhere"), "nowhere: expected a folder of pictures, found nothing"),
        (
            ("--positive", "light", "--negative", "labels.csv"),
            "labels.csv: expected a folder of pictures, found a file",
        ),
        (("{table}", "--column", "smile"), "no column 'smile'; there are file, light, number, word, same"),
        (("{table}", "--column", "light", "--file-column", "path"), "no column 'path'"),
        (
            ("{table}", "--column", "light", "--file-column", "word"),
            "none of the 12 files of column 'word' is in album",
        ),
        (("{table}", "--column", "word"), "line 2: word is 'much', expected a number or true or false"),
        (("{table}", "--column", "number"), "give a threshold or a quantile"),
        (("{table}", "--column", "same"), "no picture without 'same'"),
        (("{table}", "--column", "same", "--threshold", 0), "all of them are 1"),
        (("{table}", "--column", "number", "--threshold", 50), "no picture with 'number'"),
        (("{table}", "--column", "number", "--quantile", 0.7), "at most 0.5, not 0.7"),
        (("--photos", "album", "--labels", "no.csv", "--column", "a"), "no.csv: no readable table of labels (no such"),
        (("--photos", "album", "--labels", "empty.csv", "--column", "a"), "empty.csv: no rows in this table"),
        (("--scorer", "{own}:wrong", "-n", 6), "1 scores of 'red' for 6 pictures"),
        (("--scorer", "{own}:broken", "-n", 6), "NaN for 'red'"),
        (("--scorer", "{own}:same", "-n", 6, "--extremes", 2), "all scores of 'red' are 1"),
        (("--scorer", "{own}:colours", "-n", 6, "-a", "smile", "--extremes", 2), "the scorer has no attribute 'smile'"),
        (("--scorer", "{own}:colours", "-n", 6), "6 samples are too few for 100 at each end"),
        (("--scorer", "{own}:colours", "-n", 0), "--samples must be at least 1, not 0"),
        (("--scorer", "{own}:nothing", "-n", 6), "has no function 'nothing'"),
        (("--scorer", "portraits", "--clip-prompt", "smile"), "--clip-prompt must look like"),
        (("--scorer", "portraits", "--classifier", "forest"), "--classifier must be one of mean, svm, logistic"),
        (("--scorer", "portraits", "--space", "w"), "--space must be one of h, noise"),
        (("--positive", "light", "--negative", "dark", "--fit", "squeeze"), "--fit must be one of crop, fit, stretch"),
    ],
)
def test_bad_input_is_one_line(
    run: Run, tiny_folder: Path, album: Path, scorer: Path, arguments: tuple[object, ...], message: str
) -> None:
    Path("empty").mkdir()
    Path("empty.csv").write_text("file,light\n")
    Path("blank.csv").write_text("\n1.png,1\n")
    Path("late.csv").write_text("file,light\n1.png,1\n\n2.png,much\n")
    filled = [str(a).replace("{own}", str(scorer)) for a in arguments]
    table = ["--photos", "album", "--labels", "labels.csv"]
    flat = [part for a in filled for part in (table if a == "{table}" else [a])]
    if "-n" in flat and "--extremes" not in flat and "100 at" not in message:
        flat += ["--extremes", "2"]
    result = run("supervised", "-m", tiny_folder, *SMALL, *flat)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()[-1:]) == 1
    assert not Path("supervised.safetensors").exists()
