"""Files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hspace.atomic import writing
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
