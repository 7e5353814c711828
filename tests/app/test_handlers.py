"""Handlers without a browser: what yields, what is refused, what stays of a file that is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests import tiny

import hspace
from hspace.app.handlers import AS_FOUND, Handlers
from hspace.app.painter import Painter, Superseded
from hspace.app.visitor import Visitor
from hspace.errors import HspaceError


@pytest.fixture
def handlers(tmp_path: Path) -> Handlers:
    sampler = hspace.Sampler(tiny.denoiser(dtype=torch.float32), 4, 0.0, batch_size=1)
    file = tmp_path / "two.safetensors"
    hspace.random_directions(sampler.setting(), [5.0] * 4, n=2).save(file)
    return Handlers(Painter(sampler, 2), (file,), "tiny")


@pytest.fixture
def visitor(handlers: Handlers) -> Visitor:
    return handlers.arrive()


def test_a_preview_and_then_the_picture(handlers: Handlers, visitor: Visitor) -> None:
    handlers.moving("random0")(visitor, 2.0)
    shown = list(handlers.draw(visitor))
    assert [each.words.count(" in ") for each in shown] == [1, 2]
    assert all(each.words.startswith("seed 0, 2 random0: preview in ") for each in shown)
    before, after = shown[1].pair
    assert after.tobytes() == shown[1].picture.tobytes() != before.tobytes()
    expected = handlers.painter.full.run([0], 2.0 * visitor.library["random0"].direction)
    assert hspace.plot.grid(expected).tobytes() == after.tobytes()


def test_what_is_superseded_ends(handlers: Handlers, visitor: Visitor) -> None:
    handlers.moving("random0")(visitor, 2.0)
    first = handlers.draw(visitor)
    next(first)
    handlers.moving("random1")(visitor, 1.0)
    last = list(handlers.draw(visitor))
    assert len(last) == 2
    with pytest.raises(Superseded):  # its picture is not drawn any more
        next(first)


def test_who_is_superseded_after_the_picture_does_not_end_well_either(handlers: Handlers, visitor: Visitor) -> None:
    """Gradio would show it once more."""
    first = handlers.draw(visitor)
    next(first), next(first)
    assert len(list(handlers.draw(visitor))) == 2
    with pytest.raises(Superseded):
        next(first)


def test_windows_and_modes(handlers: Handlers, visitor: Visitor) -> None:
    grid = handlers.painter.full.timesteps
    handlers.advanced(visitor, grid[1], grid[2], "asymmetric")
    assert (visitor.scene.window, visitor.scene.injection) == ((grid[1], grid[2]), "asymmetric")
    handlers.advanced(visitor, grid[0], 0, AS_FOUND)
    assert (visitor.scene.window, visitor.scene.injection) == (None, None)
    with pytest.raises(HspaceError, match=r"a window goes from a high timestep down to a low one"):
        handlers.advanced(visitor, grid[2], grid[1], AS_FOUND)


def test_the_dice_leave_a_locked_seed_alone(handlers: Handlers, visitor: Visitor) -> None:
    assert handlers.roll(True, 7.0) == 7
    assert len({handlers.roll(False, 7.0) for _ in range(20)}) > 10
    handlers.sow(visitor, 12.0)
    assert visitor.scene.seed == 12


def test_renamed_sliders_keep_their_place(handlers: Handlers, visitor: Visitor) -> None:
    handlers.moving("random1")(visitor, 1.5)
    handlers.rename(visitor, "random1", "  smile ")
    assert visitor.scene.strengths == {"smile": 1.5}
    assert visitor.last == "smile"
    handlers.moving("smile")(visitor, None)  # its box was cleared
    assert not visitor.scene.strengths.get("smile")
    handlers.remove(visitor, "smile")
    assert visitor.scene.strengths == {}


def test_files_that_are_none_leave_nothing(handlers: Handlers, visitor: Visitor, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"no")
    with pytest.raises(HspaceError, match=r"^wrong\.safetensors"):
        handlers.bring(visitor, [str(wrong)])
    assert list(visitor.folder.iterdir()) == []
    with pytest.raises(HspaceError, match=r"choose a file of directions first"):
        handlers.bring(visitor, None)
    with pytest.raises(HspaceError, match=r"choose a picture first"):
        handlers.photo(visitor, None)
    with pytest.raises(HspaceError, match=r"move a slider first"):
        handlers.take_home(visitor)
