"""Plans against closed forms, and their bytes against what processes send each other."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.jobs.launching import launched
from tests.planning import merging

import hspace
from hspace.discovery.sketch import Sketches
from hspace.errors import HspaceError
from hspace.jobs.packing import pack
from hspace.planning import Costs, planned
from hspace.planning.plan import state_of

K, RANK = 3, 2 * 3 + 120
PCA = hspace.PCA(K)
COSTS = Costs(
    batch=8, step=2.0, step_of_one=0.6, fold_first=0.1, fold=0.5, absorb=3.0, packing=1e-6, unpacking=2e-6,
    clouds=4, cloud=1000, h_bytes=2, on_host=False, idle=10**6, busy=3 * 10**6, host=10**5,
)  # fmt: skip
FULL = 4 * 4 * (1000 + RANK * 1000 + RANK + 1000 + 256 * RANK)  # bytes of a sketch that has seen enough, float32


def test_one_process() -> None:
    plan = planned(PCA, COSTS, samples=19, steps=4)
    # two batches of 8 and one of 3, which lies 2 / 7 of the way from one sample to a batch
    assert plan.sampling == pytest.approx(4 * (2 * 2.0 + 0.6 + 1.4 * 2 / 7))
    assert plan.folding == pytest.approx(4 * sum(0.1 + 0.4 * seen / RANK for seen in (0, 8, 16)))
    assert (plan.merging, plan.sent) == (0, 0)
    assert plan.seconds == plan.sampling + plan.folding


def test_a_million_samples() -> None:
    plan = planned(PCA, COSTS, samples=10**6, steps=4)
    assert plan.sampling == 4 * 10**6 / 8 * 2.0
    assert plan.folding == pytest.approx(4 * 10**6 / 8 * 0.5, rel=1e-4)
    assert plan.state == pytest.approx(FULL, rel=0.001)
    batch = 8 * 4 * 1000 * 2
    of_batch, temporary = 4 * 4 * (1000 + 7 * 1000 + 1000 + 7 + 8 * 7), 2 * (RANK + 7 + 1) * 1000 * 4
    assert plan.device == 10**6 + 2 * FULL + of_batch + batch + temporary
    assert plan.host == 10**5 + FULL


def test_merging_takes_rounds() -> None:
    (two, four, five), size = (planned(PCA, COSTS, 10**4, 4, n, bandwidth=1e9) for n in (2, 4, 5)), FULL
    there = size * (1e-6 + 2e-6 + 1e-9)
    for plan, rounds in ((two, 1), (four, 2), (five, 3)):
        broadcast = size * (1e-6 + 2e-6 + rounds * 1e-9)
        assert plan.merging == pytest.approx(rounds * (there + 4 * 3.0) + broadcast, rel=1e-3)
        assert plan.sent == pytest.approx(2 * (plan.processes - 1) * size, rel=1e-3)
        assert plan.sampling == pytest.approx(4 * -(-(10**4) // plan.processes) / 8 * 2.0, rel=1e-3)
    assert planned(PCA, COSTS, 10**4, 4, 4, bandwidth=math.inf).merging < four.merging
    assert two.host == 10**5 + 4 * FULL


def test_on_a_cpu_all_memory_is_one() -> None:
    plan = planned(PCA, replace(COSTS, on_host=True), 10**6, 4, 2)
    assert plan.device == plan.host == 10**6 + 5 * FULL


def test_more_processes_than_samples() -> None:
    plan = planned(PCA, COSTS, samples=4, steps=4, processes=8)
    assert plan.sampling == pytest.approx(4 * 0.6)
    assert plan.sent > 0


def test_too_few_samples() -> None:
    with pytest.raises(HspaceError, match="3 components need more samples than that, not 3"):
        planned(PCA, COSTS, samples=3, steps=4)


@pytest.mark.parametrize("wrong", ["samples", "steps", "processes", "bandwidth"])
def test_nothing_to_plan(wrong: str) -> None:
    with pytest.raises(HspaceError, match=f"{wrong} must be more than 0, not 0"):
        planned(PCA, COSTS, **{"samples": 10, "steps": 4, wrong: 0})


@settings(max_examples=25)
@given(st.integers(5, 40), st.integers(1, 9), st.integers(1, 4), st.booleans(), st.integers(2, 12))
def test_states_have_the_bytes_that_are_planned(samples: int, batch: int, k: int, joint: bool, size: int) -> None:
    pca = hspace.PCA(k, sketch_size=size, joint=joint)
    found, costs = pca.sketches("cpu"), replace(COSTS, clouds=1 if joint else 3, cloud=50, h_bytes=8)
    merging.fill(found, samples, batch, costs.clouds)
    expected = state_of(pca, costs, samples)
    shapes = [{name: (x.shape, x.dtype) for name, x in state.tensors.items()} for state in (found.state(), expected)]
    assert shapes[0] == shapes[1]
    assert len(pack(found.state())) == planned(pca, replace(costs, batch=batch), samples, 3).state
    assert isinstance(found, Sketches)


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_send_the_bytes_that_are_planned(processes: int, tmp_path: Path) -> None:
    result = launched(processes, Path(merging.__file__), tmp_path, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(processes)]
    for name, (pca, samples) in merging.FITS.items():
        costs = replace(COSTS, clouds=1 if pca.joint else 2, cloud=256 if pca.joint else 128, h_bytes=8)
        expected = planned(pca, costs, samples, steps=2, processes=processes).sent
        assert sum(each[name]["given"] for each in found) == expected, name
        if found[0][name]["written"]:  # by the system, gloo's own words with it
            written = sum(each[name]["written"] for each in found)
            assert expected < written < expected + 4000 * processes, name
