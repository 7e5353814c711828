"""Files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hspace.atomic import writing, writing_folder
from hspace.errors import HspaceError


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path, failure: type[BaseException]) -> None:
    (tmp_path / "file.txt").write_text("before")

    def fail_halfway() -> None:
        with writing(tmp_path / "file.txt") as partial:
            partial.write_text("half")
            raise failure

    with pytest.raises(failure):
        fail_halfway()
    assert [path.name for path in tmp_path.iterdir()] == ["file.txt"]
    assert (tmp_path / "file.txt").read_text() == "before"


def test_the_file_is_not_there_before_the_end(tmp_path: Path) -> None:
    with writing(tmp_path / "new" / "file.png") as partial:
        partial.write_text("half")
        assert not (tmp_path / "new" / "file.png").exists()
        assert partial.suffix == ".png"
    assert (tmp_path / "new" / "file.png").read_text() == "half"


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "usual").write_text("")
    with writing(tmp_path / "file") as partial:
        partial.write_text("")
    assert os.stat(tmp_path / "file").st_mode == os.stat(tmp_path / "usual").st_mode


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HspaceError, match=r"can't write .*out\.txt"), writing(tmp_path / "file" / "out.txt"):
        pass


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path, failure: type[BaseException]) -> None:
    def fail_halfway() -> None:
        with writing_folder(tmp_path / "out") as partial:
            (partial / "half").write_text("half")
            assert not (tmp_path / "out").exists()
            raise failure

    with pytest.raises(failure):
        fail_halfway()
    assert list(tmp_path.iterdir()) == []
    with writing_folder(tmp_path / "deep" / "out") as partial:
        (partial / "file").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert (tmp_path / "deep" / "out" / "file").read_text() == "whole"


def test_a_folder_has_the_permissions_of_any_new_one_and_may_be_empty_before(tmp_path: Path) -> None:
    (tmp_path / "usual").mkdir()
    (tmp_path / "out").mkdir()
    with writing_folder(tmp_path / "out"):
        pass
    assert os.stat(tmp_path / "out").st_mode == os.stat(tmp_path / "usual").st_mode


@pytest.mark.parametrize("there", ["a file", "a full folder"])
def test_what_is_there_is_not_replaced_by_a_folder(tmp_path: Path, there: str) -> None:
    out = tmp_path / "out"
    kept = out if there == "a file" else out / "mine"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    with pytest.raises(HspaceError, match="expected a new or empty folder"), writing_folder(out):
        pass
    assert kept.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"

    def fill_meanwhile() -> None:
        with writing_folder(out):
            out.mkdir()
            (out / "mine").write_text("mine")

    with pytest.raises(HspaceError, match="can't write"):
        fill_meanwhile()
    assert (out / "mine").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
