"""Searches and projections as the page asks for them, in a real process: what is found are sliders."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests import tiny

import hspace
from hspace.app.handlers import Handlers
from hspace.app.painter import Painter
from hspace.app.tasks import Step, Tasks
from hspace.app.turns import Superseded
from hspace.app.visitor import Visitor
from hspace.directions import Directions
from hspace.errors import HspaceError

SCORER = """
def score(images):
    return {"red": images[:, 0].mean((1, 2)), "green": images[:, 1].mean((1, 2))}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    tiny.save(folder / "model")
    (folder / "own.py").write_text(SCORER)
    sampler = hspace.Sampler(hspace.load(folder / "model", device="cpu"), 4, 0.0)
    pcs = hspace.PCA(3, injection="asymmetric").fit(sampler, range(8)).directions_
    pcs.save(folder / "pcs.safetensors")
    hspace.random_directions(sampler.setting(space="noise"), [1.0]).save(folder / "noise.safetensors")
    return folder


@pytest.fixture(scope="module")
def handlers(folder: Path) -> Iterator[Handlers]:
    """Its process starts once."""
    sampler = hspace.Sampler(hspace.load(folder / "model", device="cpu"), 4, 0.0, batch_size=1)
    files = (folder / "pcs.safetensors", folder / "noise.safetensors")
    handlers = Handlers(Painter(sampler, 2), files, str(folder / "model"), scorer=f"{folder / 'own.py'}:score")
    yield handlers
    handlers.close()


@pytest.fixture
def tasks(handlers: Handlers) -> Tasks:
    return handlers.tasks


@pytest.fixture
def visitor(handlers: Handlers) -> Iterator[Visitor]:
    visitor = handlers.arrive()
    yield visitor
    visitor.close()


def url(layer: Image.Image) -> str:
    """As a canvas gives it."""
    file = io.BytesIO()
    layer.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def over(steps: Iterator[Step]) -> Step:
    """The last word; those before have a fraction that never falls."""
    *going, last = steps
    fractions = [step.fraction for step in going]
    assert None not in fractions
    assert fractions == sorted(fractions)  # type: ignore[type-var]
    assert last.fraction is None
    return last


def test_searches_go_on_where_the_directions_of_the_app_left_off(tasks: Tasks) -> None:
    assert tasks.opening.setting.injection == "asymmetric"
    assert tasks.attributes() == ["red", "green"]


def test_components_become_sliders(tasks: Tasks, visitor: Visitor) -> None:
    last = over(tasks.components(visitor, 2.0, 20.0))
    assert last.added
    assert "and a slider now: pc0 (2), pc1 (2)." in last.words
    expected = hspace.PCA(2, injection="asymmetric").fit(tasks.painter.full, range(20)).directions_
    found = visitor.library["pc0 (2)"].direction
    assert torch.allclose(found.vectors, expected["pc0"].vectors, atol=1e-4)  # another size of batches
    assert visitor.library["pc0 (2)"].file.parent == visitor.folder


def test_a_mask_that_was_painted_on_a_photo(tasks: Tasks, visitor: Visitor) -> None:
    visitor.photos = {"photo": tasks.painter.invert(tasks.painter.full.run([4]).float(), "photo")}
    visitor.change(photo="photo")
    canvas = tasks.canvas(visitor)
    assert canvas.size == (256, 256)  # enlarged
    small = hspace.plot.to_uint8(tasks.painter.draw(visitor.scene, {}, photos=visitor.photos))[0]
    assert np.array_equal(np.asarray(canvas)[::32, ::32], small)
    layer = Image.new("RGBA", canvas.size)
    layer.paste((255, 0, 170, 255), (64, 64, 160, 160))
    timestep = next(iter(tasks.timesteps().values()))
    assert timestep in tasks.painter.full.timesteps
    last = over(tasks.picture(visitor, timestep, 1.0, url(layer), "", True))
    name = f"part t{timestep}-0"
    assert name in last.words
    origin = visitor.library[name].direction.origin
    assert origin["sample"] == "photo"
    assert origin["parameters"]["mask"]["share"] == pytest.approx(9 / 64, abs=1e-3)
    assert origin["parameters"]["outside_rank"] == 5


