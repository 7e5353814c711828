"""Effects of directions on scores, against the long way round."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import hspace
from hspace.evaluation import effects


def brightness(images: Tensor) -> dict[str, Tensor]:
    return {"red": images[:, 0].mean((1, 2)), "blue": images[:, 2].mean((1, 2))}


@pytest.fixture(scope="module")
def sampler() -> hspace.Sampler:
    return hspace.Sampler(hspace.load("faces64", device="cpu"), steps=2, batch_size=4)


def test_equals_the_runs_one_by_one(sampler: hspace.Sampler) -> None:
    norms = 40 * torch.ones(2)
    directions = hspace.random_directions(sampler.setting(), norms, n=2)
    measured = effects(sampler, directions, brightness, seeds=[3, 4, 5], strength=2.0)
    assert measured.directions == ("random0", "random1")
    assert measured.attributes == ("red", "blue")
    for k, direction in enumerate(directions):
        high, low = (brightness(sampler.run([3, 4, 5], end * direction)) for end in (2.0, -2.0))
        for a, name in enumerate(measured.attributes):
            change = (high[name] - low[name]).double()
            assert float(measured.change[k, a]) == pytest.approx(float(change.mean()), abs=1e-5)
            assert float(measured.error[k, a]) == pytest.approx(float(change.std() / 3**0.5), abs=1e-5)
            assert float(change.abs().max()) > 1e-4


def test_one_seed_is_too_few(sampler: hspace.Sampler) -> None:
    control = hspace.random_directions(sampler.setting(), [1.0, 1.0])
    with pytest.raises(hspace.HspaceError, match="at least 2 seeds"):
        effects(sampler, control, brightness, seeds=[0])
