"""What goes from process to process: as many bytes as were said before."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from hspace.jobs.packing import State, pack, packed_size, unpack
from hspace.jobs.shares import handovers

DTYPES = (
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.float16, torch.bfloat16, torch.int32, torch.float32,
    torch.float64, torch.int64,
)  # fmt: skip
SHAPES = st.tuples(st.lists(st.integers(0, 12), max_size=3), st.sampled_from(DTYPES))


@given(st.dictionaries(st.text("aB_.é0", max_size=12), SHAPES, max_size=6), st.lists(st.integers(0, 10**7), max_size=9))
def test_the_size_is_known_before_there_are_numbers(
    shapes: dict[str, tuple[list[int], torch.dtype]], numbers: list[int]
) -> None:
    here, nowhere = (
        State({"n": numbers}, {name: torch.zeros(size, dtype=dtype, device=device) for name, (size, dtype) in given})
        for device, given in (("cpu", shapes.items()), ("meta", shapes.items()))
    )
    packed = pack(here)
    assert packed_size(nowhere) == len(packed)
    assert unpack(packed).data == here.data


@given(st.integers(1, 200))
def test_everything_is_handed_over_once_in_order(size: int) -> None:
    have = {rank: [rank] for rank in range(size)}
    rounds = handovers(size)
    assert len(rounds) == (size - 1).bit_length()
    for pairs in rounds:
        assert len({rank for pair in pairs for rank in pair}) == 2 * len(pairs)  # all at the same time
        for giver, taker in pairs:
            have[taker] += have.pop(giver)
    assert have == {0: list(range(size))}
