"""Sliders: names that stay apart, files that do not fit, and two threads at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from tests import tiny

import hspace
from hspace.app.library import MOST, Library
from hspace.directions import Direction, Directions
from hspace.errors import HspaceError


@pytest.fixture
def library(sampler: hspace.Sampler, pcs: Path, noise: Path) -> Library:
    library = Library(sampler.setting())
    assert library.add(pcs) == ("pc0", "pc1", "pc2")
    assert library.add(noise) == ("random0",)
    return library


def saved(sampler: hspace.Sampler, path: Path, *names: str) -> Path:
    vectors = torch.ones(len(sampler.timesteps), *sampler.model.h_shape, dtype=torch.float64)
    Directions([Direction(vectors, sampler.setting(), name) for name in names]).save(path)
    return path


def test_sliders_know_their_files_and_directions(library: Library, pcs: Path, noise: Path) -> None:
    assert tuple(library) == ("pc0", "pc1", "pc2", "random0")
    assert [slider.file for slider in library.values()] == [pcs] * 3 + [noise]
    there = Directions.load(pcs)
    assert all(torch.equal(library.directions()[name].vectors, there[name].vectors) for name in there.names)


def test_a_name_that_is_taken_gets_a_number(library: Library, pcs: Path) -> None:
    assert library.add(pcs) == ("pc0 (2)", "pc1 (2)", "pc2 (2)")
    assert library.add(pcs) == ("pc0 (3)", "pc1 (3)", "pc2 (3)")
    assert library["pc1 (3)"].direction.name == "pc1"  # in the file


def test_names_of_a_file_become_names_of_sliders(sampler: hspace.Sampler, tmp_path: Path) -> None:
    library = Library(sampler.setting())
    file = saved(sampler, tmp_path / "odd.safetensors", "", " \n", "a\nb  c", "x" * 200, "x" * 201)
    assert library.add(file) == ("direction", "direction (2)", "a b c", "x" * 80, "x" * 75 + " (2)")


def test_renaming(library: Library) -> None:
    assert library.rename("pc1", "  a   smile ") == "a smile"
    assert tuple(library) == ("pc0", "a smile", "pc2", "random0")
    assert library["a smile"].name == "a smile"
    assert library.rename("a smile", "a smile") == "a smile"
    for old, new, reason in (
        ("pc1", "x", "no slider 'pc1'"),
        ("pc0", " ", "1 to 80"),
        ("pc0", "x" * 81, "1 to 80"),
        ("pc0", "pc2", "already"),
    ):
        with pytest.raises(HspaceError, match=reason):
            library.rename(old, new)
    assert tuple(library) == ("pc0", "a smile", "pc2", "random0")


def test_removing(library: Library) -> None:
    library.remove("pc1")
    assert tuple(library) == ("pc0", "pc2", "random0")
    with pytest.raises(HspaceError, match="no slider 'pc1'"):
        library.remove("pc1")


def test_searching(library: Library) -> None:
    library.rename("pc0", "Große Augen")
    assert library.search("AUGEN grosse") == ("Große Augen",)
    assert library.search("pc") == ("pc1", "pc2")
    assert library.search(" ") == tuple(library)
    assert library.search("augen pc") == ()


def test_a_copy_goes_its_own_way(library: Library) -> None:
    other = library.copy()
    other.remove("pc0")
    library.rename("pc1", "smile")
    assert tuple(library) == ("pc0", "smile", "pc2", "random0")
    assert tuple(other) == ("pc1", "pc2", "random0")
    assert other["pc2"].direction.vectors is library["pc2"].direction.vectors


def test_files_that_do_not_fit(library: Library, sampler: hspace.Sampler, pcs: Path, tmp_path: Path) -> None:
    other = hspace.Sampler(tiny.denoiser(seed=1), 4)
    before = hspace.Sampler(sampler.model.tapped("before"), 4)
    short = hspace.Sampler(sampler.model, 4, start=40)
    files = {
        "weights": saved(other, tmp_path / "other.safetensors", "a"),
        "noise of other weights": tmp_path / "x.safetensors",
        "tap": saved(before, tmp_path / "before.safetensors", "a"),
        "nothing is known of it there": saved(short, tmp_path / "short.safetensors", "good name"),
        "truncated": tmp_path / "half.safetensors",
        "no readable": tmp_path / "text.safetensors",
        "found nothing": tmp_path / "absent.safetensors",
        "found a folder": tmp_path,
    }
    hspace.random_directions(other.setting(space="noise"), [1.0]).save(files["noise of other weights"])
    files["truncated"].write_bytes(pcs.read_bytes()[:-10])
    files["no readable"].write_text("smile")
    for reason, file in files.items():
        with pytest.raises(HspaceError, match="weights" if "weights" in reason else reason) as caught:
            library.add(file)
        assert str(tmp_path) not in str(caught.value)
        assert len(library) == 4


def test_there_is_an_end_to_sliders(library: Library, sampler: hspace.Sampler, tmp_path: Path) -> None:
    many = saved(sampler, tmp_path / "many.safetensors", *map(str, range(MOST - 4)))
    more = saved(sampler, tmp_path / "more.safetensors", *map(str, range(MOST - 3)))
    with pytest.raises(HspaceError, match=r"more\.safetensors has 61 directions, and 60 sliders are free"):
        library.add(more)
    library.add(many)
    assert len(library) == MOST


def test_threads_add_and_read_at_once(sampler: hspace.Sampler, pcs: Path) -> None:
    library = Library(sampler.setting())
    with ThreadPoolExecutor(8) as pool:
        reading = [pool.submit(lambda: [len(library.directions()) % 3 for _ in range(300)]) for _ in range(4)]
        adding = [pool.submit(library.add, pcs) for _ in range(12)]
        assert not any(sum(job.result()) for job in reading)  # a file is there as a whole or not at all
    added = [name for job in adding for name in job.result()]
    assert len(set(added)) == len(added) == 36
    assert set(added) == set(library)
