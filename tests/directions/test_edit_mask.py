"""Spatial masks of edits, at the resolution of h or of x_T."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from tests import tiny
from torch import Tensor

import hspace
from hspace import HspaceError
from hspace.diffusion import Injection, Space
from hspace.directions import Direction, Edit, Term

MODEL = tiny.denoiser()
SAMPLER = hspace.Sampler(MODEL, 4, batch_size=3)
SEEDS = range(4)
SIZE: dict[Space, tuple[int, int]] = {"h": (4, 4), "noise": (8, 8)}

injections = pytest.mark.parametrize("injection", ["symmetric", "asymmetric"])
spaces = pytest.mark.parametrize("space", ["h", "noise"])


def direction(space: Space, seed: int = 0) -> Direction:
    setting = SAMPLER.setting(space=space)
    shape = (len(setting.timesteps), *setting.h_shape)
    return Direction(torch.randn(shape, generator=torch.Generator().manual_seed(seed)), setting, "d")


def halves(space: Space) -> tuple[Tensor, Tensor]:
    left = torch.zeros(SIZE[space])
    left[:, : SIZE[space][1] // 2] = 1
    return left, 1 - left


@injections
@spaces
def test_a_mask_of_ones_is_no_mask_and_one_of_zeros_no_edit(space: Space, injection: Injection) -> None:
    d = direction(space)
    plain, whole = SAMPLER.run(SEEDS), SAMPLER.run(SEEDS, Edit.of(d, 2.0, injection=injection))
    ones, zeros = torch.ones(SIZE[space]), torch.zeros(SIZE[space])
    assert torch.equal(SAMPLER.run(SEEDS, Edit.of(d, 2.0, mask=ones, injection=injection)), whole)
    assert torch.equal(SAMPLER.run(SEEDS, Edit.of(d, 2.0, mask=zeros, injection=injection)), plain)
    assert not torch.equal(whole, plain)


@injections
@spaces
def test_complementary_masks_add_up_to_the_whole(space: Space, injection: Injection) -> None:
    d = direction(space)
    left, right = (Edit.of(d, 2.0, mask=mask, injection=injection) for mask in halves(space))
    whole = SAMPLER.run(SEEDS, Edit.of(d, 2.0, injection=injection))
    assert torch.equal(SAMPLER.run(SEEDS, left + right), whole)
    assert not torch.allclose(SAMPLER.run(SEEDS, left), whole, atol=1e-3)


def test_a_mask_multiplies_the_shift_in_the_window_only() -> None:
    d, mask = direction("h"), torch.rand(4, 4, generator=torch.Generator().manual_seed(1))
    setting = SAMPLER.setting()
    shift_at = Edit.of(d, 2.0, window=(60, 20), mask=mask).bind(setting, torch.device("cpu"))
    assert shift_at is not None
    for row, timestep in enumerate(SAMPLER.timesteps):
        shift = shift_at(timestep)
        if 60 >= timestep >= 20:
            torch.testing.assert_close(shift, 2 * d.vectors[row] * mask)
        else:
            assert shift is None


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float16, torch.float64])
def test_masks_of_any_kind_of_number(dtype: torch.dtype) -> None:
    mask = halves("h")[0]
    expected = SAMPLER.run(SEEDS, Edit.of(direction("h"), mask=mask))
    with tiny.unchecked_types():
        assert torch.equal(SAMPLER.run(SEEDS, Edit.of(direction("h"), mask=mask.to(dtype))), expected)


@pytest.mark.parametrize(
    ("space", "mask", "message"),
    [
        ("h", torch.ones(8, 8), r"the resolution of h, \(4, 4\), not \(8, 8\)"),
        ("noise", torch.ones(4, 4), r"the resolution of x_T, \(8, 8\), not \(4, 4\)"),
        ("h", torch.ones(1, 4, 4), r"the resolution of h, \(4, 4\), not \(1, 4, 4\)"),
        ("h", torch.full((4, 4), 1.01), "numbers from 0 to 1"),
        ("h", torch.full((4, 4), -0.01), "numbers from 0 to 1"),
        ("h", torch.full((4, 4), torch.nan), "numbers from 0 to 1"),
    ],
)
def test_masks_that_do_not_fit_are_refused(space: Space, mask: Tensor, message: str) -> None:
    with tiny.unchecked_types(), pytest.raises(HspaceError, match=message):
        Term(direction(space), mask=mask)


def test_a_mask_over_tokens_keeps_those_of_its_cells(setting_of: Any) -> None:
    tokens = replace(setting_of(), h_shape=(6, 2))
    item = Direction(torch.ones(4, 6, 2), tokens, "tokens")
    mask = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]])
    shift = Term(item, 2.0, mask=mask).moved(item.vectors[0])
    assert torch.equal(shift, 2.0 * mask.flatten()[:, None].expand(6, 2))
    with pytest.raises(HspaceError, match=r"a mask over 6 tokens of h has a cell for each, not \(2, 2\)"):
        Edit.of(item, mask=torch.ones(2, 2))


def test_an_h_without_height_and_width_has_no_masks(setting_of: Any) -> None:
    flat = Direction(torch.ones(4, 6), replace(setting_of(), h_shape=(6,)), "flat")
    with pytest.raises(HspaceError, match=r"needs an h with height and width, not one of shape \(6,\)"):
        Edit.of(flat, mask=torch.ones(2, 3))


def test_an_edit_of_nothing_is_refused() -> None:
    with pytest.raises(HspaceError, match="at least 1 term"):
        Edit(())
