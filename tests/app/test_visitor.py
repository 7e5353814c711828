"""Visitors: requests, state under several threads, and a folder that nothing leaves and that goes in the end."""

from __future__ import annotations

import copy
import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import hspace
from hspace.app.library import Library
from hspace.app.scene import Scene
from hspace.app.visitor import EVERY_SLIDER, Visitor
from hspace.errors import HspaceError


def test_only_the_newest_request_is_wanted(visitor: Visitor) -> None:
    requests = [visitor.wanted() for _ in range(4)]
    assert [wanted() for wanted in requests] == [False, False, False, True]


def test_requests_of_many_threads(visitor: Visitor) -> None:
    """Whatever the order, exactly one of them all is the newest, and it is one that came after the others began."""
    with ThreadPoolExecutor(8) as pool:
        for _ in range(30):
            together = threading.Barrier(8)

            def ask(together: threading.Barrier = together) -> bool:
                together.wait(20)
                wanted = visitor.wanted()
                together.wait(20)
                return wanted()

            assert [job.result() for job in [pool.submit(ask) for _ in range(8)]].count(True) == 1


def test_sliders_that_move_at_once_all_move(visitor: Visitor) -> None:
    def drag(slider: str) -> None:
        for i in range(200):
            visitor.move(slider, i / 100)

    def sow() -> None:
        for seed in range(200):
            visitor.change(seed=seed)

    with ThreadPoolExecutor(5) as pool:
        jobs = [pool.submit(drag, name) for name in visitor.library] + [pool.submit(sow)]
    assert all(job.result() is None for job in jobs)
    assert visitor.scene == Scene(199, strengths=dict.fromkeys(visitor.library, 1.99))


def test_a_slider_keeps_its_place_under_another_name(visitor: Visitor) -> None:
    visitor.move("pc0", 1.0)
    visitor.move("pc1", 2.0)
    visitor.rename("pc1", " a  smile ")
    assert visitor.scene.strengths == {"pc0": 1.0, "a smile": 2.0}
    assert visitor.last == "a smile"
    visitor.rename("pc0", "age")
    assert visitor.last == "a smile"
    with pytest.raises(HspaceError, match="already"):
        visitor.rename("age", "pc2")
    assert visitor.scene.strengths == {"age": 1.0, "a smile": 2.0}


def test_a_slider_that_goes_leaves_nothing_to_its_name(visitor: Visitor, pcs: Path) -> None:
    visitor.move("pc0", 1.0)
    visitor.remove("pc0")
    visitor.library.add(pcs)
    assert "pc0" in visitor.library
    assert visitor.scene == Scene()
    assert visitor.last is None


def test_what_is_wrong_changes_nothing(visitor: Visitor) -> None:
    visitor.move("pc0", 1.0)
    for slider, strength, reason in (("gone", 1.0, "no slider 'gone'"), ("pc1", 6.0, "from -5 to 5")):
        with pytest.raises(HspaceError, match=reason):
            visitor.move(slider, strength)
    with pytest.raises(HspaceError, match="seed"):
        visitor.change(seed=-1)
    assert (visitor.scene, visitor.last) == (Scene(strengths={"pc0": 1.0}), "pc0")


@pytest.mark.parametrize(
    "name",
    [
        *("", ".", "..", "../x", "a/b", "/etc/passwd", "sub/../../x", "a\0b", "a\nb", "x" * 300),
        *("a\\b", "..\\x", "C:", "C:x", "C:\\x", "file.txt:stream", "\\\\host\\share"),
    ],
)
def test_no_name_leads_out_of_the_folder(visitor: Visitor, name: str) -> None:
    with pytest.raises(HspaceError, match="no plain name of a file"):
        visitor.path(name)


@pytest.mark.parametrize("name", ["a.png", "..a", "my smile (2).safetensors", "grün.json", "-rf"])
def test_plain_names_are_files_of_the_folder(visitor: Visitor, name: str) -> None:
    path = visitor.path(name)
    path.write_text("there")
    assert path.resolve().parent == visitor.folder.resolve()


def test_uploads_are_copies_under_names_of_their_own(visitor: Visitor, pcs: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.safetensors"
    link.symlink_to(pcs)
    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(visitor.keep, [pcs, link] * 8))
    assert len(set(kept)) == 16
    assert all(path.parent == visitor.folder and not path.is_symlink() for path in kept)
    assert {path.read_bytes() for path in kept} == {pcs.read_bytes()}


def test_the_end_of_a_visit(visitor: Visitor, pcs: Path) -> None:
    before = visitor.wanted()
    visitor.keep(pcs)
    assert visitor.present()
    visitor.close()
    visitor.close()
    assert not visitor.folder.exists()
    assert not visitor.photos
    assert [before(), visitor.wanted()(), visitor.present()] == [False] * 3
    with pytest.raises(HspaceError, match="this visit is over"):
        visitor.path("a.png")
    with pytest.raises(HspaceError, match="this visit is over"):
        visitor.keep(pcs)
    assert not visitor.folder.exists()


def test_what_is_being_written_is_written_before_the_folder_goes(visitor: Visitor) -> None:
    closing = threading.Thread(target=visitor.close)
    with visitor.staying():
        closing.start()
        while visitor.present():
            closing.join(0.01)
        closing.join(0.2)  # time to do what it should not do yet
        (visitor.folder / "late.txt").write_text("there")
        assert closing.is_alive()
    closing.join(20)
    assert not visitor.folder.exists()


def test_the_folder_goes_with_the_visitor(sampler: hspace.Sampler) -> None:
    visitor = Visitor(sampler.setting())
    folder = visitor.folder
    assert folder.is_dir()
    del visitor
    gc.collect()
    assert not folder.exists()


def test_the_folder_goes_with_the_program(visitor: Visitor) -> None:
    assert visitor._clear.alive
    assert visitor._clear.atexit


def test_visitors_share_nothing_but_tensors(sampler: hspace.Sampler, pcs: Path) -> None:
    library = Library(sampler.setting())
    library.add(pcs)
    one, two = Visitor(sampler.setting(), library), Visitor(sampler.setting(), library)
    one.move("pc0", 1.0)
    one.remove("pc1")
    assert two.scene == Scene()
    assert tuple(two.library) == tuple(library) == ("pc0", "pc1", "pc2")
    assert one.library["pc0"].direction is two.library["pc0"].direction
    assert one.folder != two.folder
    first, second = one.wanted(), two.wanted()
    assert first()
    assert second()
    one.close()
    assert second()
    two.close()


def test_a_copy_is_the_same_visitor(visitor: Visitor) -> None:
    """Gradio copies what a state begins with."""
    assert copy.deepcopy(visitor) is visitor


def test_files_that_do_not_fit_are_said_at_once(sampler: hspace.Sampler, tmp_path: Path) -> None:
    with pytest.raises(HspaceError, match="found nothing"):
        Visitor(sampler.setting(), (tmp_path / "absent.safetensors",))


def test_what_comes_late_is_left_out(visitor: Visitor) -> None:
    """By the page's clock: a move that was overtaken by a later one of the same slider, or by a reset."""
    assert visitor.later("slider pc0", 10.0)
    assert visitor.later("slider pc0", 12.0)
    assert not visitor.later("slider pc0", 11.0)
    assert visitor.later("slider pc0", 12.0)  # again
    assert visitor.later("slider pc1", 11.0)
    assert visitor.later("seed", 1.0)
    assert visitor.later(EVERY_SLIDER, 20.0)
    assert not visitor.later("slider pc1", 19.0)
    assert visitor.later("slider pc1", 21.0)
    assert visitor.later("seed", 2.0)
