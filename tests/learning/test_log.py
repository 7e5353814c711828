"""The log of a training: two files that say the same, and that go on where a state stands."""

from __future__ import annotations

import csv
import importlib.util
import json
import sys
from pathlib import Path

import pytest

from hspace.errors import HspaceError
from hspace.learning import FIELDS, Log

SHORT = ("iteration", "loss", "accuracy")


def line(iteration: int, more: float = 0.0) -> dict[str, float]:
    return {"iteration": iteration, "loss": 1 / (iteration + more), "accuracy": 0.1 * iteration}


def of_jsonl(folder: Path) -> list[dict[str, float]]:
    return [json.loads(text) for text in (folder / "log.jsonl").read_text().splitlines()]


def of_csv(folder: Path) -> list[dict[str, float]]:
    with (folder / "log.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def write(folder: Path, iterations: range, keep: int, more: float = 0.0) -> None:
    with Log(folder, SHORT, keep=keep) as log:
        for i in iterations:
            log.add(line(i, more))


def test_both_files_have_every_line_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with Log(folder, SHORT, keep=0) as log:
        for i in range(1, 4):
            log.add(line(i))
            assert of_jsonl(folder) == of_csv(folder) == [line(j) for j in range(1, i + 1)]
    assert (folder / "log.csv").read_text().splitlines()[0] == "iteration,loss,accuracy"


@pytest.mark.parametrize("keep", [0, 2, 4, 9])
def test_going_on_drops_what_the_state_does_not_know(tmp_path: Path, keep: int) -> None:
    write(tmp_path, range(1, 5), keep=0)
    kept = [line(i) for i in range(1, min(keep, 4) + 1)]
    with Log(tmp_path, SHORT, keep=keep):
        assert of_jsonl(tmp_path) == of_csv(tmp_path) == kept
    write(tmp_path, range(keep + 1, keep + 3), keep=keep, more=0.5)
    expected = kept + [line(i, 0.5) for i in range(keep + 1, keep + 3)]
    assert of_jsonl(tmp_path) == of_csv(tmp_path) == expected


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_a_last_line_that_was_cut_off(tmp_path: Path, cut: int) -> None:
    write(tmp_path, range(1, 4), keep=0)
    file = tmp_path / "log.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])
    whole = 3 if cut == 1 else 2  # without its newline a line is whole
    write(tmp_path, range(4, 5), keep=3)
    expected = [line(i) for i in [*range(1, whole + 1), 4]]
    assert of_jsonl(tmp_path) == of_csv(tmp_path) == expected


@pytest.mark.parametrize("content", [b"[1, 2]\n", b'{"loss": 1}\n', b"3\n", b'{"iteration": "one"}\n', b"\xff\n"])
def test_another_file_under_its_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "log.jsonl"
    file.write_bytes(content)
    with pytest.raises(HspaceError, match=r"log\.jsonl: not the log of a training"):
        Log(tmp_path, SHORT, keep=1)
    assert file.read_bytes() == content


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HspaceError, match="can't write"):
        Log(tmp_path / "file" / "folder", SHORT, keep=0)


def test_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None in sys.modules makes an import fail, as it does where the package is absent."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    write(tmp_path, range(1, 3), keep=0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log.csv", "log.jsonl"]
    assert len(of_csv(tmp_path)) == 2


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard, optional, is not installed")
def test_with_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import (  # type: ignore[import-untyped]
        EventAccumulator,
    )

    write(tmp_path, range(1, 5), keep=0)
    write(tmp_path, range(3, 5), keep=2, more=0.5)
    board = EventAccumulator(str(tmp_path / "tensorboard"))
    board.Reload()
    assert sorted(board.Tags()["scalars"]) == ["accuracy", "loss"]
    events = [(event.step, event.value) for event in board.Scalars("loss")]
    expected = [(i, line(i, 0.5 if i > 2 else 0.0)["loss"]) for i in range(1, 5)]
    assert events == [(step, pytest.approx(value)) for step, value in expected]


def test_fields_of_a_training_begin_with_the_iteration() -> None:
    assert FIELDS[0] == "iteration"
    assert len(set(FIELDS)) == len(FIELDS)
