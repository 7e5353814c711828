"""One painter for everybody: each picture is the one drawn alone, bit for bit, and what nobody wants is not drawn."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from tests.app.conftest import PREVIEW, STEPS
from torch import Tensor
from torch.utils.hooks import RemovableHandle

import hspace
from hspace.app.painter import Painter, Photo, Superseded
from hspace.app.scene import Scene
from hspace.app.visitor import Visitor
from hspace.directions import Direction, Directions, Edit, Term
from hspace.errors import HspaceError

Hook = Callable[..., RemovableHandle]

SOON = 60.0


@pytest.fixture
def directions(pcs: Path, noise: Path) -> dict[str, Direction]:
    return {item.name: item for file in (pcs, noise) for item in Directions.load(file)}


@pytest.fixture
def photo(painter: Painter) -> Photo:
    return painter.invert(torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)).double() * 2 - 1, "me")


@pytest.fixture
def hook(painter: Painter) -> Iterator[Hook]:
    """Calls a function at every pass of the network, as it begins or as it ends, until the end of the test."""
    handles: list[RemovableHandle] = []

    def at(function: Callable[[], object], *, end: bool = False) -> RemovableHandle:
        def called(*_: object) -> None:
            function()

        network = painter.full.model.network
        handles.append((network.conv_out if end else network.conv_in).register_forward_hook(called))
        return handles[-1]

    yield at
    for handle in handles:
        handle.remove()


@pytest.fixture
def passes(hook: Hook) -> list[int]:
    """Grows by 1 with every pass of the network."""
    counted: list[int] = []
    hook(lambda: counted.append(1))
    return counted


def test_a_picture_is_a_run_of_the_sampler(
    painter: Painter, sampler: hspace.Sampler, directions: dict[str, Direction]
) -> None:
    scene = Scene(seed=5, strengths={"pc0": 2.0, "pc2": -1.5, "random0": 0.5}, window=(80, 10), injection="asymmetric")
    edit = Edit(
        [
            Term(directions["pc0"], 2.0, (80, 10)),
            Term(directions["pc2"], -1.5, (80, 10)),
            Term(directions["random0"], 0.5),
        ],
        "asymmetric",
    )
    expected = sampler.run([5], edit)
    assert torch.equal(painter.draw(scene, directions), expected)
    assert not torch.equal(expected, sampler.run([5]))


def test_a_preview_is_a_run_of_fewer_steps_from_the_same_start(
    painter: Painter, sampler: hspace.Sampler, directions: dict[str, Direction]
) -> None:
    quick = hspace.Sampler(sampler.model, PREVIEW, 1.0, start=sampler.timesteps[0])
    found = painter.draw(Scene(seed=5, strengths={"pc0": 2.0}), directions, quick=True)
    assert torch.equal(found, quick.run([5], 2.0 * directions["pc0"]))
    assert quick.timesteps[0] == sampler.timesteps[0]


def test_a_preview_has_no_more_steps_than_the_picture(sampler: hspace.Sampler) -> None:
    assert len(Painter(hspace.Sampler(sampler.model, 2)).quick.timesteps) == 2


def test_all_sliders_at_0_is_the_original(
    painter: Painter, sampler: hspace.Sampler, directions: dict[str, Direction], photo: Photo
) -> None:
    moved = Scene(seed=2).moved("pc0", 3.0).moved("pc1", -1.0)
    back = moved.moved("pc0", 0).moved("pc1", 0)
    for scene in (Scene(seed=2), moved.reset(), back, Scene(seed=2, strengths={"gone": 1.0})):
        assert torch.equal(painter.draw(scene, directions), sampler.run([2]))
        assert torch.equal(painter.draw(scene, directions, quick=True), painter.quick.run([2]))
    edited = painter.draw(Scene(photo="me"), directions, photos={"me": photo})
    assert torch.equal(edited, sampler.run(photo.full))


def test_a_photo_is_edited_as_the_sampler_does(
    painter: Painter, sampler: hspace.Sampler, directions: dict[str, Direction], photo: Photo
) -> None:
    scene, photos = Scene(photo="me", strengths={"pc1": 2.0}), {"me": photo}
    assert float(photo.full.psnr) > 60
    assert torch.equal(painter.draw(scene, directions, photos=photos), sampler.run(photo.full, 2.0 * directions["pc1"]))
    quick = painter.draw(scene, directions, photos=photos, quick=True)
    assert torch.equal(quick, painter.quick.run(photo.quick, 2.0 * directions["pc1"]))


def test_a_photo_that_is_gone(painter: Painter, photo: Photo) -> None:
    for photos in (None, {}, {"you": photo}):
        with pytest.raises(HspaceError, match="no photo 'me' any more"):
            painter.draw(Scene(photo="me"), {}, photos=photos)


def test_a_photo_of_another_shape(painter: Painter) -> None:
    with pytest.raises(HspaceError, match="shape"):
        painter.invert(torch.zeros(1, 3, 4, 4), "me")
    assert painter.draw(Scene(), {}).shape == (1, 3, 8, 8)  # the turn is over


def test_originals_are_drawn_once(painter: Painter, photo: Photo, hook: Hook) -> None:
    counted: list[int] = []
    hook(lambda: counted.append(1))
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: painter.draw(Scene(seed=1), {}), range(6)))
        of_photo = list(pool.map(lambda _: painter.draw(Scene(photo="me"), {}, photos={"me": photo}), range(6)))
    assert len(counted) == 2 * STEPS
    assert all(torch.equal(one, found[0]) for one in found)
    assert all(torch.equal(one, of_photo[0]) for one in of_photo)
    found[0].zero_()  # nobody else's
    assert torch.equal(painter.draw(Scene(seed=1), {}), found[1])
    assert len(counted) == 2 * STEPS


def test_another_photo_under_the_same_name(painter: Painter, sampler: hspace.Sampler, photo: Photo) -> None:
    painter.draw(Scene(photo="me"), {}, photos={"me": photo})
    other = painter.invert(torch.zeros(1, 3, 8, 8).double(), "me")
    found = painter.draw(Scene(photo="me"), {}, photos={"me": other})
    assert torch.equal(found, sampler.run(other.full))
    assert not torch.equal(found, sampler.run(photo.full))


def test_many_visitors_at_once(painter: Painter, sampler: hspace.Sampler, pcs: Path) -> None:
    """8 visitors in threads of their own, 10 scenes each, previews and pictures: to each what it would get alone."""
    visitors = [Visitor(sampler.setting(), (pcs,)) for _ in range(8)]
    directions = visitors[0].library.directions()
    scenes = {
        (v, i): Scene(
            seed=(v + i) % 5,
            strengths={"pc0": (v - 4) / 2 if i % 3 else 0, "pc1": i / 4 if i % 2 else 0},
            window=(60, 0) if i == 4 else None,
            injection="asymmetric" if (v + i) % 4 == 1 else None,
        )
        for v in range(8)
        for i in range(10)
    }
    alone = {
        key: (painter.quick if key[1] % 2 else sampler).run([scene.seed], scene.edit(directions))
        for key, scene in scenes.items()
    }

    def visit(v: int) -> list[bool]:
        visitor, right = visitors[v], []
        for i in range(10):
            visitor.scene = scenes[v, i]
            found = painter.draw(
                visitor.scene, visitor.library.directions(), quick=bool(i % 2), wanted=visitor.wanted()
            )
            right.append(torch.equal(found, alone[v, i]))
        return right

    with ThreadPoolExecutor(8) as pool:
        for right in pool.map(visit, range(8), timeout=SOON):
            assert right == [True] * 10
    for visitor in visitors:
        visitor.close()


@pytest.mark.parametrize("quick", [False, True])
def test_a_superseded_run_ends_at_its_next_step(
    painter: Painter, visitor: Visitor, quick: bool, passes: list[int], hook: Hook
) -> None:
    wanted = visitor.wanted()
    hook(visitor.wanted)
    with pytest.raises(Superseded):
        painter.draw(Scene(strengths={"pc0": 1.0}), visitor.library.directions(), quick=quick, wanted=wanted)
    assert len(passes) == 1
    assert painter.draw(Scene(), {}).shape == (1, 3, 8, 8)  # others go on


def test_what_nobody_wants_is_not_begun(painter: Painter, visitor: Visitor, passes: list[int]) -> None:
    old, new = visitor.wanted(), visitor.wanted()
    painter.draw(Scene(), {}, wanted=new)
    passes.clear()
    for scene in (Scene(), Scene(strengths={"pc0": 1.0})):  # nor is what is known already handed out
        with pytest.raises(Superseded):
            painter.draw(scene, visitor.library.directions(), wanted=old)
    with pytest.raises(Superseded):
        painter.along(Scene(), visitor.library.directions(), "pc0", [1.0, 2.0], wanted=old)
    with pytest.raises(Superseded):
        painter.invert(torch.zeros(1, 3, 8, 8), "me", wanted=old)
    assert not passes


def test_a_picture_that_is_too_late_is_not_shown(
    painter: Painter, visitor: Visitor, passes: list[int], hook: Hook
) -> None:
    """Superseded within its last step, when no step asks any more."""
    wanted = visitor.wanted()
    hook(lambda: visitor.wanted() if len(passes) == STEPS else None, end=True)
    with pytest.raises(Superseded):
        painter.draw(Scene(seed=3), {}, wanted=wanted)
    assert len(passes) == STEPS
    painter.draw(Scene(seed=3), {})
    assert len(passes) == STEPS  # but it was not in vain


def test_a_closed_visitor_gets_nothing_more(painter: Painter, visitor: Visitor) -> None:
    wanted = visitor.wanted()
    visitor.close()
    for ask in (wanted, visitor.wanted(), visitor.present):
        with pytest.raises(Superseded):
            painter.draw(Scene(), {}, wanted=ask)


def held(painter: Painter, hook: Hook) -> tuple[Callable[[], None], threading.Thread]:
    """A picture that is being drawn until one lets it go; both come once it has begun."""
    begun, may_go = threading.Event(), threading.Event()

    def stop() -> None:
        begun.set()
        may_go.wait(SOON)

    handle = hook(stop)
    thread = threading.Thread(target=painter.draw, args=(Scene(seed=99), {}), daemon=True)
    thread.start()
    assert begun.wait(SOON)

    def let_go() -> None:
        handle.remove()
        may_go.set()

    return let_go, thread


def test_previews_overtake_pictures(painter: Painter, directions: dict[str, Direction], hook: Hook) -> None:
    let_go, holder = held(painter, hook)
    seen: list[int] = []
    handle = painter.full.model.network.register_forward_pre_hook(
        lambda _, __, named: seen.append(int(named["timestep"][0])), with_kwargs=True
    )

    def ask(quick: bool) -> None:
        painter.draw(Scene(strengths={"pc0": 1.0}), directions, quick=quick)

    pause, threads = threading.Event(), []
    for i, quick in enumerate((False, False, True, True)):
        threads.append(threading.Thread(target=ask, args=(quick,)))
        threads[-1].start()
        while len(painter._turns._hurried) + len(painter._turns._others) <= i:
            pause.wait(0.001)
    let_go()
    for thread in (holder, *threads):
        thread.join(SOON)
    handle.remove()
    full, few = list(painter.full.timesteps), list(painter.quick.timesteps)
    assert seen == full[1:] + few + few + full + full


def test_a_superseded_request_leaves_the_row(painter: Painter, visitor: Visitor, hook: Hook) -> None:
    """A visitor who drags a slider has one request in the row, not one for every place the slider was at."""
    let_go, holder = held(painter, hook)
    directions, most, pause = visitor.library.directions(), 0, threading.Event()
    results: list[Tensor | None] = [None] * 12

    def ask(i: int, wanted: Callable[[], bool]) -> None:
        with suppress(Superseded):
            results[i] = painter.draw(Scene(strengths={"pc0": i / 4 + 1}), directions, quick=True, wanted=wanted)

    threads = []
    for i in range(12):
        threads.append(threading.Thread(target=ask, args=(i, visitor.wanted())))
        threads[-1].start()
        if i:
            threads[i - 1].join(SOON)
            assert not threads[i - 1].is_alive()
        while not painter._turns._hurried:
            pause.wait(0.001)
        most = max(most, len(painter._turns._hurried))
    let_go()
    for thread in (holder, *threads):
        thread.join(SOON)
    assert most == 1
    assert [result is not None for result in results] == [False] * 11 + [True]


def test_a_failed_run_leaves_the_network_as_it_was(
    painter: Painter, directions: dict[str, Direction], hook: Hook
) -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    before = painter.draw(Scene(strengths={"pc0": 1.0}), directions)
    handle = hook(fail, end=True)
    with pytest.raises(RuntimeError, match="broken"):
        painter.draw(Scene(strengths={"pc0": 1.0}), directions)
    handle.remove()
    assert torch.equal(painter.draw(Scene(strengths={"pc0": 1.0}), directions), before)


def test_directions_of_another_model(painter: Painter, directions: dict[str, Direction]) -> None:
    other = hspace.random_directions(hspace.Sampler(painter.full.model.tapped("before"), 4).setting(), [1.0] * 4)[0]
    with pytest.raises(HspaceError, match="tap"):
        painter.draw(Scene(strengths={"pc0": 1.0}), {**directions, "pc0": other})


def test_one_slider_at_several_places(painter: Painter, directions: dict[str, Direction]) -> None:
    scene, places = Scene(seed=1, strengths={"pc1": 1.0}), [-2.0, 0.0, 2.0]
    found = painter.along(scene, directions, "pc0", places)
    for row, place in zip(found, places, strict=True):
        assert torch.equal(row[None], painter.draw(scene.moved("pc0", place), directions))
    with pytest.raises(HspaceError, match="'pc0' goes from -5 to 5"):
        painter.along(scene, directions, "pc0", [9.0])
