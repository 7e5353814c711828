from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.discovery.conftest import StoredH
from torch import Tensor

import hspace
from hspace.discovery.annotated import extremes
from hspace.errors import HspaceError

SEEDS = range(30, 54)


def colours(images: Tensor) -> dict[str, Tensor]:
    """Two attributes that go together, and one on its own."""
    red, green, blue = images.mean((2, 3)).unbind(1)
    return {"red": red, "warm": 2 * red - blue, "green": green}


def fit(sampler: hspace.Sampler, *args: object, **options: object) -> hspace.Annotated:
    scorer = options.pop("scorer", colours)
    annotated = hspace.Annotated(*args, **{"n_extremes": 5, "unit_seeds": range(6), **options})  # type: ignore[arg-type]
    return annotated.fit(sampler, scorer, SEEDS)  # type: ignore[arg-type]


def test_the_direction_is_the_difference_of_both_ends(sampler: hspace.Sampler, stored_h: StoredH) -> None:
    annotated = fit(sampler)
    h, red = stored_h(sampler, SEEDS), colours(sampler.run(SEEDS))["red"]
    order = red.argsort()
    expected = h[:, order[-5:]].mean(1) - h[:, order[:5]].mean(1)
    found = annotated.directions_["red"].vectors.flatten(1).double()
    for mine, row in zip(found, expected, strict=True):
        assert float(mine @ row / mine.norm() / row.norm()) > 1 - 1e-6
    assert annotated.directions_.names == ("red", "warm", "green")
    assert annotated.directions_["red"].origin["seeds"] == [[30, 53]]
    high, low = annotated.extremes_["red"]
    assert set(high) == {SEEDS[i] for i in order[-5:].tolist()}
    assert set(low) == {SEEDS[i] for i in order[:5].tolist()}
    np.testing.assert_allclose(annotated.scores_["red"], red.numpy(), rtol=1e-4)  # scored in float32


def test_many_attributes_of_one_pass_are_those_of_a_pass_each(sampler: hspace.Sampler) -> None:
    together = fit(sampler).directions_
    for name in ("red", "green"):
        alone = fit(sampler, [name]).directions_[name]
        torch.testing.assert_close(together[name].vectors, alone.vectors, rtol=1e-5, atol=1e-7)


def test_scores_at_hand_spare_the_first_pass(sampler: hspace.Sampler) -> None:
    drawn = fit(sampler)
    given = fit(sampler, scorer={name: list(values) for name, values in drawn.scores_.items()})
    for a, b in zip(drawn.directions_, given.directions_, strict=True):
        assert torch.equal(a.vectors, b.vectors)


def test_directions_of_noise(sampler: hspace.Sampler) -> None:
    annotated = fit(sampler, ["red"], space="noise")
    high, low = annotated.extremes_["red"]
    expected = sampler.latents(high).x_T().mean(0) - sampler.latents(low).x_T().mean(0)
    torch.testing.assert_close(annotated.directions_[0].vectors[0], expected / expected.norm(), rtol=1e-4, atol=1e-5)


def test_balanced_ends_have_equally_much_of_the_other_attribute(sampler: hspace.Sampler) -> None:
    annotated = fit(sampler, ["warm"], balance_by="red", n_extremes=4)
    red = dict(zip(SEEDS, annotated.scores_["red"], strict=True))
    median = np.median(annotated.scores_["red"])
    for end in annotated.extremes_["warm"]:
        assert sorted(red[seed] > median for seed in end) == [False, False, True, True]
    assert annotated.directions_["warm"].origin["parameters"]["balance_by"] == "red"


def test_all_attributes_but_the_balanced_one(sampler: hspace.Sampler) -> None:
    assert fit(sampler, balance_by="green", n_extremes=2).directions_.names == ("red", "warm")


