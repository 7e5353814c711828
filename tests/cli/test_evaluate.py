"""`hspace evaluate` on directions of a tiny model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Run

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
    assert found["directions"][0]["control"]["controls"] == 20
    assert (tmp_path / "matrix.png").stat().st_size > 0
    again = run(
        *("evaluate", directions_file, "-m", tiny_folder, *judged, "-n", 2, "--device", "cpu", "--strengths", "-3,3"),
        *("--within", directions_file),
    )
    assert again.exit_code == 0, again.output
    again = run("evaluate", directions_file, "-m", tiny_folder, *judged, "-n", 2, "--controls", 0, "--device", "cpu")
    assert again.exit_code == 0, again.output
    assert json.loads((tmp_path / "evaluation.json").read_text())["directions"][0]["control"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-n", 1), "--samples must be at least 2, not 1"),
        (("--level", 0), "a level of significance is between 0 and 1, not 0"),
        (("--unit-samples", -1), "--unit-samples must not be negative, but is -1"),
        (("--controls", -1), "--controls must not be negative, but is -1"),
        (("--controls", 3), "3 controls of each direction can show nothing at the level 0.05: take 20"),
        (("--strengths", "a"), "--strengths must be numbers separated by commas, not 'a'"),
        (("--strengths", "0"), "a response needs at least 2 strengths besides 0"),
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
    assert "<h1>Three</h1>" in page
    refused = run("report", directions_file, "-m", tiny_folder, *judged, "--shown", 0, "-o", "other.html")
    assert refused.exit_code == 2
    assert "--shown must be at least 1, not 0" in refused.output
    assert not (tmp_path / "other.html").exists()
