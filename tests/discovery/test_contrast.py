from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.neighbors import NearestCentroid
from sklearn.svm import SVC
from torch import Tensor

from hspace.discovery.contrast import CLASSIFIERS, Contrast

N, D, STEPS = 40, 60, 2
GENERATOR = torch.Generator().manual_seed(0)
LABELS = np.array([1.0, 0.0, np.nan, 1.0, 0.0] * 8)
H = torch.randn(STEPS, N, D, generator=GENERATOR, dtype=torch.float64)
H += 0.6 * torch.from_numpy(LABELS).nan_to_num(0.5)[:, None] * torch.randn(D, generator=GENERATOR, dtype=torch.float64)
ORACLES = {
    "mean": NearestCentroid(),
    "svm": SVC(kernel="linear", C=0.7),
    "logistic": LogisticRegression(C=0.7, max_iter=1000),
}


def filled(batches: list[int], sketch_size: int = N, **labels: np.ndarray) -> Contrast:
    contrast = Contrast({name: list(v) for name, v in (labels or {"a": LABELS}).items()}, sketch_size)
    for part in H.split(batches, dim=1):
        contrast.add(list(part))
    return contrast


def known(h: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """What scikit-learn sees of all h at once: the labelled rows, centred and scaled as the docstring says."""
    chosen = ~np.isnan(LABELS)
    x = (h - h.mean(0)).numpy()[chosen]
    return x / np.sqrt(np.square(x).sum(1).mean()), LABELS[chosen]


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(1, N - 1), max_size=5, unique=True), sketch_size=st.sampled_from([0, 3, N]))
def test_streamed_means_are_those_of_the_classes(cuts: list[int], sketch_size: int) -> None:
    edges = [0, *sorted(cuts), N]
    found = filled([b - a for a, b in pairwise(edges)], sketch_size).vectors("a", "mean")
    expected = H[:, LABELS == 1].mean(1) - H[:, LABELS == 0].mean(1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("classifier", ["svm", "logistic"])
@pytest.mark.parametrize("batches", [[N], [7, 20, 13]])
def test_classifiers_are_those_of_scikit_learn_on_the_whole_h(classifier: str, batches: list[int]) -> None:
    found = filled(batches).vectors("a", classifier, C=0.7)
    for row, h in zip(found, H, strict=True):
        normal = ORACLES[classifier].fit(*known(h)).coef_[0]
        cosine = float(row.numpy() @ normal) / float(row.norm()) / np.linalg.norm(normal)
        assert cosine > 1 - 1e-5
        assert float(row.norm()) == pytest.approx(float(np.linalg.norm(normal)), rel=1e-3)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_accuracy_is_that_of_scikit_learn_on_the_whole_h(classifier: str) -> None:
    found = filled([10, 30]).accuracy("a", classifier, C=0.7, folds=4)
    split = StratifiedKFold(4, shuffle=True, random_state=0)
    for value, h in zip(found, H, strict=True):
        expected = cross_val_score(ORACLES[classifier], *known(h), cv=split, scoring="balanced_accuracy").mean()
        assert value == pytest.approx(expected, abs=0.04)  # one sample near the border may fall either way
    assert found.mean() > 0.7


def test_folds_are_at_most_as_many_as_the_smaller_class_has_samples() -> None:
    labels = np.where(np.arange(N) < 2, 1.0, 0.0)
    assert filled([N], a=labels).accuracy("a", "mean", folds=5).shape == (STEPS,)


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_attributes_share_a_pass_without_touching_each_other(classifier: str) -> None:
    other = np.roll(LABELS, 1)
    both, alone = filled([15, 25], a=other, b=LABELS), filled([15, 25], b=LABELS)
    assert torch.equal(both.vectors("b", classifier), alone.vectors("b", classifier))
    assert both.counts("a") == both.counts("b") == (16, 16)


def test_beyond_the_sketch_the_leading_axes_decide() -> None:
    strong = H.clone()
    strong[:, :, 0] += 20 * torch.from_numpy(LABELS).nan_to_num(0.5)
    contrast = Contrast({"a": list(LABELS)}, sketch_size=4)
    for part in strong.split(8, dim=1):
        contrast.add(list(part))
    for row in contrast.vectors("a", "svm"):
        assert float(row[0] / row.norm()) > 0.9
    assert contrast.accuracy("a", "svm").min() == 1.0
