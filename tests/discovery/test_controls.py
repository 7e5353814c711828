"""Directions of chance: as long as asked, where asked, and from labels that were really shuffled."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import hspace
from hspace.discovery import random_controls, shuffled_controls
from hspace.evaluation import evaluate


def test_random_directions_have_the_given_norms(sampler: hspace.Sampler) -> None:
    norms = torch.tensor([0.5, 2.0, 1e4])
    control = hspace.random_directions(sampler.setting(), norms, n=3, seed=1)
    assert control.names == ("random0", "random1", "random2")
    assert control.setting == sampler.setting()
    for item in control:
        torch.testing.assert_close(item.norms(), norms, rtol=1e-6, atol=0)
    assert abs(control[0].cosine(control[1])) < 0.3  # 128 dimensions at the last timestep: 0.09 by chance


def test_random_directions_within_components(sampler: hspace.Sampler) -> None:
    """They lie in the span, in every direction of it alike when measured in standard deviations, with the norms."""
    pcs = hspace.PCA(n_components=3).fit(sampler, range(12)).directions_
    norms = [2.0, 1.0, 0.5]
    found = hspace.random_directions(pcs.setting, norms, n=200, within=pcs, seed=3)
    basis = torch.stack([item.vectors[1].flatten() for item in pcs])  # at one timestep
    drawn = torch.stack([item.vectors[1].flatten() for item in found])
    torch.testing.assert_close(drawn.norm(dim=1), torch.ones(200))
    coordinates = torch.linalg.lstsq(basis.T, drawn.T).solution
    torch.testing.assert_close((basis.T @ coordinates).T, drawn, rtol=1e-3, atol=1e-4)
    spread = torch.nn.functional.normalize(coordinates, dim=0).std(1)
    torch.testing.assert_close(spread, torch.full((3,), 3**-0.5), rtol=0.15, atol=0)
    with pytest.raises(hspace.HspaceError, match=r"components to draw within must be of the same setting"):
        hspace.random_directions(sampler.setting("asymmetric"), norms, within=pcs)


def test_random_directions_follow_their_seed(sampler: hspace.Sampler) -> None:
    one, same, other = (hspace.random_directions(sampler.setting(), [1.0] * 3, n=2, seed=s) for s in (4, 4, 5))
    assert torch.equal(one[1].vectors, same[1].vectors)
    assert not torch.equal(one[1].vectors, other[1].vectors)


@pytest.mark.parametrize(
    ("norms", "n", "message"), [([1.0], 1, "expected 3 norms"), ([1.0] * 3, 0, "n must be at least 1")]
)
def test_random_directions_refuse(sampler: hspace.Sampler, norms: list[float], n: int, message: str) -> None:
    with pytest.raises(hspace.HspaceError, match=message):
        hspace.random_directions(sampler.setting(), norms, n)


def test_random_controls_are_as_long_as_their_directions(sampler: hspace.Sampler) -> None:
    pcs = hspace.PCA(3).fit(sampler, range(12)).directions_
    for within in (None, pcs):
        controls = random_controls(pcs, 4, within=within)
        assert len(controls) == 12
        for i, control in enumerate(controls):
            torch.testing.assert_close(control.norms(), pcs[i // 4].norms(), rtol=1e-5, atol=0)
        assert abs(controls[0].cosine(controls[4])) < 0.999  # every direction has its own


def test_controls_share_nothing(sampler: hspace.Sampler) -> None:
    """Not between seeds, nor between kinds, nor with directions that somebody draws to be evaluated."""
    pcs = hspace.PCA(3).fit(sampler, range(12)).directions_
    drawn = hspace.random_directions(pcs.setting, pcs[0].norms(), n=2, seed=0)
    everything = [*random_controls(pcs, 2), *random_controls(pcs, 2, seed=1), *drawn]
    cosines = [abs(a.cosine(b)) for i, a in enumerate(everything) for b in everything[:i]]
    assert max(cosines) < 0.5
    within = [*random_controls(pcs, 2, within=pcs), *random_controls(pcs, 2, within=pcs, seed=1)]
    assert max(abs(a.cosine(b)) for i, a in enumerate(within) for b in within[:i]) < 0.9999


def test_random_directions_of_noise(sampler: hspace.Sampler) -> None:
    (found,) = hspace.random_directions(sampler.setting(space="noise"), [5.0])
    assert found.vectors.shape == (1, 3, 8, 8)
    assert found.norms().tolist() == pytest.approx([5.0])


def annotated(sampler: hspace.Sampler, n_shuffles: int, **options: object) -> hspace.Annotated:
    values = np.random.default_rng(0).normal(size=(2, 20))
    scores = {"a": values[0], "b": values[1]}
    return hspace.Annotated(n_extremes=5, n_shuffles=n_shuffles, unit_seeds=range(20), **options).fit(
        sampler, scores, range(20)
    )


@pytest.mark.parametrize("classifier", ["mean", "svm"])
def test_shuffled_labels_are_those_of_the_same_samples(sampler: hspace.Sampler, classifier: str) -> None:
    """Against a fit on scores that put just these samples at these ends."""
    plain, both = annotated(sampler, 0, classifier=classifier), annotated(sampler, 3, classifier=classifier, seed=4)
    assert plain.shuffled_ is None
    assert both.shuffled_ is not None
    assert both.shuffled_.names == tuple(f"{name} shuffled{i}" for name in "ab" for i in range(3))
    for name in "ab":  # what was asked for is untouched
        torch.testing.assert_close(both.directions_[name].vectors, plain.directions_[name].vectors)
    generator = np.random.default_rng(4)
    high, low = both.extremes_["a"]
    labels = np.full(20, np.nan)
    labels[list(high)], labels[list(low)] = 1.0, 0.0
    chosen = np.flatnonzero(~np.isnan(labels))
    again = generator.permutation(labels[chosen])
    scores = np.zeros(20)
    scores[chosen] = 2 * again - 1
    expected = hspace.Annotated(n_extremes=5, classifier=classifier, unit_seeds=range(20)).fit(  # type: ignore[arg-type]
        sampler, {"a": scores}, range(20)
    )
    found = both.shuffled_["a shuffled0"]
    assert found.cosine(expected.directions_["a"]) > (
        0.9999 if classifier == "mean" else 0.999
    )  # the solver's tolerance
    assert found.origin["shuffled"] == "a"
    assert again.sum() == 5


def test_shuffled_controls_in_an_evaluation(sampler: hspace.Sampler) -> None:
    found = annotated(sampler, 20)
    assert found.shuffled_ is not None
    controls = shuffled_controls(found.directions_, found.shuffled_)
    assert len(controls) == 40
    for i, control in enumerate(controls):
        torch.testing.assert_close(control.norms(), found.directions_[i // 20].norms(), rtol=1e-5, atol=0)

    def judge(images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"a": images.mean((1, 2, 3)), "b": images[:, 0].mean((1, 2))}

    seen = evaluate(sampler, found.directions_, judge, range(100, 103), controls={"shuffled": controls})
    assert [verdict.kind for verdict in seen.verdicts] == ["shuffled", "shuffled"]
    assert [score.attribute for score in seen.scores] == ["a", "b"]  # what they are meant for
    renamed = found.directions_.renamed({"a": "first"})
    assert shuffled_controls(renamed, found.shuffled_).names[0] == "first shuffled0"


def test_shuffles_keep_what_was_balanced(sampler: hspace.Sampler) -> None:
    """As many of each class on either side of the other attribute's median."""
    values = np.random.default_rng(1).normal(size=(2, 24))
    found = hspace.Annotated(["a"], n_extremes=6, balance_by="b", n_shuffles=2, unit_seeds=range(4), seed=3)
    found.fit(sampler, {"a": values[0], "b": values[1]}, range(24))
    above = values[1] > np.median(values[1])
    high, low = found.extremes_["a"]
    labels = np.full(24, np.nan)
    labels[list(high)], labels[list(low)] = 1.0, 0.0
    rows = np.flatnonzero(~np.isnan(labels))
    strata, labels = above[rows], labels[rows]
    generator = np.random.default_rng(3)
    again = labels.copy()
    for part in (strata, ~strata):
        again[part] = generator.permutation(labels[part])
    assert again[strata].sum() == labels[strata].sum() == 3
    scores = np.zeros(24)
    scores[rows] = 2 * again - 1
    expected = hspace.Annotated(n_extremes=6, unit_seeds=range(4)).fit(sampler, {"a": scores}, range(24))
    assert found.shuffled_ is not None
    assert found.shuffled_[0].cosine(expected.directions_["a"]) > 0.9999


def test_shuffled_controls_refuse(sampler: hspace.Sampler) -> None:
    found = annotated(sampler, 1)
    assert found.shuffled_ is not None
    with pytest.raises(hspace.HspaceError, match=r"no directions from shuffled labels of 'b', which 'b' is for"):
        shuffled_controls(found.directions_, found.shuffled_[:1])
    with pytest.raises(hspace.HspaceError, match=r"must be of the same setting"):
        shuffled_controls(hspace.random_directions(sampler.setting("asymmetric"), [1.0] * 3), found.shuffled_)
    with pytest.raises(hspace.HspaceError, match=r"n_shuffles must not be negative, but is -1"):
        annotated(sampler, -1)
    with pytest.raises(
        hspace.HspaceError, match=r"1 with 'a' and 1 without are too few to shuffle them 3 times: there"
    ):
        hspace.Annotated(n_extremes=1, n_shuffles=3).fit(sampler, {"a": [1.0, 2.0, 3.0]}, range(3))
