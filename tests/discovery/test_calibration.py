from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import hspace
from hspace.directions import Direction, Directions

StoredH = Callable[[hspace.Sampler, Sequence[int]], Tensor]


@pytest.fixture
def pair(sampler: hspace.Sampler) -> Directions:
    """Two directions of any length."""
    vectors = torch.randn(2, 3, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    return Directions([Direction(9.0 * v, sampler.setting(), name) for v, name in zip(vectors, "ab", strict=True)])


def test_strength_one_is_one_standard_deviation(sampler: hspace.Sampler, pair: Directions, stored_h: StoredH) -> None:
    calibrated = hspace.calibrate(pair, sampler, range(40))
    h = stored_h(sampler, range(40))
    for before, after in zip(pair, calibrated, strict=True):
        units = before.vectors.flatten(1).double()
        units = units / units.norm(dim=1, keepdim=True)
        stds = torch.einsum("snd,sd->sn", h, units).std(1)
        torch.testing.assert_close(after.norms().double(), stds, rtol=1e-5, atol=0)
        torch.testing.assert_close(after.vectors.flatten(1).double(), units * stds[:, None], rtol=1e-4, atol=1e-6)
        assert after.name == before.name


def test_one_direction_calibrates_as_in_a_set_whatever_its_length(sampler: hspace.Sampler, pair: Directions) -> None:
    alone = hspace.calibrate(1e-3 * pair["b"], sampler, range(20))
    together = hspace.calibrate(pair, sampler, range(20))
    torch.testing.assert_close(alone[0].vectors, together["b"].vectors, rtol=1e-4, atol=1e-7)


def test_a_batch_that_ran_out_of_memory_counts_once(tiny: hspace.Denoiser, pair: Directions) -> None:
    small, large = (hspace.Sampler(tiny, steps=3, max_batch_size=n) for n in (4, 12))
    refused: list[int] = []

    def refuse(_: object, args: tuple[Tensor, ...]) -> None:
        if len(args[0]) > 6 and len(refused) < 2:  # in the middle of the first batch
            refused.append(len(args[0]))
            if len(refused) == 2:
                raise torch.cuda.OutOfMemoryError

    pair = Directions([replace(item, setting=large.setting()) for item in pair])
    handle = tiny.network.register_forward_pre_hook(refuse)
    try:
        shrunk = hspace.calibrate(pair, large, range(12))
    finally:
        handle.remove()
    assert large.batch_size == 6
    torch.testing.assert_close(shrunk["a"].vectors, hspace.calibrate(pair, small, range(12))["a"].vectors)


def test_refusals(tiny: hspace.Denoiser, sampler: hspace.Sampler, pair: Directions) -> None:
    with pytest.raises(hspace.HspaceError, match="at least 2 samples"):
        hspace.calibrate(pair, sampler, [1])
    with pytest.raises(hspace.HspaceError, match="retime"):
        hspace.calibrate(pair, hspace.Sampler(tiny, steps=4), range(4))
    with pytest.raises(hspace.HspaceError, match="another model: its tap"):
        hspace.calibrate(Directions([replace(pair[0], setting=replace(pair.setting, tap="other"))]), sampler, range(4))
    with pytest.raises(hspace.HspaceError, match="zero at a timestep"):
        hspace.calibrate(0.0 * pair["a"], sampler, range(4))


def test_h_that_does_not_vary_is_refused(scaled: Callable[[Tensor], hspace.Denoiser]) -> None:
    gains = torch.ones(10, 3)
    gains[:, 0] = 0
    sampler = hspace.Sampler(scaled(gains), steps=2)
    vectors = torch.zeros(2, 3, 1, 1)
    vectors[:, 0] = 1
    with pytest.raises(hspace.HspaceError, match=r"'dead': standard deviations must be positive, found 0"):
        hspace.calibrate(Direction(vectors, sampler.setting(), "dead"), sampler, range(4))
