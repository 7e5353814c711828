"""Several gloo processes of a launcher find what one finds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.jobs import everything
from tests.jobs.launching import environment, launched


@pytest.fixture(scope="module")
def by_one(tmp_path_factory: pytest.TempPathFactory) -> everything.Found:
    folder = tmp_path_factory.mktemp("one")
    subprocess.run([sys.executable, everything.__file__, folder], env=environment(), check=True, timeout=300)
    return load_file(folder / "rank0.safetensors")


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
