"""The bar goes up, and the time left is that of what is left."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hspace.app.work.meter import Meter


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(0.1, 10.0)), min_size=1, max_size=4))
def test_it_rises_to_one_and_never_falls(passes: list[tuple[int, float]]) -> None:
    meter = Meter([cost for _, cost in passes])
    seen = [0.0]
    for total, _ in passes:
        for done in range(1, total + 1):
            meter(done, total)
            seen.append(meter.fraction)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)


def test_a_pass_that_was_not_expected_changes_nothing() -> None:
    meter = Meter([1.0, 1.0])
    for done in (1, 1, 1):
        meter(done, 1)
    assert meter.fraction == 1.0


def test_the_time_left_is_told_once_it_is_known() -> None:
    now = [0.0]
    meter = Meter([4.0], clock=lambda: now[0])
    now[0] = 1.0
    meter(1, 4)
    assert meter.left is None
    now[0] = 10.0
    assert meter.left == pytest.approx(30.0)
    meter(2, 4)
    assert meter.left == pytest.approx(10.0)
