"""benchmarks/app_visitors.py for a few seconds, on a real `hspace app`; and that it would see what is wrong."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from hspace.app import exports
from hspace.app.painter import Painter
from hspace.app.scene import Scene
from hspace.directions import Directions

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "app_visitors.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("app_visitors", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["app_visitors"] = module
    spec.loader.exec_module(module)
    return module


def test_three_visitors(tmp_path: Path) -> None:
    """Every picture right, nothing lost, nothing left behind."""
    out = tmp_path / "out.json"
    arguments = ["--model", "tiny", "--visitors", "3", "--minutes", "0.05", "--out", out]
    done = subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert found["bursts"] >= 3
    assert found["pictures"] >= 3 * (found["bursts"] + 3)
    assert found["scenes"] > 3
    assert found["wrong"] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json"]


def test_a_picture_of_something_else_is_seen(benchmark: ModuleType, painter: Painter, pcs: Path) -> None:
    directions = Directions.load(pcs)
    by_name = {each.name: each for each in directions}

    def png(scene: Scene) -> bytes:
        file = io.BytesIO()
        exports.picture(painter.draw(scene, by_name)).save(file, "PNG")
        return file.getvalue()

    mine, theirs = Scene(1, strengths={"pc0": 2.0}), Scene(2, strengths={"pc0": 2.0})
    tally = benchmark.Tally()
    tally.saw(mine, png(mine))
    tally.saw(theirs, png(theirs))
    assert benchmark.verify(tally, painter, directions) == 2
    assert tally.wrong == []
    tally.saw(mine, png(theirs))
    assert benchmark.verify(tally, painter, directions) == 2
    (line,) = tally.wrong
    assert "1 of 2 differ" in line


def test_memory_that_grows_is_seen(benchmark: ModuleType) -> None:
    steady = [(float(t), 600.0 + (300.0 if t > 60 else t) + t % 7) for t in range(600)]
    growing = [(float(t), 600.0 + t / 6) for t in range(600)]
    assert abs(benchmark.memory(steady, 10)["growth"]) < 1
    assert benchmark.memory(growing, 10)["slope_a_minute"] == pytest.approx(10)
    assert benchmark.memory(growing, 10)["growth"] == pytest.approx(80, rel=0.01)


@pytest.mark.parametrize(
    ("before", "changes", "after"),
    [
        ("a", [["append", [], "b"]], "ab"),
        ({"a": {"b": [1, 2]}}, [["replace", ["a", "b", 0], 5], ["add", ["c"], 1]], {"a": {"b": [5, 2]}, "c": 1}),
        ([1, 2, 3], [["add", [3], 4], ["delete", [0], None]], [2, 3, 4]),
        (None, [["replace", [], {"x": 1}]], {"x": 1}),
        ("same", [], "same"),
    ],
)
def test_changes_are_read_as_gradio_writes_them(
    benchmark: ModuleType, before: object, changes: list[object], after: object
) -> None:
    assert benchmark._changed(before, changes) == after
