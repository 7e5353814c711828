"""`hspace evaluate` on directions of a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Run

from hspace.directions import Directions

JUDGE = "def judge(images):\n    return {'bright': images.mean((1, 2, 3)), 'red': images[:, 0].mean((1, 2))}\n"


@pytest.fixture
def judged(tmp_path: Path) -> tuple[str, str]:
    (tmp_path / "judge.py").write_text(JUDGE)
    return ("--scorer", "judge.py:judge")


def test_measures_and_draws(
    run: Run, tiny_folder: Path, directions_file: Path, judged: tuple[str, str], tmp_path: Path
) -> None:
    result = run(
        *("evaluate", directions_file, "-m", tiny_folder, *judged, "-n", 3, "--controls", 20, "--device", "cpu"),
        *("--figure", "matrix.png", "-o", "found.json", "-d", "pc0", "-d", "pc2"),
    )
    assert result.exit_code == 0, result.output
    assert "pc2 " in result.output
    found = json.loads((tmp_path / "found.json").read_text())
    assert [item["direction"] for item in found["directions"]] == ["pc0", "pc2"]
    assert found["strengths"] == [-3.0, -1.5, 0.0, 1.5, 3.0]
    assert found["directions"][0]["controls"]["gaussian"]["controls"] == 20
    assert found["command"].startswith("hspace evaluate ")
    assert (tmp_path / "matrix.png").stat().st_size > 0
    again = run(
        *("evaluate", directions_file, "-m", tiny_folder, *judged, "-n", 2, "--device", "cpu", "--strengths", "-3,3"),
        *("--within", directions_file),
    )
    assert again.exit_code == 0, again.output
    kinds = json.loads((tmp_path / "evaluation.json").read_text())["directions"][1]["controls"]
    assert list(kinds) == ["gaussian", "span"]
    again = run("evaluate", directions_file, "-m", tiny_folder, *judged, "-n", 2, "--controls", 0, "--device", "cpu")
    assert again.exit_code == 0, again.output
    row = json.loads((tmp_path / "evaluation.json").read_text())["directions"][0]
    assert (row["controls"], row["real"]) == ({}, None)


def test_the_table_before_and_after_projection(
    run: Run, tiny_folder: Path, directions_file: Path, judged: tuple[str, str], tmp_path: Path
) -> None:
    pcs = Directions.load(directions_file)
    names = ("pc0 + pc1", "pc1", "pc2 + pc0")
    Directions([pcs[0] + pcs[1], pcs[1], pcs[2] + pcs[0]]).save(tmp_path / "mixed.safetensors")
    result = run(
        *("evaluate", "mixed.safetensors", "-m", tiny_folder, *judged, "-n", 2, "--repeats", 3, "--controls", 0),
        *("--strengths", "0,3", "--projected", "--device", "cpu", "--named", "named.safetensors"),
    )
    assert result.exit_code == 0, result.output
    assert "before -> after projection" in result.output
    assert "…" not in result.output  # whole rows, into a pipe as well
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["strengths"] == [0.0, 3.0]
    assert (found["samples"], found["repeats"]) == (6, 3)
    before, after = found["directions"], found["projected"]["directions"]
    assert [row["direction"] for row in after] == list(names)
    assert len(before[0]["repeats"]) == 3
    pairs = [(row["effects"]["red"], clean["effects"]["red"]) for row, clean in zip(before, after, strict=True)]
    assert max(abs(old - new) for old, new in pairs) > 0.01
    moves = Directions.load(tmp_path / "named.safetensors")[0].origin["moves"]
    assert moves["attribute"] in ("bright", "red")


def test_several_files_are_one_set(
    run: Run, tiny_folder: Path, directions_file: Path, judged: tuple[str, str], tmp_path: Path
) -> None:
    other = tmp_path / "other.safetensors"
    options = ("-m", tiny_folder, "-s", 4, "--device", "cpu")
    pcs = Directions.load(directions_file)
    Directions([2.0 * pcs[1], -pcs[0]]).renamed({"2 pc1": "pc1", "-pc0": "pc0"}).save(other)
    result = run(
        *("evaluate", directions_file, other, "-m", tiny_folder, *judged, "-n", 2, "--controls", 0, "--device", "cpu"),
    )
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "evaluation.json").read_text())
    names = [row["direction"] for row in found["directions"]]
    assert names == ["pcs pc0", "pcs pc1", "pc2", "other pc1", "other pc0"]
    red = {row["direction"]: row["effects"]["red"] for row in found["directions"]}
    assert red["other pc0"] == pytest.approx(-red["pcs pc0"], rel=1e-2)  # the same, turned round
    assert found["duplicates"] == []  # none of them does much
    asymmetric = tmp_path / "asymmetric.safetensors"
    assert run("pca", *options, "-n", 12, "-k", 2, "--injection", "asymmetric", "-o", asymmetric).exit_code == 0
    refused = run("evaluate", directions_file, asymmetric, "-m", tiny_folder, *judged, "--device", "cpu")
    assert refused.exit_code == 2
    assert "asymmetric.safetensors has directions of another setting" in refused.output
    refused = run("evaluate", directions_file, other, *judged, "--named", "n.safetensors")
    assert refused.exit_code == 2
    assert "--named takes one file of directions" in refused.output
    (tmp_path / "more").mkdir()
    twin = tmp_path / "more" / "pcs.safetensors"
    pcs.save(twin)
    refused = run("evaluate", directions_file, twin, "-m", tiny_folder, *judged, "--device", "cpu")
    assert refused.exit_code == 2
    assert "have the same name and directions: rename one of them" in refused.output


def test_shuffled_labels(run: Run, tiny_folder: Path, judged: tuple[str, str], tmp_path: Path) -> None:
    result = run(
        *("supervised", *judged, "-n", 12, "--extremes", 4, "--shuffles", 20, "-m", tiny_folder, "-s", 3),
        *("--unit-samples", 8, "-o", "two.safetensors", "--device", "cpu"),
    )
    assert result.exit_code == 0, result.output
    assert "20 of each from shuffled labels in two-shuffled.safetensors" in result.output
    result = run(
        *("evaluate", "two.safetensors", "-m", tiny_folder, *judged, "-n", 2, "--controls", 0, "--device", "cpu"),
        *("--shuffled", "two-shuffled.safetensors"),
    )
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert [row["attribute"] for row in found["directions"]] == ["bright", "red"]
    assert list(found["directions"][0]["controls"]) == ["shuffled"]
    assert "from shuffled labels" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-n", 1), "--samples must be at least 2, not 1"),
        (("--level", 0), "a level of significance is between 0 and 1, not 0"),
        (("--unit-samples", -1), "--unit-samples must not be negative, but is -1"),
        (("--controls", -1), "--controls must not be negative, but is -1"),
        (("--controls", 3), "3 controls of each direction can show nothing at the level 0.05: take 20"),
        (("--strengths", "a"), "--strengths must be numbers separated by commas, not 'a'"),
        (("--strengths", "0"), "a response needs at least 1 strength besides 0"),
        (("--repeats", 0), "--repeats must be at least 1, not 0"),
        (("--distance", "judge.py:judge", "--distance", "judge.py:judge"), "there is a distance 'judge' already"),
        (("--distance", "far"), "no distance 'far': expected clip:MODEL, lpips or module:function"),
        (("-d", "pc9"), "no direction 'pc9'; there are pc0, pc1, pc2"),
        (("--figure", "m"), "expected the name of a picture, such as m.png"),
    ],
)
def test_bad_input(
    run: Run,
    tiny_folder: Path,
    directions_file: Path,
    judged: tuple[str, str],
    tmp_path: Path,
    arguments: tuple[object, ...],
    message: str,
) -> None:
    result = run("evaluate", directions_file, "-m", tiny_folder, *judged, "--device", "cpu", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert not (tmp_path / "evaluation.json").exists()


def test_report(run: Run, tiny_folder: Path, directions_file: Path, judged: tuple[str, str], tmp_path: Path) -> None:
    result = run(
        *("report", directions_file, "-m", tiny_folder, *judged, "-n", 2, "--controls", 20, "--device", "cpu"),
        *("-o", "page.html", "--strengths", "-2,2", "--title", "Three"),
    )
    assert result.exit_code == 0, result.output
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count('<img src="data:image/png;base64,') == 3
    assert "hspace pca " in page  # what makes them again
    assert "<h1>Three</h1>" in page
    refused = run("report", directions_file, "-m", tiny_folder, *judged, "--shown", 0, "-o", "other.html")
    assert refused.exit_code == 2
    assert "--shown must be from 1 to the number of samples, 16, not 0" in refused.output
    assert not (tmp_path / "other.html").exists()
