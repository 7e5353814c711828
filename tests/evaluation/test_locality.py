from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hspace.errors import HspaceError
from hspace.evaluation import inside_share

PLAIN = torch.zeros(2, 3, 4, 6)


def test_a_known_change_inside_and_outside_has_a_closed_form() -> None:
    masks = torch.zeros(2, 4, 6)
    masks[0, :, :2] = 1.0  # 8 of 24 pixels
    masks[1, 0, 0] = 0.5
    edited = PLAIN + 0.3
    edited[0, :, :, :2] = -2.0  # 8 pixels of 3 * 4 inside, 16 of 3 * 0.09 outside
    expected = [8 * 4 / (8 * 4 + 16 * 0.09), 0.5 / 24]
    assert inside_share(PLAIN, edited, masks).tolist() == pytest.approx(expected, rel=1e-6)


@given(seed=st.integers(0, 2**32), scale=st.floats(1e-3, 1e3))
def test_shares_of_a_mask_and_its_complement_add_up_at_any_size_of_the_change(seed: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    plain, change = torch.randn(2, 3, 3, 4, 6, generator=generator, dtype=torch.float64)
    mask = torch.rand(1, 4, 6, generator=generator, dtype=torch.float64)
    share = inside_share(plain, plain + scale * change, mask)
    assert ((share > 0) & (share < 1)).all()
    torch.testing.assert_close(share + inside_share(plain, plain + change, 1 - mask), torch.ones(3).double())
    torch.testing.assert_close(share, inside_share(plain, plain + change, mask.expand(3, 4, 6)))


def test_all_and_nothing_and_bool_masks() -> None:
    everything = torch.ones(1, 4, 6, dtype=torch.bool)
    assert inside_share(PLAIN, PLAIN + 1, everything).tolist() == [1.0, 1.0]
    assert inside_share(PLAIN, PLAIN + 1, ~everything).tolist() == [0.0, 0.0]


def test_small_changes_of_low_precision_are_measured() -> None:
    edited = PLAIN.half() + 1e-4  # its square is below the smallest float16
    half = torch.zeros(1, 4, 6)
    half[:, :, :3] = 1.0
    assert inside_share(PLAIN.half(), edited, half).tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(
    ("edited", "masks", "message"),
    [
        (
            PLAIN + torch.tensor([1.0, 0.0]).reshape(2, 1, 1, 1),
            torch.ones(1, 4, 6),
            "edited picture 1 is the plain one",
        ),
        (PLAIN + 1, torch.ones(3, 4, 6), r"masks have shape \(3, 4, 6\), expected \(1, 4, 6\) or \(2, 4, 6\)"),
        (PLAIN + 1, torch.ones(1, 6, 4), r"masks have shape \(1, 6, 4\)"),
        (PLAIN + 1, torch.full((1, 4, 6), 2.0), r"masks must lie in \[0, 1\]"),
        (PLAIN + 1, torch.full((1, 4, 6), torch.nan), r"masks must lie in \[0, 1\]"),
        (PLAIN + torch.nan, torch.ones(1, 4, 6), "not finite"),
    ],
)
def test_bad_input_is_named(edited: Tensor, masks: Tensor, message: str) -> None:
    with pytest.raises(HspaceError, match=message):
        inside_share(PLAIN, edited, masks)
