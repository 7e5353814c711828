"""A painter with a tiny real network, directions of it in a file, and a visitor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import tiny
from tests.cli.conftest import run as run

import hspace
from hspace.app.painter import Painter
from hspace.app.visitor import Visitor
from hspace.directions import Directions

STEPS, PREVIEW = 4, 2


@pytest.fixture(scope="session")
def sampler() -> hspace.Sampler:
    """4 steps of DDPM with a network in float64."""
    return hspace.Sampler(tiny.denoiser(), STEPS, 1.0, batch_size=1)


@pytest.fixture
def painter(sampler: hspace.Sampler) -> Painter:
    """With nothing drawn yet."""
    return Painter(sampler, PREVIEW)


@pytest.fixture(scope="session")
def pcs(sampler: hspace.Sampler, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directions `pc0`, `pc1`, `pc2`, strong enough to be seen."""
    found = hspace.PCA(3).fit(sampler, range(8)).directions_
    file = tmp_path_factory.mktemp("directions") / "pcs.safetensors"
    Directions([(30.0 * item).renamed(item.name) for item in found]).save(file)
    return file


@pytest.fixture(scope="session")
def noise(sampler: hspace.Sampler, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A direction `random0` of x_T."""
    file = tmp_path_factory.mktemp("directions") / "noise.safetensors"
    hspace.random_directions(sampler.setting(space="noise"), [2.0]).save(file)
    return file


@pytest.fixture
def visitor(sampler: hspace.Sampler, pcs: Path, noise: Path) -> Iterator[Visitor]:
    """With the sliders of both files."""
    visitor = Visitor(sampler.setting(), (pcs, noise))
    yield visitor
    visitor.close()