def test_what_it_finds_moves_the_attribute(scaled: object) -> None:
    """h is x_T stretched, and the picture is a multiple of x_T: an attribute is a direction that is known."""
    model = scaled(torch.tensor([[1.0, 1.0, 1.0]]).repeat(20, 1))  # type: ignore[operator]
    sampler = hspace.Sampler(model, steps=2, eta=0.0)

    def first(images: Tensor) -> dict[str, Tensor]:
        return {"first": images[:, 0, 0, 0]}

    annotated = hspace.Annotated(n_extremes=40, unit_seeds=range(100)).fit(sampler, first, range(400))
    for row in annotated.directions_[0].vectors.flatten(1):
        assert float(row[0] / row.norm()) > 0.98
    assert annotated.accuracy_["first"]["svm"].min() > 0.95


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        ((["smile"],), {}, "the scorer has no attribute 'smile'; it has red, warm, green"),
        ((["red"],), {"balance_by": "smile"}, "the scorer has no attribute 'smile'"),
        ((["red"],), {"balance_by": "red"}, "'red' can't be balanced by itself"),
        (([],), {}, "no attributes"),
        ((), {"n_extremes": 13}, "24 samples are too few for 13 at each end"),
        ((), {"n_extremes": 0}, "n_extremes must be at least 1, not 0"),
        ((), {"scorer": lambda images: {"a": torch.zeros(len(images))}}, "all scores of 'a' are 0"),
        ((), {"scorer": lambda images: {"a": torch.full((len(images),), torch.nan)}}, "NaN for 'a'"),
        ((), {"scorer": lambda images: {"a": torch.zeros(3)}}, "3 scores of 'a' for"),
        ((), {"scorer": lambda images: torch.zeros(len(images))}, "not a mapping"),
        ((), {"scorer": {"a": [0.0, 1.0]}}, "expected a score for each of 24 seeds, found 2"),
        ((), {"scorer": {"a": [0.0, float("nan")] * 12}}, "scores must be finite, found nan"),
        ((), {"scorer": {"a": [0.0] * 22 + [1.0] * 2}}, "overlap"),
        ((), {"unit_seeds": [1]}, "needs at least 2 samples"),
    ],
)
def test_bad_input(sampler: hspace.Sampler, args: tuple[object], options: dict[str, object], message: str) -> None:
    with pytest.raises(HspaceError, match=message):
        fit(sampler, *args, **options)


def test_seeds_are_different(sampler: hspace.Sampler) -> None:
    with pytest.raises(HspaceError, match="seeds must be different"):
        hspace.Annotated(n_extremes=1).fit(sampler, colours, [1, 1, 2])


def test_equal_scores_within_an_end_do_not_matter() -> None:
    labels = extremes("glasses", np.array([0.0, 1.0, 1.0, 0.0, 1.0, 0.0]), 2)
    assert (labels == 1).sum() == (labels == 0).sum() == 2


def test_too_few_samples_on_one_side_to_balance() -> None:
    with pytest.raises(HspaceError, match="too few samples to balance: 1 on one side of the median, 2 needed"):
        extremes("smile", np.arange(6.0), 2, balance_by=np.array([0.0, 0, 0, 0, 0, 1]))


def test_ends_are_compared_on_their_own_side_of_the_median() -> None:
    scores, other = np.array([0.0, 1, 2, 3]), np.array([0.0, 0, 1, 1])
    assert extremes("smile", scores, 2, balance_by=other).tolist() == [0, 1, 0, 1]


def test_a_scorer_that_changes_its_attributes(tiny: hspace.Denoiser) -> None:
    sampler = hspace.Sampler(tiny, steps=2, batch_size=2)
    names = iter(["a", "a", "b"])

    def fickle(images: Tensor) -> dict[str, Tensor]:
        return {next(names): images.mean((1, 2, 3))}

    with pytest.raises(HspaceError, match="the scorer changed its attributes from a to b"):
        hspace.Annotated(n_extremes=1).fit(sampler, fickle, range(8))


def test_seeds_of_the_unit_may_be_an_iterator(sampler: hspace.Sampler) -> None:
    once = fit(sampler, ["red"], unit_seeds=iter(range(6)))
    assert torch.equal(once.directions_[0].vectors, fit(sampler, ["red"]).directions_[0].vectors)
