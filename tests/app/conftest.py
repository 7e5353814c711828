"""A painter with a tiny real network, directions of it in a file, and a visitor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest
from tests import tiny
from tests.app.wire import Wire
from tests.cli.conftest import run as run

import hspace
from hspace.app.handlers import Handlers
from hspace.app.painter import Painter
from hspace.app.serving import opened
from hspace.app.visitor import Visitor
from hspace.directions import Directions

STEPS, PREVIEW = 4, 2
SCORER = """
def score(images):
    return {"red": images[:, 0].mean((1, 2)), "green": images[:, 1].mean((1, 2))}
"""


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


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as a diffusers folder, directions of it, and a scorer."""
    folder = tmp_path_factory.mktemp("app")
    tiny.save(folder / "model")
    (folder / "own.py").write_text(SCORER)
    sampler = hspace.Sampler(hspace.load(folder / "model", device="cpu"), 6, 0.0, batch_size=1)
    pcs = hspace.PCA(3, injection="asymmetric").fit(sampler, range(12)).directions_
    Directions([30.0 * item for item in pcs]).renamed({f"30 pc{i}": f"pc{i}" for i in range(3)}).save(
        folder / "pcs.safetensors"
    )
    return folder


@pytest.fixture(scope="session")
def handlers(folder: Path) -> Iterator[Handlers]:
    """Of the model in the folder."""
    sampler = hspace.Sampler.on(
        hspace.load(folder / "model", device="cpu"),
        Directions.load(folder / "pcs.safetensors").setting,
        batch_size=1,
    )
    scorer = f"{folder / 'own.py'}:score"
    handlers = Handlers(Painter(sampler, 3), (folder / "pcs.safetensors",), str(folder / "model"), scorer=scorer)
    yield handlers
    handlers.close()


@pytest.fixture(scope="module")
def app(handlers: Handlers) -> Iterator[gr.Blocks]:
    """The app, listening, with all that stands before it."""
    with opened(handlers) as blocks:
        yield blocks


@pytest.fixture
def wire(app: gr.Blocks) -> Iterator[Wire]:
    """A visitor whose page is open."""
    found = Wire(app.local_url)
    found.load()
    yield found
    found.close()


@pytest.fixture
def other(app: gr.Blocks) -> Iterator[Wire]:
    """Somebody else."""
    found = Wire(app.local_url)
    found.load()
    yield found
    found.close()
