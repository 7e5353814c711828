"""Folds: parts merged in order are the whole, and states go through bytes exactly."""

from __future__ import annotations

import signal
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hspace.discovery.contrast import Contrast
from hspace.discovery.sketch import Sketches
from hspace.errors import HspaceError
from hspace.jobs import Fold, State, Table, Together
from hspace.jobs.packing import pack, unpack
from hspace.jobs.shares import share
from hspace.jobs.uninterrupted import uninterrupted

ROWS = torch.randn(24, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = {
    "a": [float(i % 3 == 0) for i in range(24)],
    "b": [float(i % 2) if i > 4 else float("nan") for i in range(24)],
}
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool)


def batch(kind: str, rows: slice) -> object:
    if kind == "table":
        return {"x": ROWS[rows], "y": ROWS[rows, 0]}
    clouds = [ROWS[rows], ROWS[rows] ** 2]
    return {"h": clouds, "rows": {"x": ROWS[rows]}} if kind == "together" else clouds


def fold(kind: str) -> Fold:
    if kind == "table":
        return Table()
    if kind == "sketches":
        return Sketches(24, 8)
    return Contrast(LABELS, 24) if kind == "contrast" else Together({"h": Sketches(24, None), "rows": Table()})


@pytest.mark.parametrize("kind", ["table", "sketches", "contrast", "together"])
@given(cuts=st.lists(st.integers(0, 24), max_size=3))
def test_parts_in_order_are_the_whole(kind: str, cuts: list[int]) -> None:
    """Empty ones among them."""
    whole, edges = fold(kind), [0, *sorted(cuts), 24]
    whole.add(batch(kind, slice(0, 24)))
    merged = fold(kind)
    for first, last in pairwise(edges):
        part = fold(kind)
        if isinstance(part, Contrast):
            part.first = first
        if last > first:
            part.add(batch(kind, slice(first, last)))
        merged.absorb(unpack(pack(part.state())))
    assert merged.rows == whole.rows == 24
    found, expected = merged.state(), whole.state()
    assert found.data == expected.data
    for name in expected.tensors:
        if name.endswith(("axes", "coordinates")):  # known up to their sign
            a, b = (x.abs() for x in (found.tensors[name], expected.tensors[name]))
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
        else:
            torch.testing.assert_close(found.tensors[name], expected.tensors[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", ["table", "sketches", "contrast", "together"])
def test_restored_goes_on_to_the_same_bits(kind: str) -> None:
    whole, broken, again = fold(kind), fold(kind), fold(kind)
    for first in range(0, 24, 5):
        whole.add(batch(kind, slice(first, first + 5)))
    for first in (0, 5):
        broken.add(batch(kind, slice(first, first + 5)))
    again.restore(unpack(pack(broken.state())))
    for first in range(10, 24, 5):
        again.add(batch(kind, slice(first, first + 5)))
    assert again.state().data == whole.state().data
    assert all(torch.equal(again.state().tensors[name], x) for name, x in whole.state().tensors.items())


def test_states_go_through_bytes_exactly() -> None:
    tensors = {str(dtype): (100 * ROWS).to(dtype) for dtype in DTYPES}
    tensors |= {"turned": ROWS.T, "empty": ROWS[:0], "number": torch.tensor(3.5), "json": ROWS[0]}
    found = unpack(pack(State({"text": "\u00e4", "list": [1, None, {"x": 0.1}]}, tensors)))
    assert found.data == {"text": "\u00e4", "list": [1, None, {"x": 0.1}]}
    assert set(found.tensors) == set(tensors)
    for name, x in tensors.items():
        assert found.tensors[name].dtype == x.dtype
        assert torch.equal(found.tensors[name], x)


def test_columns_of_a_table_stay() -> None:
    table = Table()
    table.add({"a": ROWS[:, 0], "b": ROWS[:, 1]})
    with pytest.raises(HspaceError, match=r"changed its attributes from a, b to b, a"):
        table.add({"b": ROWS[:, 1], "a": ROWS[:, 0]})
    assert table.rows == 24


@given(n=st.integers(0, 50), size=st.integers(1, 9))
def test_shares_are_all_rows_in_order_and_even(n: int, size: int) -> None:
    shares = [share(n, rank, size) for rank in range(size)]
    assert [row for each in shares for row in each] == list(range(n))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_wait(number: signal.Signals) -> None:
    done = []

    def end(*_: object) -> None:
        raise KeyboardInterrupt("ended")

    before = signal.signal(number, end)
    try:
        with pytest.raises(KeyboardInterrupt, match="ended"), uninterrupted():
            done.append(signal.raise_signal(number))
        assert signal.getsignal(number) is end
    finally:
        signal.signal(number, before)
    assert done == [None]
