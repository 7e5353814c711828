"""`hspace benchmark` on the bundled model, as small as it gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Run

SMALL = ("--calls", 36, "-k", 2, "-n", 2, "--unit-samples", 2, "-s", 3, "--device", "cpu")


def test_runs_and_goes_on(run: Run, tmp_path: Path) -> None:
    made = run("pca", "-n", 4, "-k", 2, "-s", 3, "-o", "mine.safetensors", "--device", "cpu")
    assert made.exit_code == 0, made.output
    result = run(
        *("benchmark", *SMALL, "--methods", "pca, random-noise", "--also", "mine=mine.safetensors"),
        *("--table", "table.md", "--figure", "figure.png"),
    )
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "benchmark.json").read_text())
    assert found["command"].startswith("hspace benchmark ")
    assert [row["method"] for row in found["rows"]] == ["pca", "pca", "random-noise", "mine", "mine"]
    assert found["rows"][0]["calls"] == 36
    assert (tmp_path / "table.md").read_text() in result.output
    assert (tmp_path / "figure.png").stat().st_size > 0
    again = run("benchmark", *SMALL, "--methods", "pca")
    assert again.exit_code == 0, again.output
    assert "finding" not in again.output
    other = run("benchmark", *SMALL[2:], "--calls", 40, "--methods", "pca")
    assert other.exit_code == 2
    assert "benchmark holds another benchmark: its calls is 36, here 40; take another folder" in other.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--methods", "gan"), "no method 'gan'; there are pca, "),
        (("--calls", 3), "3 calls are too few for 2 directions on a grid of 3 steps: take 36 at least"),
        (("-n", 1), "--samples must be at least 2, not 1"),
        (("--also", "mine"), "--also must look like NAME=FILE, not 'mine'"),
        (("--also", "mine=no.safetensors"), "no.safetensors"),
        (("--figure", "f"), "expected the name of a picture, such as f.png"),
    ],
)
def test_bad_input(run: Run, tmp_path: Path, arguments: tuple[object, ...], message: str) -> None:
    result = run("benchmark", *SMALL, *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert not (tmp_path / "benchmark.json").exists()


def test_another_model(run: Run, tiny_folder: Path) -> None:
    result = run("benchmark", *SMALL, "-m", tiny_folder)
    assert result.exit_code == 2
    assert "factors are known of portraits of shape (3, 64, 64)" in result.output
