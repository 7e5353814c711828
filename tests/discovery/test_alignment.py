from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hspace.discovery.alignment import align

K, STEPS = 4, 7
Scores = list[NDArray[np.float64]]


def shuffled(truth: Scores, orders: list[list[int]], signs: list[list[float]]) -> Scores:
    """As PCA would hand them over: at every timestep in some order, with some signs."""
    return [scores[:, order] * sign for scores, order, sign in zip(truth, orders, signs, strict=True)]


def drifting(drift: float, seed: int = 0) -> Scores:
    """Scores of 200 samples that change a little from timestep to timestep."""
    rng = np.random.default_rng(seed)
    steps = [rng.normal(size=(200, K))]
    for _ in range(STEPS - 1):
        steps.append(np.sqrt(1 - drift**2) * steps[-1] + drift * rng.normal(size=(200, K)))
    return steps


ORDERS = st.lists(st.permutations(list(range(K))), min_size=STEPS, max_size=STEPS)
SIGNS = st.lists(st.lists(st.sampled_from([-1.0, 1.0]), min_size=K, max_size=K), min_size=STEPS, max_size=STEPS)


@given(orders=ORDERS, signs=SIGNS, seed=st.integers(0, 5))
def test_swaps_and_flips_are_undone(orders: list[list[int]], signs: list[list[float]], seed: int) -> None:
    given_scores = shuffled(drifting(0.3, seed), orders, signs)
    order, sign, agreement = align(given_scores)
    aligned = [scores[:, o] * s for scores, o, s in zip(given_scores, order, sign, strict=True)]
    for one, next_one in pairwise(aligned):
        assert [np.corrcoef(one[:, j], next_one[:, j])[0, 1] > 0.7 for j in range(K)] == [True] * K
    assert ((agreement > 0.7) & (agreement < 1 + 1e-9)).all()


def test_every_timestep_keeps_all_components() -> None:
    rng = np.random.default_rng(0)
    order, sign, _ = align([rng.normal(size=(50, K)) for _ in range(STEPS)])  # nothing in common
    assert [sorted(row) for row in order.tolist()] == [list(range(K))] * STEPS
    assert set(np.unique(sign)) <= {-1.0, 1.0}


def test_agreement_tells_where_a_component_breaks() -> None:
    steps = drifting(0.0)
    steps[-1] = steps[-1].copy()
    steps[-1][:, 2] = np.random.default_rng(1).normal(size=200)
    _, _, agreement = align(steps)
    assert agreement[-1, 2] < 0.3
    assert np.delete(agreement[-1], 2).min() > 0.99


def test_one_timestep_stays_as_it_is() -> None:
    order, sign, agreement = align(drifting(0.0)[:1])
    assert (order.tolist(), sign.tolist(), agreement.tolist()) == ([[0, 1, 2, 3]], [[1.0] * K], [[1.0] * K])
