"""Repositories themselves are in tests/models/test_load.py and tests/attributes/test_repository.py."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import IncompleteSnapshotError

from hspace.errors import HspaceError
from hspace.hub import read_json, short, snapshot


def test_a_configuration_is_an_object(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(HspaceError, match=r"^no model here$"):
        read_json(path, "no model here")
    path.write_text('{"a": 1}')
    assert read_json(path, "") == {"a": 1}
    for text, message in (("{", r"config\.json is no JSON \("), ("[1]", r"config\.json is no JSON object but list")):
        path.write_text(text)
        with pytest.raises(HspaceError, match=message):
            read_json(path, "")
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(HspaceError, match=r"is a git-lfs pointer, no JSON: run `git lfs pull` in its repository$"):
        read_json(path, "")
    with pytest.raises(HspaceError, match=r"can't be read \(Is a directory\)$"):
        read_json(tmp_path, "")


@pytest.mark.parametrize("name", ["plain", "a/b/c", "", "no good/name!", "nobody/nothing"])
def test_what_is_not_on_the_hub_is_one_line(name: str) -> None:
    with pytest.raises(HspaceError, match="what else it could be") as caught:
        snapshot(name, list, "what else it could be")
    assert "\n" not in str(caught.value)


def test_long_messages_of_others_are_cut() -> None:
    assert len(short(OSError("long " * 1000))) <= 240
    assert short(ValueError()) == "ValueError"


def test_a_copy_of_the_wanted_files_only_is_found_again_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub's client remembers the list of a repository's files, and calls a copy without some of them incomplete."""

    def incomplete(repo_id: str, local_files_only: bool = False, **_: object) -> str:
        raise IncompleteSnapshotError("README.md is missing", str(tmp_path))

    def no_network(repo_id: str, timeout: float) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(huggingface_hub, "model_info", no_network)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", incomplete)
    found = snapshot("nobody/tiny", list, "what else")
    assert (found.folder, found.files, found.revision) == (tmp_path, (), None)
    assert found.problem == "it can't be reached, is there a network? no network"
