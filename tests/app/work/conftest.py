"""A tiny model and a scorer as a process of its own opens them: by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import tiny

import hspace
from hspace.app.work.bench import Bench, Opening

SCORER = """
def score(images):
    return {"red": images[:, 0].mean((1, 2)), "green": images[:, 1].mean((1, 2)), "same": 0 * images[:, 0, 0, 0]}


def regions(images):
    masks = images.new_zeros(len(images), *images.shape[2:])
    masks[:, 2:5, 2:5] = 1
    return {"nose": masks}
"""


@pytest.fixture(scope="session")
def opening(tmp_path_factory: pytest.TempPathFactory) -> Opening:
    """6 steps of DDIM, asymmetric."""
    folder = tmp_path_factory.mktemp("work")
    tiny.save(folder / "model")
    (folder / "own.py").write_text(SCORER)
    sampler = hspace.Sampler(hspace.load(folder / "model", "cpu"), 6, 0.0)
    setting = sampler.setting("asymmetric")
    own = f"{folder / 'own.py'}"
    return Opening(str(folder / "model"), "cpu", "float32", setting, f"{own}:score", f"{own}:regions")


@pytest.fixture(scope="session")
def bench(opening: Opening) -> Bench:
    return Bench(opening)


@pytest.fixture
def directions(bench: Bench, tmp_path: Path) -> Path:
    """Three principal components in a file."""
    file = tmp_path / "three.safetensors"
    hspace.PCA(3, injection="asymmetric").fit(bench.sampler, range(8)).directions_.save(file)
    return file
