"""The whole evaluation on a tiny network, against its parts."""

from __future__ import annotations

import json

import pytest
import torch
from tests import tiny
from torch import Tensor

import hspace
from hspace.directions import Directions
from hspace.errors import HspaceError
from hspace.evaluation import content, effects, evaluate


def judge(images: Tensor) -> dict[str, Tensor]:
    return {"bright": images.mean((1, 2, 3)), "red": images[:, 0].mean((1, 2))}


def made() -> tuple[hspace.Sampler, Directions]:
    sampler = hspace.Sampler(tiny.denoiser(dtype=torch.float32), 2, 0.0, batch_size=7)
    return sampler, hspace.random_directions(sampler.setting(), norms=[2.0, 1.0], n=2)


def test_against_its_parts() -> None:
    sampler, directions = made()
    controls = hspace.random_directions(sampler.setting(), norms=[2.0, 1.0], n=40, seed=5)
    found = evaluate(sampler, directions, judge, range(4), controls=controls)
    mean, error = found.matrix()
    alone = effects(sampler, directions, judge, range(4), strength=3.0)
    torch.testing.assert_close(mean * found.response.unit, alone.change, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(error * found.response.unit, alone.error, rtol=1e-3, atol=1e-6)
    plain = sampler.run(range(4))
    ends = [content(plain, sampler.run(range(4), end * directions[0])) for end in (-3.0, 3.0)]
    first = found.content[directions.names[0]]
    assert first.pixel == pytest.approx((ends[0].pixel + ends[1].pixel) / 2, rel=1e-3)
    assert first.ssim == pytest.approx((ends[0].ssim + ends[1].ssim) / 2, rel=1e-3)
    assert [verdict.direction for verdict in found.verdicts] == list(directions.names)
    assert all(verdict.controls == 20 for verdict in found.verdicts)
    assert all(value >= 0 for value in found.damage.values())
    data = json.loads(json.dumps(found.to_json()))
    assert data["directions"][1]["control"]["words"] == found.verdicts[1].words
    assert data["directions"][0]["effects"]["red"] == pytest.approx(float(mean[0, 1]))


def test_the_unit_of_more_samples() -> None:
    """A few samples are no population: with more of them effects are in another unit, and nothing else changes."""
    sampler, directions = made()
    few = evaluate(sampler, directions, judge, range(4))
    many = evaluate(sampler, directions, judge, range(4), unit_seeds=range(4, 40))
    expected = torch.stack([judge(sampler.run(range(40)).float())[name] for name in ("bright", "red")]).double().std(1)
    torch.testing.assert_close(many.response.unit, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(few.matrix()[0] * few.response.unit, many.matrix()[0] * expected, rtol=1e-4, atol=1e-6)


def test_errors() -> None:
    sampler, directions = made()
    three = hspace.random_directions(sampler.setting(), norms=[2.0, 1.0], n=3)
    with pytest.raises(HspaceError, match=r"3 controls can't be shared equally by 2 directions"):
        evaluate(sampler, directions, judge, range(4), controls=three)
    with pytest.raises(HspaceError, match=r"1 controls of each direction can show nothing at the level 0.05: take 20"):
        evaluate(sampler, directions, judge, range(4), controls=three[:2])