def test_an_attribute_and_learned_directions(tasks: Tasks, visitor: Visitor) -> None:
    assert over(tasks.attribute(visitor, "red", 20.0)).added
    assert visitor.library["red"].direction.origin["method"] == "annotated"
    last = over(tasks.learned(visitor, 2.0, 2.0))
    assert "with an accuracy of" in last.words
    assert visitor.library["learned0"].direction.origin["method"] == "learned"
    visitor.move("learned0", 1.0)  # found in fewer steps, and drawn in all
    tasks.painter.draw(visitor.scene, visitor.library.directions())


def test_a_slider_without_others(tasks: Tasks, visitor: Visitor) -> None:
    visitor.rename("pc0", "smile")
    last = over(tasks.disentangle(visitor, "smile", ["pc1"], 2.0, False))
    assert last.added
    clean = visitor.library["smile without pc1"].direction
    assert abs(clean.cosine(visitor.library["pc1"].direction)) < 1e-4
    assert last.profile is not None
    assert last.profile.figure is not None
    assert {name for name, *_ in last.profile.rows} == {"red", "green"}
    assert last.profile.rows == sorted(last.profile.rows, key=lambda row: -abs(row[1]))


def test_cancel_and_begin_anew(tasks: Tasks, visitor: Visitor) -> None:
    steps = tasks.components(visitor, 2.0, 4000.0)
    first = next(steps)
    assert first.fraction == 0.0
    tasks.cancel(visitor)
    *_, last = steps
    assert last == Step(None, "Cancelled.")
    old, new = tasks.components(visitor, 2.0, 4000.0), tasks.components(visitor, 2.0, 20.0)
    next(old)
    first = next(new)  # one thing at a time: the old one ends, and says nothing over the new one
    with pytest.raises(Superseded):
        list(old)
    assert over(new).added
    assert len(visitor.library) == 6


def test_who_leaves_has_nothing_done(tasks: Tasks, handlers: Handlers) -> None:
    gone = handlers.arrive()
    steps = tasks.components(gone, 2.0, 4000.0)
    next(steps)
    work = gone.work
    gone.close()
    assert work is not None
    assert work.wait(30)
    assert work.cancelled
    assert [step for step in steps if step.added] == []  # cancelled
    with pytest.raises(HspaceError, match=r"this visit is over"):
        list(tasks.components(gone, 2.0, 20.0))


def test_what_is_refused_is_refused_at_once(tasks: Tasks, visitor: Visitor) -> None:
    layer = Image.new("RGBA", (8, 8), (255, 0, 0, 255))
    refusals = [
        (tasks.attribute, (None, 20), r"choose an attribute first"),
        (tasks.components, (9, 5), r"samples go from 10"),
        (tasks.picture, (0, 3, None, "", True), r"paint on it"),
        (tasks.picture, (0, 3, url(layer), "nose", False), r"either paint on the picture or name a part"),
        (tasks.picture, (0, 3, None, "nose", False), r"no parts are known by name here"),
        (tasks.disentangle, (None, ["pc1"], 2, False), r"choose a slider, and at least one"),
        (tasks.disentangle, ("pc0", [], 2, False), r"choose a slider, and at least one"),
        (tasks.disentangle, ("pc0", ["pc1", "pc0"], 2, False), r"'pc0' can't be without itself"),
        (tasks.disentangle, ("pc0", ["gone"], 2, False), r"there is no slider 'gone'"),
        (tasks.disentangle, ("pc0", ["random0"], 2, False), r"'random0' is a direction of x_T"),
        (tasks.disentangle, ("pc0", ["pc1"], 1, False), r"samples go from 2 to 64"),
    ]
    for task, values, message in refusals:
        with pytest.raises(HspaceError, match=message):
            list(task(visitor, *values))
    assert visitor.work is None


def test_without_a_scorer_cosines_are_shown(handlers: Handlers, folder: Path) -> None:
    alone = Handlers(handlers.painter, (folder / "pcs.safetensors",), str(folder / "model"))
    visitor = alone.arrive()
    try:
        assert alone.tasks.attributes() == []
        Directions.load(folder / "pcs.safetensors")
        last = over(alone.tasks.disentangle(visitor, "pc0", ["pc1", "pc2"], 2.0, True))
        assert last.profile is not None
        assert last.profile.figure is None
        assert [name for name, *_ in last.profile.rows] == ["cosine with pc1", "cosine with pc2"]
        assert all(abs(after) < 1e-4 for *_, after in last.profile.rows)
    finally:
        visitor.close()
        alone.close()
