"""What an iteration draws: in range, uniform, and a function of the seed and the iteration."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from hspace.learning.draw import Draw, draw

seeds = st.integers(0, 2**32)
iterations = st.integers(0, 2**31)


@st.composite
def arguments(make: st.DrawFn) -> dict[str, float]:
    low, high = sorted(make(st.tuples(st.floats(0, 4), st.floats(0.01, 10))))
    counts = {"batch": make(st.integers(1, 40)), "population": make(st.integers(1, 60)), "n": make(st.integers(2, 12))}
    return {**counts, "min_strength": low, "max_strength": max(high, 0.01)}


def drawn(seed: int, iteration: int, arguments: dict[str, float]) -> Draw:
    return draw(seed, iteration, **arguments)  # type: ignore[arg-type]


@given(seeds, iterations, arguments())
def test_ranges(seed: int, iteration: int, a: dict[str, float]) -> None:
    found = drawn(seed, iteration, a)
    batch = int(a["batch"])
    assert found.rows.shape == found.kinds.shape == found.strengths.shape == (batch,)
    assert 0 <= int(found.rows.min()) <= int(found.rows.max()) < a["population"]
    assert 0 <= int(found.kinds.min()) <= int(found.kinds.max()) < a["n"]
    sizes = found.strengths.double().abs()
    rounding = 1e-6 * a["max_strength"]
    assert float(sizes.min()) >= a["min_strength"] - rounding
    assert float(sizes.max()) <= a["max_strength"] + rounding
    if batch <= a["population"]:
        assert len(found.rows.unique()) == batch


@given(seeds, iterations, arguments())
def test_the_same_whenever_it_is_asked(seed: int, iteration: int, a: dict[str, float]) -> None:
    first = drawn(seed, iteration, a)
    torch.rand(5)
    again = drawn(seed, iteration, a)
    for name in ("rows", "kinds", "strengths"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert torch.equal(*(torch.rand(4, generator=found.generator) for found in (first, again)))


@given(seeds, iterations)
def test_iterations_and_seeds_differ(seed: int, iteration: int) -> None:
    options = {"batch": 8, "population": 1000, "n": 10, "min_strength": 0.5, "max_strength": 6.0}
    first, later, other = (
        drawn(s, i, options) for s, i in ((seed, iteration), (seed, iteration + 1), (seed + 1, iteration))
    )
    for found in (later, other):
        assert not torch.equal(first.strengths, found.strengths)
        assert not torch.equal(first.rows, found.rows)
    assert not torch.equal(*(torch.rand(4, generator=found.generator) for found in (first, later)))


def test_distributions() -> None:
    """s = max U(-1, 1), moved out to min; types and samples uniform."""
    options = {"batch": 4, "population": 8, "n": 5, "min_strength": 1.5, "max_strength": 6.0}
    found = [drawn(0, i, options) for i in range(1000)]
    rows, kinds, strengths = (torch.cat([getattr(d, name) for d in found]) for name in ("rows", "kinds", "strengths"))
    assert chisquare(rows.bincount().numpy()).pvalue > 1e-3
    assert chisquare(kinds.bincount().numpy()).pvalue > 1e-3
    sizes = strengths.abs()
    moved = sizes == 1.5
    assert abs(float(moved.float().mean()) - 0.25) < 0.03
    assert abs(float((strengths > 0).float().mean()) - 0.5) < 0.03
    assert kstest(sizes[~moved].numpy(), "uniform", args=(1.5, 4.5)).pvalue > 1e-3
