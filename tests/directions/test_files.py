from __future__ import annotations

import json
import math
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from hspace import HspaceError
from hspace.diffusion import Setting
from hspace.directions import Direction, Directions
from hspace.directions.files import FORMAT

SettingOf = Callable[..., Setting]

K = 3


@pytest.fixture(scope="module")
def pcs(setting_of: SettingOf) -> Directions:
    generator = torch.Generator().manual_seed(0)
    setting = setting_of((900, 600, 300, 0), eta=0.3, injection="asymmetric")
    items = [
        Direction(torch.randn(4, 2, 3, generator=generator), setting, f"pc{i} ä", {"method": "pca", "seeds": [[0, i]]})
        for i in range(K)
    ]
    return Directions(items, {"share": torch.rand(4, K, generator=generator), "agreement": torch.ones(4, K)})


@pytest.fixture
def file(pcs: Directions, tmp_path: Path) -> Path:
    path = tmp_path / "pcs.safetensors"
    pcs.save(path)
    return path


@pytest.fixture(scope="module")
def intact(pcs: Directions, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("intact") / "pcs.safetensors"
    pcs.save(path)
    return path.read_bytes()


def assert_identical(one: Directions, other: Directions) -> None:
    assert one.setting == other.setting
    assert set(one.measured) == set(other.measured)
    for name in one.measured:
        assert torch.equal(one.measured[name], other.measured[name])
    for a, b in zip(one, other, strict=True):
        assert a.vectors.dtype == b.vectors.dtype
        assert torch.equal(a.vectors, b.vectors)
        assert (a.name, a.origin) == (b.name, b.origin)


def contents(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and header, to be written again with one thing wrong."""
    with safe_open(path, framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        return tensors, json.loads(opened.metadata()["hspace"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_what_is_saved_is_loaded_bit_for_bit(pcs: Directions, tmp_path: Path, dtype: torch.dtype) -> None:
    saved = pcs.to(dtype=dtype)
    saved.save(tmp_path / "a")
    assert_identical(Directions.load(tmp_path / "a"), saved)


def test_a_part_and_names_given_by_people_are_saved(pcs: Directions, tmp_path: Path) -> None:
    part = pcs[::-2].renamed({"pc2 ä": 'say "cheese", 笑顔'})
    part.save(str(tmp_path / "a"))
    assert_identical(Directions.load(str(tmp_path / "a")), part)


def test_measurements_that_share_memory_are_saved(pcs: Directions, tmp_path: Path) -> None:
    shared = torch.rand(4, K)
    Directions(list(pcs), {"one": shared, "other": shared}).save(tmp_path / "a")
    assert torch.equal(Directions.load(tmp_path / "a").measured["other"], shared)


def test_a_file_opens_after_it_has_moved(file: Path, pcs: Directions, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "renamed.bin"
    moved.parent.mkdir()
    shutil.move(file, moved)
    assert_identical(Directions.load(moved), pcs)


def test_folders_on_the_way_are_made_and_permissions_follow_the_umask(pcs: Directions, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "pcs.safetensors"
    before = os.umask(0o027)
    try:
        pcs.save(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(path.parent.iterdir()) == [path]


@settings(max_examples=300)
@given(data=st.data())
def test_a_truncated_file_is_never_loaded(
    intact: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "truncated"
    path.write_bytes(intact[: data.draw(st.integers(0, len(intact) - 1))])
    with pytest.raises(HspaceError, match=f"{path}: no readable safetensors file, truncated perhaps"):
        Directions.load(path)


@settings(max_examples=300)
@given(data=st.data())
def test_damaged_bytes_raise_nothing_else(
    intact: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged"
    damaged = bytearray(intact)
    damaged[data.draw(st.integers(0, len(intact) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged)
    try:
        Directions.load(path)
    except HspaceError as error:
        assert str(error).startswith(str(path))  # noqa: PT017 - it may also load: a changed letter of a name


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(HspaceError, match="nope: expected a file of directions, found nothing"):
        Directions.load(tmp_path / "nope")
    with pytest.raises(HspaceError, match="expected a file of directions, found a folder"):
        Directions.load(tmp_path)
    save_file({"conv.weight": torch.ones(2)}, tmp_path / "weights")
    with pytest.raises(HspaceError, match=f"weights: expected a file of format {FORMAT}, found tensors conv"):
        Directions.load(tmp_path / "weights")
    save_file({"x": torch.ones(2)}, tmp_path / "future", {"hspace": json.dumps({"format": "hspace-directions-9"})})
    with pytest.raises(HspaceError, match="found hspace-directions-9"):
        Directions.load(tmp_path / "future")
    (tmp_path / "text").write_text("pc0")
    with pytest.raises(HspaceError, match="text: no readable safetensors file"):
        Directions.load(tmp_path / "text")


def without(*keys: str) -> Callable[[dict[str, Any]], None]:
    def change(header: dict[str, Any]) -> None:
        for key in keys[:-1]:
            header = header[key]
        del header[keys[-1]]

    return change


def with_value(value: object, *keys: str | int) -> Callable[[dict[str, Any]], None]:
    def change(header: Any) -> None:
        for key in keys[:-1]:
            header = header[key]
        header[keys[-1]] = value

    return change


HEADERS: dict[str, Callable[[dict[str, Any]], None]] = {
    "no setting": without("setting"),
    "no directions": without("directions"),
    "no model": without("setting", "model_id"),
    "no shape": without("setting", "h_shape"),
    "no schedule": without("setting", "schedule"),
    "no alphas": without("setting", "schedule", "alphas"),
    "unknown field": with_value(1, "setting", "colour"),
    "unknown field of the schedule": with_value(1, "setting", "schedule", "colour"),
    "setting is a list": with_value([], "setting"),
    "schedule is a number": with_value(3, "setting", "schedule"),
    "timesteps are a number": with_value(4, "setting", "schedule", "timesteps"),
    "timesteps are words": with_value(["a", "b", "c", "d"], "setting", "schedule", "timesteps"),
    "timesteps go up": with_value([0, 300, 600, 900], "setting", "schedule", "timesteps"),
    "too few alphas": with_value([0.1], "setting", "schedule", "alphas"),
    "final alpha is a word": with_value("one", "setting", "schedule", "final_alpha"),
    "shape is a word": with_value("ab", "setting", "h_shape"),
    "shape of another": with_value([2, 2], "setting", "h_shape"),
    "unknown injection": with_value("sideways", "setting", "injection"),
    "directions are a word": with_value("abc", "directions"),
    "directions are words": with_value(["a", "b", "c"], "directions"),
    "too few directions": with_value([{"name": "a", "origin": {}}], "directions"),
    "no name": without("directions", 0, "name"),  # type: ignore[arg-type]
    "no origin": without("directions", 0, "origin"),  # type: ignore[arg-type]
    "name is a number": with_value(1, "directions", 0, "name"),
    "equal names": with_value("pc1 ä", "directions", 0, "name"),
}


@pytest.mark.parametrize("wrong", HEADERS.values(), ids=HEADERS.keys())
def test_wrong_and_missing_fields(file: Path, wrong: Callable[[dict[str, Any]], None]) -> None:
    tensors, header = contents(file)
    wrong(header)
    save_file(tensors, file, {"hspace": json.dumps(header)})
    with pytest.raises(HspaceError) as raised:
        Directions.load(file)
    assert str(raised.value).startswith(f"{file}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", "3", '"format"'])
def test_metadata_that_is_no_header(file: Path, text: str) -> None:
    save_file({"vectors": torch.ones(1)}, file, {"hspace": text})
    with pytest.raises(HspaceError, match=str(file)):
        Directions.load(file)


TENSORS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], Any], str]] = {
    "no vectors": (lambda t: t.pop("vectors"), "'vectors' is missing"),
    "NaN": (lambda t: t["vectors"][1, 2, 0].fill_(math.nan), "NaN or infinite"),
    "infinite": (lambda t: t["vectors"][1, 2, 0].fill_(-math.inf), "NaN or infinite"),
    "fewer timesteps": (lambda t: t.update(vectors=t["vectors"][:, 1:].clone()), r"shape \(3, 4, 2, 3\), found \(3, 3"),
    "flat": (lambda t: t.update(vectors=t["vectors"].flatten()), r"shape \(3, 4, 2, 3\), found \(72,\)"),
    "whole numbers": (lambda t: t.update(vectors=t["vectors"].long()), "floating-point"),
    "measured of another": (lambda t: t.update({"measured.share": torch.ones(4, 2)}), "'share': expected shape"),
    "measured whole numbers": (lambda t: t.update({"measured.n": torch.ones(4, 3).long()}), "floating-point"),
}


@pytest.mark.parametrize(("wrong", "message"), TENSORS.values(), ids=TENSORS.keys())
def test_wrong_tensors(file: Path, wrong: Callable[[dict[str, torch.Tensor]], Any], message: str) -> None:
    tensors, header = contents(file)
    wrong(tensors)
    save_file(tensors, file, {"hspace": json.dumps(header)})
    with pytest.raises(HspaceError, match=f"{file}: .*{message}"):
        Directions.load(file)


def test_a_folder_that_can_not_be_written(pcs: Directions, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(HspaceError, match=f"can't write {tmp_path / 'file' / 'below' / 'pcs'}"):
        pcs.save(tmp_path / "file" / "below" / "pcs")
    with pytest.raises(HspaceError, match=f"can't write {tmp_path} "):
        pcs.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert list(tmp_path.parent.glob(f".{tmp_path.name}.*")) == []


def test_a_failed_write_leaves_the_earlier_file_and_nothing_else(
    pcs: Directions, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file.read_bytes()

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", disk_full)
    with pytest.raises(HspaceError, match=r"can't write .*No space left"):
        pcs[:1].save(file)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_an_interrupted_write_leaves_the_earlier_file_and_nothing_else(
    pcs: Directions, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = file.read_bytes()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pcs.save(file)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]
