"""Several gloo processes of a launcher find what one finds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.jobs import commands, everything
from tests.jobs.launching import environment, launched

import hspace


@pytest.fixture(scope="module")
def by_one(tmp_path_factory: pytest.TempPathFactory) -> everything.Found:
    folder = tmp_path_factory.mktemp("one")
    subprocess.run([sys.executable, everything.__file__, folder], env=environment(), check=True, timeout=300)
    return load_file(folder / "rank0.safetensors")


def test_commands_equal_one_process(tiny_folder: Path, tmp_path: Path) -> None:
    (one := tmp_path / "one").mkdir()
    (two := tmp_path / "two").mkdir()
    alone = [sys.executable, commands.__file__, str(tiny_folder)]
    subprocess.run(alone, cwd=one, env=environment(), check=True, capture_output=True, timeout=300)
    result = launched(2, Path(commands.__file__), tiny_folder, cwd=two)
    assert result.returncode == 0, result.stderr
    for said in ("5 samples in all.png", "2 directions in scored.safetensors", "everything in evaluation.json"):
        assert result.stdout.count(said) == 1
    files = [{str(path.relative_to(where)) for path in where.rglob("*.*") if path.is_file()} for where in (one, two)]
    files = [{name for name in each if "tensorboard" not in name} for each in files]  # its names have a clock in them
    assert files[0] == files[1]
    assert not any("partial" in name for name in files[0])
    for name in files[0]:
        if name.endswith(".png"):
            a, b = (np.asarray(Image.open(where / name)).astype(int) for where in (one, two))
            assert np.abs(a - b).max() <= 1, name
    for name in ("pcs", "scored", "seen", "learned"):
        a, b = (hspace.Directions.load(where / f"{name}.safetensors") for where in (one, two))
        assert a.names == b.names
        for x, y in zip(a, b, strict=True):
            assert x.origin == y.origin
            torch.testing.assert_close(x.vectors, y.vectors, rtol=2e-3, atol=2e-4, msg=name)
    found = [json.loads((where / "evaluation.json").read_text()) for where in (one, two)]
    effects = [[row["effect"] for part in (each, each["projected"]) for row in part["directions"]] for each in found]
    assert effects[0] == pytest.approx(effects[1], rel=1e-3)


@pytest.mark.parametrize("processes", [2, 3])
def test_equal_one_process(processes: int, by_one: everything.Found, tmp_path: Path) -> None:
    result = launched(processes, Path(everything.__file__), tmp_path, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    ranks = [load_file(tmp_path / f"rank{rank}.safetensors") for rank in range(processes)]
    assert set(ranks[0]) == set(by_one)
    for name, expected in by_one.items():
        # h and x_0 are float64, but directions, pictures for scorers and the networks of learning are float32
        loose = name.startswith(("learned", "evaluation", "annotated: scores"))
        tolerance = {"rtol": 2e-3, "atol": 2e-4} if loose else {"rtol": 1e-5, "atol": 1e-6}
        torch.testing.assert_close(ranks[0][name], expected, **tolerance, msg=lambda m, n=name: f"{n}: {m}")
        for other in ranks[1:]:
            assert torch.equal(other[name], ranks[0][name]), name
    drawn = [load_file(tmp_path / f"drawn{rank}.safetensors")["seeds"].tolist() for rank in range(processes)]
    assert drawn == {2: [[0, 1], [2, 3, 4]], 3: [[0], [1, 2], [3, 4]]}[processes]
