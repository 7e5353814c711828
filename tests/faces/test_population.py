from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hspace.faces import BINARY, FACTORS, RANGES, factor_table, sample_factors

SEEDS = range(4000)


@pytest.fixture(scope="module")
def population() -> dict[str, np.ndarray]:
    return dict(zip(FACTORS, factor_table(SEEDS).T, strict=True))


@given(seed=st.integers(0, 2**63), independent=st.booleans())
def test_factors_are_determined_by_the_seed_and_in_range(seed: int, independent: bool) -> None:
    factors = sample_factors(seed, independent=independent)
    assert factors == sample_factors(seed, independent=independent)
    assert tuple(factors) == FACTORS
    for name, (low, high) in RANGES.items():
        assert low <= factors[name] <= high
        assert name not in BINARY or factors[name] in (0.0, 1.0)


def test_different_seeds_give_different_factors() -> None:
    assert len({sample_factors(seed)["yaw"] for seed in range(100)}) == 100


def test_table_has_the_factors_in_order() -> None:
    table = factor_table([5, 2])
    assert table[1].tolist() == list(sample_factors(2).values())
    assert factor_table([]).shape == (0, 12)


def correlation(population: dict[str, np.ndarray], a: str, b: str) -> float:
    return float(np.corrcoef(population[a], population[b])[0, 1])


# Expected values follow from the documented distributions: a group difference d between equally likely groups of
# standard deviation s gives a correlation sqrt(d^2 / (d^2 + 4 s^2)) with the group, before clipping.
@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("hair_length", "beard", -0.43),
        ("hair_length", "smile", 0.38),
        ("beard", "smile", -0.22),
        ("age", "glasses", 0.26),
    ],
)
def test_documented_correlations(population: dict[str, np.ndarray], a: str, b: str, expected: float) -> None:
    assert correlation(population, a, b) == pytest.approx(expected, abs=0.06)


def test_all_other_pairs_are_uncorrelated(population: dict[str, np.ndarray]) -> None:
    related = [{"hair_length", "beard"}, {"hair_length", "smile"}, {"beard", "smile"}, {"age", "glasses"}]
    pairs = [(a, b) for i, a in enumerate(FACTORS) for b in FACTORS[:i] if {a, b} not in related]
    assert max(abs(correlation(population, a, b)) for a, b in pairs) < 0.06  # 4 standard errors of 4,000 portraits


def test_independent_factors_are_uncorrelated_and_fill_their_ranges() -> None:
    table = factor_table(SEEDS, independent=True)
    assert np.abs(np.corrcoef(table.T) - np.eye(12)).max() < 0.06
    for column, (low, high) in zip(table.T, RANGES.values(), strict=True):
        assert column.mean() == pytest.approx((low + high) / 2, abs=0.05 * (high - low))


def test_rates_of_the_binary_factors(population: dict[str, np.ndarray]) -> None:
    assert population["beard"].mean() == pytest.approx(0.2, abs=0.03)
    assert population["glasses"].mean() == pytest.approx(0.15 + 0.5 * 1.2 / 2.8, abs=0.03)
    assert population["hair_length"][population["beard"] == 1].mean() == pytest.approx(0.21, abs=0.03)
