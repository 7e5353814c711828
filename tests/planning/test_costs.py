"""Costs, by a clock that counts how often it is asked: nothing here depends on how fast a machine is."""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import count

import pytest
import torch
from tests import tiny

import hspace
from hspace.planning import Costs, Pass, at_throughput, measured

SAMPLER = hspace.Sampler(tiny.denoiser(), steps=3, batch_size=4)
ONE = Pass(operations=10**9, activations=10**6, weights=10**8, h_numbers=500, h_bytes=2)


def asked() -> float:
    return float(next(TICKS))


TICKS = count()


@pytest.mark.parametrize("joint", [False, True])
def test_every_part_is_measured(joint: bool) -> None:
    found = measured(hspace.PCA(2, joint=joint), SAMPLER, clock=asked, seconds=0)
    assert (found.step, found.step_of_one, found.fold_first, found.fold, found.absorb) == (1, 1, 1, 1, 1)
    assert (found.batch, found.h_bytes, found.on_host) == (4, 8, True)
    assert (found.clouds, found.cloud) == ((1, 3 * 128) if joint else (3, 128))
    assert 0 < found.idle <= found.busy
    packed = 1 / found.packing
    assert found.unpacking == found.packing
    # the mean, the axes, their values, the squares, 125 coordinates: float64
    rank, cloud = min(124, found.cloud), found.cloud
    assert packed == pytest.approx(8 * (cloud + rank * cloud + rank + cloud + 125 * rank), rel=0.01)


def test_measuring_changes_no_sample() -> None:
    before = SAMPLER.run(range(2))
    measured(hspace.PCA(1), SAMPLER, clock=asked, seconds=0)
    assert torch.equal(SAMPLER.run(range(2)), before)
    assert SAMPLER.batch_size == 4


def test_a_batch_that_does_not_fit_is_halved_as_in_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = hspace.Sampler(tiny.denoiser(), steps=2, max_batch_size=8)
    real = sampler.model.observe

    def small(x_t: torch.Tensor, *args: object, **options: object) -> object:
        if len(x_t) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(x_t, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(sampler.model, "observe", small)
    assert measured(hspace.PCA(1), sampler, clock=asked, seconds=0).batch == 2


def test_operations_over_throughput() -> None:
    pca = hspace.PCA(2)
    slow, fast = (at_throughput(pca, ONE, 10, 4, speed, clock=asked) for speed in (1e9, 1e12))
    assert (slow.step, slow.step_of_one, fast.step) == (4, 1, 0.004)
    assert (slow.clouds, slow.cloud, slow.batch, slow.on_host) == (10, 500, 4, False)
    assert (slow.idle, slow.busy) == (10**8, 10**8 + 4 * 10**6)

    # eigenvalues by the clock, and 2 R (R + r) d operations for R rows at an eighth of the speed
    def products(rows: int, kept: int) -> float:
        return 8 * 2 * rows * (rows + kept) * 500 / 1e9

    rank = 2 * 2 + 120
    assert slow.fold_first == pytest.approx(1 + products(4, 4))
    assert slow.fold == pytest.approx(2 + products(4, 4) + products(rank + 5, rank))
    assert slow.absorb == pytest.approx(1 + products(2 * rank + 1, rank))


def test_a_joint_pca_has_one_sketch_of_everything() -> None:
    each, joint = (at_throughput(hspace.PCA(2, joint=x), ONE, 10, 4, 1e12, clock=asked) for x in (False, True))
    assert (joint.clouds, joint.cloud) == (1, 5000)
    alike = {name for name, value in asdict(each).items() if asdict(joint)[name] == value}
    assert {"step", "busy", "batch"} <= alike
    assert isinstance(replace(joint, batch=2), Costs)
