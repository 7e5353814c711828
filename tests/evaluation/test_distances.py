from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import linalg
from torch import Tensor

from hspace.errors import HspaceError
from hspace.evaluation.distances import frechet_distance, ks_distance

seeds = st.integers(0, 2**32)


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@given(seed=seeds, d=st.integers(1, 8), n=st.integers(2, 40), m=st.integers(2, 40))
def test_frechet_agrees_with_scipys_matrix_root(seed: int, d: int, n: int, m: int) -> None:
    a, b = normal(seed, n, d), 2 * normal(seed + 1, m, d) @ normal(seed + 2, d, d) + 1
    ridge = 1e-9 * torch.eye(d, dtype=torch.float64)  # sqrtm of a singular product is unreliable, ours is not
    cov_a, cov_b = torch.cov(a.T).reshape(d, d) + ridge, torch.cov(b.T).reshape(d, d) + ridge
    root = linalg.sqrtm((cov_a @ cov_b).numpy()).real
    expected = (a.mean(0) - b.mean(0)).square().sum() + torch.trace(cov_a + cov_b) - 2 * root.trace()
    assert frechet_distance(a, b) == pytest.approx(expected.item(), rel=1e-3, abs=1e-3)


@given(seed=seeds, shift=st.floats(-10, 10), scale=st.floats(0.1, 10))
def test_frechet_of_a_shifted_and_scaled_sample_has_a_closed_form(seed: int, shift: float, scale: float) -> None:
    a = normal(seed, 50, 4)
    b = scale * a + shift
    moved = (b.mean(0) - a.mean(0)).square().sum() + (scale - 1) ** 2 * torch.cov(a.T).trace()
    assert frechet_distance(a, b) == pytest.approx(moved.item(), rel=1e-9, abs=1e-9)


@given(seed=seeds, n=st.integers(2, 30))
def test_frechet_is_symmetric_zero_on_itself_and_never_negative(seed: int, n: int) -> None:
    a, b = normal(seed, n, 6), normal(seed + 1, 20, 6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-6)
    assert 0 <= frechet_distance(a, a) < 1e-6


def test_frechet_computes_in_float64() -> None:
    a = normal(0, 200, 3).float() + 1000  # float32 covariances would be wrong in the third digit
    assert frechet_distance(a, 2 * a.double()) == pytest.approx(
        (a.double().mean(0)).square().sum().item() + torch.cov(a.double().T).trace().item(), rel=1e-9
    )


@given(shift=st.integers(0, 100))
def test_ks_of_shifted_grids_has_a_closed_form(shift: int) -> None:
    grid = torch.arange(100.0)
    assert ks_distance(grid, grid + shift) == pytest.approx(shift / 100)


@given(seed=seeds, n=st.integers(2, 30), m=st.integers(2, 30))
def test_ks_is_the_largest_gap_of_the_distribution_functions(seed: int, n: int, m: int) -> None:
    a, b = normal(seed, n).round(decimals=1), normal(seed + 1, m).round(decimals=1)  # rounded: with ties
    gaps = [abs((a <= x).double().mean() - (b <= x).double().mean()).item() for x in torch.cat([a, b])]
    assert ks_distance(a, b) == pytest.approx(max(gaps))


def test_ks_converges_to_the_distance_of_the_distributions() -> None:
    expected = math.erf(0.5 / math.sqrt(2))  # of N(0, 1) and N(1, 1): at their midpoint
    assert ks_distance(normal(0, 20_000), normal(1, 20_000) + 1) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(1, 3), torch.zeros(5, 3), r"a must be of 2 dimension\(s\) and length >= 2, not \(1, 3\)"),
        (torch.zeros(5, 3), torch.full((5, 3), torch.nan), "b holds values that are not finite"),
    ],
)
def test_bad_features_are_named(a: Tensor, b: Tensor, message: str) -> None:
    with pytest.raises(HspaceError, match=message):
        frechet_distance(a, b)


def test_a_single_score_is_refused() -> None:
    with pytest.raises(HspaceError, match="a must be of"):
        ks_distance(torch.zeros(1), torch.zeros(3))
