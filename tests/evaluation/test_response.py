"""Responses against separate runs, and scores against a linear model whose effects are known exactly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests import tiny
from torch import Tensor

import hspace
from hspace.directions import Direction, Directions
from hspace.errors import HspaceError
from hspace.evaluation.content import pixel
from hspace.evaluation.response import Response, answers, respond
from hspace.evaluation.scores import scores
from hspace.jobs import Job


def judge(images: Tensor) -> dict[str, Tensor]:
    return {"bright": images.mean((1, 2, 3)), "red": images[:, 0].mean((1, 2))}


def test_equals_separate_runs() -> None:
    sampler = hspace.Sampler(tiny.denoiser(), 2, 0.0, batch_size=5)
    two = hspace.random_directions(sampler.setting(), norms=[2.0, 1.0], n=2)
    found = respond(sampler, two, judge, range(3), strengths=(2, -1))
    assert found.strengths == (-1.0, 0.0, 2.0)
    for j, direction in enumerate(two):
        for i, strength in enumerate(found.strengths):
            alone = judge(sampler.run(range(3), strength * direction if strength else None).float())
            expected = torch.stack([alone["bright"], alone["red"]], 1).double()
            torch.testing.assert_close(found.scores[j, i], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.unit, found.scores[0, 1].std(0))


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 32])
def test_a_batch_of_seeds_at_a_time(batch_size: int) -> None:
    """The same scores and distances whatever the batch."""
    sampler = hspace.Sampler(tiny.denoiser(), 2, 1.0, batch_size=batch_size)
    two = hspace.random_directions(sampler.setting(), norms=[2.0, 1.0], n=2)
    rest: Any = (two, judge, tuple(range(5)), (0.0, 1.0, 2.0), {"pixel": pixel}, None, False)
    whole, _ = answers(Job({}), "response", hspace.Sampler(tiny.denoiser(), 2, 1.0), *rest)
    found, distances = answers(Job({}), "response", sampler, *rest)
    assert found.strengths == (0.0, 1.0, 2.0)
    torch.testing.assert_close(found.scores, whole.scores, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.change(), (found.scores[:, 2] - found.scores[:, 0]) / found.unit)
    plain = sampler.run(range(5)).float()
    expected = torch.stack([pixel(plain, sampler.run(range(5), 2.0 * direction).float()) for direction in two])
    torch.testing.assert_close(distances["pixel"][:, 0], expected.double(), rtol=1e-5, atol=1e-6)


def linear_toy() -> tuple[hspace.Sampler, Directions]:
    """x_0 is linear in h: the exact eps of a Gaussian, h its input."""
    sampler = hspace.Sampler(tiny.gaussian_denoiser(0.2, 0.7), 3, 0.0)
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(4, 3, 1, 8, 8, generator=generator) * 0.1
    return sampler, Directions([Direction(v, sampler.setting(), f"d{i}") for i, v in enumerate(vectors)])


def test_effects_of_a_linear_model_within_their_standard_errors() -> None:
    """The exact effect comes from one picture, the noise of the scorer is what the samples have to average out."""
    sampler, directions = linear_toy()
    weight = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(2)).double()

    def exact(images: Tensor) -> Tensor:
        return torch.einsum("nchw,achw->na", images.double(), weight)

    def noisy(images: Tensor) -> dict[str, Tensor]:
        found = exact(images)
        noise = torch.sin(1e6 * images.double().sum((1, 2, 3)))[:, None] * torch.tensor([1.0, 2.0, 4.0])
        return dict(zip("abc", (found + noise).unbind(1), strict=True))

    response = respond(sampler, directions, noisy, range(40))
    change = response.change()
    for j, item in enumerate(directions):
        low, high = (exact(sampler.run([7], end * item)) for end in (-3.0, 3.0))
        known = ((high - low) / response.unit)[0]
        error = change[j].std(0) / 40**0.5
        assert bool(((change[j].mean(0) - known).abs() < 3 * error).all())


def test_scores_of_a_linear_model() -> None:
    sampler, directions = linear_toy()
    response = respond(sampler, directions, lambda x: {"sum": x.sum((1, 2, 3)), "corner": x[:, 0, 0, 0]}, range(5))
    for found in scores(response):
        assert abs(found.monotonicity) == pytest.approx(1)
        assert found.linearity == pytest.approx(1, abs=1e-6)
        assert found.consistency == 1
        assert found.error < 1e-3 * abs(found.effect)
        assert found.saturation is None
    meant = scores(response, {"d0": "corner"})[0]
    assert meant.attribute == "corner"
    own = response.change()[0].mean(0).abs()
    assert meant.selectivity == pytest.approx(float(own[1] / own.sum()))


def test_scores_of_a_curve_that_saturates() -> None:
    curve = torch.tensor([-2.05, -2.0, 0.0, 2.0, 3.9]).double()
    table = curve[None, :, None, None].expand(1, 5, 4, 1)
    response = Response(("a",), ("x",), (-2.0, -1.0, 0.0, 1.0, 2.0), table, torch.ones(1).double())
    (found,) = scores(response)
    assert found.saturation == 1.0  # on the negative side
    assert found.effect == pytest.approx(5.95)
    assert 0.9 < found.linearity < 1


def test_consistency_counts_samples() -> None:
    change = torch.tensor([1.0, 1.0, 1.0, -0.5]).double()
    table = torch.stack([-change / 2, 0 * change, change / 2])[None, :, :, None]
    (found,) = scores(Response(("a",), ("x",), (-1.0, 0.0, 1.0), table, torch.ones(1).double()))
    assert found.consistency == 0.75
    assert found.effect == pytest.approx(0.625)
    assert found.error == pytest.approx(0.375)


def test_a_direction_that_does_nothing() -> None:
    table = torch.zeros(1, 3, 4, 2).double()
    (found,) = scores(Response(("a",), ("x", "y"), (-1.0, 0.0, 1.0), table, torch.ones(2).double()))
    assert (found.effect, found.monotonicity, found.linearity, found.selectivity) == (0, 0, 0, 0)
    assert found.consistency == 0


def test_what_two_strengths_cannot_tell() -> None:
    """A line through two points is straight, whatever they are."""
    table = torch.tensor([0.0, 1.0]).double()[None, :, None, None].expand(1, 2, 3, 1)
    (found,) = scores(Response(("a",), ("x",), (0.0, 3.0), table, torch.ones(1).double()))
    assert (found.monotonicity, found.linearity, found.saturation, found.steps) == (None, None, None, 1)


def test_errors() -> None:
    sampler, directions = linear_toy()
    with pytest.raises(HspaceError, match=r"a response needs at least 2 seeds"):
        respond(sampler, directions, judge, [1])
    with pytest.raises(HspaceError, match=r"at least 1 strength besides 0"):
        respond(sampler, directions, judge, [1, 2], strengths=(0,))
    with pytest.raises(HspaceError, match=r"the score 'same' is the same for all unedited samples: it has no unit"):
        respond(sampler, directions, lambda x: {"same": x[:, 0, 0, 0] * 0}, [1, 2])
    odd = iter([("a", "b"), ("b", "a")])
    with pytest.raises(HspaceError, match=r"the scorer changed its attributes from a, b to b, a"):
        respond(
            *(hspace.Sampler(tiny.gaussian_denoiser(0.2, 0.7), 3, 0.0, batch_size=9), directions[:1]),
            *(lambda x: {name: x[:, 0, 0, i] for i, name in enumerate(next(odd))}, [1, 2, 3, 4]),
        )
    response = Response(("a",), ("x",), (-1.0, 0.0, 1.0), torch.zeros(1, 3, 2, 1).double(), torch.ones(1).double())
    with pytest.raises(HspaceError, match=r"no direction 'b' in the response; it has a"):
        scores(response, {"b": "x"})
    with pytest.raises(HspaceError, match=r"no attribute 'y' in the response; it has x"):
        scores(response, {"a": "y"})
