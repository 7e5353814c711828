"""Unedited pictures in memory: bounded, copies, and none of a photo that is gone."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

import hspace
from hspace.app.originals import Originals


def shade(value: float) -> Tensor:
    return torch.full((1, 3, 8, 8), value, dtype=torch.float64)


def test_the_one_not_asked_for_the_longest_goes() -> None:
    originals = Originals(most=2)
    originals.put((False, 0), shade(0))
    originals.put((False, 1), shade(1))
    assert originals.get((False, 0)) is not None
    originals.put((False, 2), shade(2))
    assert [originals.get((False, seed)) is not None for seed in range(3)] == [True, False, True]


def test_previews_are_others_than_pictures() -> None:
    originals = Originals()
    originals.put((True, 0), shade(1))
    assert originals.get((False, 0)) is None


def test_nobody_changes_what_others_get() -> None:
    originals, mine = Originals(), shade(1)
    originals.put((False, 0), mine)
    mine.zero_()
    found = originals.get((False, 0))
    assert found is not None
    assert torch.equal(found, shade(1))
    found.zero_()
    again = originals.get((False, 0))
    assert again is not None
    assert torch.equal(again, shade(1))


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_photo_goes_with_its_inversion(eta: float, sampler: hspace.Sampler) -> None:
    originals = Originals()
    inversion = hspace.Sampler(sampler.model, 2, eta).invert(shade(0.5), reconstruct=False)
    originals.put(inversion, shade(0.5))
    assert originals.get(inversion) is not None
    assert len(originals._of_photos) == 1
    del inversion
    gc.collect()
    assert len(originals._of_photos) == 0


def test_threads_at_once() -> None:
    originals = Originals(most=4)

    def work(start: int) -> bool:
        right = True
        for i in range(200):
            seed = (start + i) % 9
            originals.put((False, seed), shade(seed))
            found = originals.get((False, seed))
            right &= found is None or torch.equal(found, shade(seed))
        return right

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))
    assert len(originals._of_seeds) == 4
