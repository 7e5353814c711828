"""A job that is interrupted, at whatever moment, goes on to the same bits."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from tests import tiny
from tests.jobs import everything

import hspace
from hspace.errors import HspaceError
from hspace.jobs import Checkpoint, World

SAVED = {  # and after how many passes of the network each is interrupted; `labelled` draws its pictures first, in 8
    everything.pca: 5,
    everything.samples: 3,
    everything.annotated: 7,
    everything.annotated_in_noise: 5,
    everything.labelled: 13,
    everything.evaluation: 9,
}


@contextmanager
def interrupted_after(calls: int) -> Iterator[None]:
    """Ctrl-C within a later pass of the network."""
    left = [calls]

    def count(module: torch.nn.Module, _: Any) -> None:
        if isinstance(module, UNet2DModel):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt

    handle = torch.nn.modules.module.register_module_forward_pre_hook(count)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize("job", SAVED, ids=lambda job: job.__name__)
def test_interrupted_again_and_again_ends_with_the_same_bits(job: Callable[..., Any], tmp_path: Path) -> None:
    expected, found, messages = job(), None, []
    while found is None:
        try:
            with (
                interrupted_after(SAVED[job]),
                Checkpoint(tmp_path / "state.safetensors", every=0, resume=True) as checkpoint,
            ):
                found = job(checkpoint)
                assert list(tmp_path.iterdir())  # until the block is left
        except KeyboardInterrupt as interrupt:
            messages.append(str(interrupt))
    assert messages
    assert all(message == "interrupted; what was done is kept, resume goes on" for message in messages)
    assert list(expected) == list(found)
    for name in expected:
        assert torch.equal(found[name], expected[name]), name
    assert not list(tmp_path.iterdir())


def test_the_population_of_a_training_is_resumed(tmp_path: Path) -> None:
    """Its drawing is interrupted, and so is the training after it."""
    expected = everything.learned(tmp_path / "whole")
    with interrupted_after(5), pytest.raises(KeyboardInterrupt, match=r"what was done is kept, resume goes on"):
        everything.learned(tmp_path / "broken")
    (kept,) = (tmp_path / "broken").iterdir()
    assert kept.name == "population.partial.components.safetensors"
    found = everything.learned(tmp_path / "broken", resume=True)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    names = [sorted(file.name for file in (tmp_path / one).glob("*.*")) for one in ("whole", "broken")]
    assert names[0] == names[1]


def test_killed_fifty_times(tmp_path: Path) -> None:
    """kill -9 at random moments of a real process that saves all the time: what is on disk is always whole."""
    torch.set_num_threads(1)  # as a fork needs it
    sampler, seeds = everything.sampler(), range(2000)
    hspace.PCA(2).fit(sampler, range(4))  # warm
    checkpoint = Checkpoint(tmp_path / "state.safetensors", every=0, resume=True)
    file, chance, told = checkpoint.file("components", World()), random.Random(0), 0

    def work(tell: int) -> None:
        def done(rows: slice, _: torch.Tensor) -> None:
            os.write(tell, rows.stop.to_bytes(4, "big"))

        try:
            hspace.PCA(2).fit(sampler, seeds, checkpoint=checkpoint, on_batch=done)
        finally:
            os._exit(1)

    for _ in range(50):
        reader, writer = os.pipe()
        if not (child := os.fork()):
            work(writer)
        os.close(writer)
        with os.fdopen(reader, "rb", buffering=0) as pipe:
            reported = [pipe.read(4) for _ in range(chance.randrange(8))]
            time.sleep(chance.uniform(0.0, 0.03))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            reported += iter(lambda: pipe.read(4), b"")
        told = int.from_bytes(reported[-1], "big") if reported else told
        if file.exists():
            assert rows_in(file) >= told  # no batch that was done is lost
    assert 100 < told < len(seeds)
    header, tensors = hspace.tensorfile.read(file, "hspace-job-1", "a state")
    expected = hspace.PCA(2).fit(sampler, seeds[: rows_in(file)])._seen.state()
    assert header["state"] == expected.data
    for name, x in expected.tensors.items():
        assert torch.equal(tensors[name], x), name
    # The next start takes away what was half written, and goes on.
    assert checkpoint.load("components", World(), header["about"]) is not None
    assert list(tmp_path.iterdir()) == [file]


def rows_in(file: Path) -> int:
    header, _ = hspace.tensorfile.read(file, "hspace-job-1", "a state")
    return int(header["state"]["n"][0])


def begun(path: Path, **options: Any) -> None:
    """A PCA that is interrupted in its second batch."""
    with interrupted_after(3), pytest.raises(KeyboardInterrupt):
        fit(Checkpoint(path, every=0), **options)


def fit(
    checkpoint: Checkpoint, *, k: int = 2, first: int = 0, eta: float = 1.0, layout: str = "", **model: Any
) -> hspace.PCA:
    sampler = hspace.Sampler(tiny.denoiser(**model), steps=2, eta=eta, batch_size=2)
    if layout == "channels last":
        sampler.model.channels_last()
    return hspace.PCA(k).fit(sampler, range(first, first + 8), checkpoint=checkpoint)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"k": 3}, "n_components 2, here 3"),
        ({"first": 1}, "seeds .*, here "),
        ({"eta": 0.5}, "etas .*, here "),
        ({"seed": 1}, "weight_hash .*, here "),
        ({"tap": "before"}, "tap mid_block, here "),
        ({"dtype": torch.float32}, "weight_hash|dtype"),
        ({"layout": "channels last"}, "channels_last False, here True"),
    ],
)
def test_the_state_of_another_job_is_refused(other: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    begun(path)
    with pytest.raises(
        HspaceError, match=rf"state.components.safetensors is of another job: its ({message})"
    ) as caught:
        fit(Checkpoint(path, resume=True), **other)
    assert "\n" not in str(caught.value)


def test_a_job_that_was_begun_does_not_begin_anew_by_accident(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    begun(path)
    with pytest.raises(HspaceError, match=r"this job was begun already; resume it, or remove the file"):
        fit(Checkpoint(path))
    fit(Checkpoint(path), k=1)  # another one may


def test_a_state_of_other_processes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    begun(path)
    several = tmp_path / "state.components.rank0-of-3.safetensors"
    (tmp_path / "state.components.safetensors").rename(several)
    with pytest.raises(HspaceError, match=r"rank0-of-3.safetensors is of a job of 3 processes, here 1 process"):
        fit(Checkpoint(path, resume=True))


def test_a_state_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    begun(path)
    file = tmp_path / "state.components.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(HspaceError, match=r"no readable safetensors file"):
        fit(Checkpoint(path, resume=True))


def test_nothing_is_written_before_it_is_time(tmp_path: Path) -> None:
    seen = []
    sampler = everything.sampler()
    with Checkpoint(tmp_path / "state.safetensors") as checkpoint:
        pca = hspace.PCA(1)
        pca.fit(sampler, range(4), checkpoint=checkpoint, on_batch=lambda *_: seen.append(list(tmp_path.iterdir())))
        assert [file.name for file in tmp_path.iterdir()] == ["state.components.safetensors"]
    assert seen == [[], []]
    assert not list(tmp_path.iterdir())


def test_seconds_between_savings_are_not_negative() -> None:
    with pytest.raises(HspaceError, match="must not be negative, but are -1"):
        Checkpoint("state.safetensors", every=-1)
