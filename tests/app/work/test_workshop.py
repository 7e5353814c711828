"""Work in a real process: it tells how far it is, is cancelled in the middle, and its end is noticed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hspace.app.turns import Superseded
from hspace.app.work.bench import Opening
from hspace.app.work.jobs import AttributeSearch, ComponentSearch
from hspace.app.work.workshop import Work, Workshop
from hspace.directions import Directions
from hspace.errors import HspaceError

LONG = ComponentSearch(2, 4000)


@pytest.fixture(scope="module")
def workshop(opening: Opening) -> Iterator[Workshop]:
    workshop = Workshop(opening)
    yield workshop
    workshop.close()


def until_begun(work: Work) -> None:
    for _ in range(600):
        if work.fraction > 0 or work.wait(0.1):
            return
    raise AssertionError("it never began")


def test_work_tells_how_far_it_is_and_is_cancelled_at_once(workshop: Workshop, tmp_path: Path) -> None:
    work, waiting = workshop.begin(LONG, tmp_path / "a.safetensors"), workshop.begin(LONG, tmp_path / "b.safetensors")
    until_begun(work)
    assert work.begun
    assert not waiting.begun
    assert 0 < work.fraction < 1
    waiting.cancel()
    before = time.monotonic()
    work.cancel()
    with pytest.raises(Superseded):
        work.result()
    assert time.monotonic() - before < 5  # far less than the work, which takes minutes
    with pytest.raises(Superseded):
        waiting.result()
    assert not list(tmp_path.glob("*.safetensors"))
    # another process takes over
    assert workshop.begin(ComponentSearch(2, 12), tmp_path / "c.safetensors").result() == {}
    assert Directions.load(tmp_path / "c.safetensors").names == ("pc0", "pc1")


def test_what_a_job_refuses_is_told_and_the_process_goes_on(workshop: Workshop, tmp_path: Path) -> None:
    with pytest.raises(HspaceError, match=r"no attribute 'blue'"):
        workshop.begin(AttributeSearch("blue", 24), tmp_path / "a.safetensors").result()
    assert workshop.begin(AttributeSearch("red", 24), tmp_path / "b.safetensors").result() == {}


def test_a_process_that_dies_is_noticed(workshop: Workshop, tmp_path: Path) -> None:
    work = workshop.begin(LONG, tmp_path / "a.safetensors")
    until_begun(work)
    assert workshop._process is not None
    workshop._process.kill()  # as the system does when memory runs out
    with pytest.raises(HspaceError, match=r"ended before it was done"):
        work.result()


def test_a_model_that_is_gone_is_told(opening: Opening, tmp_path: Path) -> None:
    from dataclasses import replace

    workshop = Workshop(replace(opening, model=str(tmp_path / "nothing")))
    try:
        with pytest.raises(HspaceError, match=r"nothing"):
            workshop.begin(ComponentSearch(2, 12), tmp_path / "a.safetensors").result()
    finally:
        workshop.close()


def test_its_process_ends_with_it(opening: Opening, tmp_path: Path) -> None:
    workshop = Workshop(opening)
    work = workshop.begin(LONG, tmp_path / "a.safetensors")
    until_begun(work)
    process = workshop._process
    assert process is not None
    workshop.close()
    assert process.wait(10) != 0
    with pytest.raises(HspaceError):
        work.result()
