from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA as ExactPCA
from torch import Tensor

from hspace.discovery.sketch import Sketch


def cloud(n: int, d: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Around a mean far from 0, with a spectrum that decays."""
    generator = torch.Generator().manual_seed(seed)
    stds = torch.arange(1, d + 1, dtype=torch.float64) ** -0.5
    return (torch.randn(n, d, generator=generator, dtype=torch.float64) * stds + 3.0).to(dtype)


def streamed(samples: Tensor, batch: int, rank: int, witnesses: int = 8) -> Sketch:
    first, *others = (Sketch.of(part, rank, witnesses) for part in samples.split(batch))
    for other in others:
        first = first.merged(other, rank, witnesses)
    return first


def assert_summarises(sketch: Sketch, samples: Tensor, tolerance: float = 1e-6) -> None:
    """The sketch is the exact SVD of the centred samples."""
    exact = samples.double().numpy()
    centred = exact - exact.mean(0)
    values = np.linalg.svd(centred, compute_uv=False)
    size = max(values[0], 1e-12)
    axes, found = sketch.axes.double().numpy(), sketch.values.double().numpy()
    assert sketch.n == len(samples)
    np.testing.assert_allclose(sketch.mean.double(), exact.mean(0), atol=tolerance)
    np.testing.assert_allclose(found, values[: len(found)], atol=tolerance * size)
    assert (values[len(found) :] < 100 * tolerance * size).all()
    np.testing.assert_allclose(axes @ axes.T, np.eye(len(axes)), atol=100 * tolerance)
    # Axes are unique up to sign and up to turns among equal values; this is unique.
    np.testing.assert_allclose(axes.T * found**2 @ axes, centred.T @ centred, atol=10 * tolerance * size**2)
    np.testing.assert_allclose(sketch.squares.double(), np.square(centred).sum(0), atol=tolerance * size**2)
    known = len(sketch.coordinates)
    np.testing.assert_allclose(sketch.coordinates.double().numpy() @ axes, centred[:known], atol=100 * tolerance * size)


@given(n=st.integers(1, 30), d=st.integers(1, 20), seed=st.integers(0, 9))
def test_of_a_batch_is_its_svd(n: int, d: int, seed: int) -> None:
    samples = cloud(n, d, seed)
    assert_summarises(Sketch.of(samples, rank=30, witnesses=5), samples)


@given(data=st.data(), n=st.integers(2, 40), d=st.integers(1, 25), seed=st.integers(0, 9))
def test_merged_parts_equal_the_whole(data: st.DataObject, n: int, d: int, seed: int) -> None:
    samples, split = cloud(n, d, seed), data.draw(st.integers(1, n - 1))
    one, other = (Sketch.of(part, 40, 6) for part in (samples[:split], samples[split:]))
    merged = one.merged(other, 40, 6)
    assert len(merged.coordinates) == min(6, n)
    assert_summarises(merged, samples)


@given(batch=st.integers(1, 30), seed=st.integers(0, 3))
def test_a_stream_equals_the_whole(batch: int, seed: int) -> None:
    samples = cloud(60, 15, seed)
    assert_summarises(streamed(samples, batch, rank=15), samples)


def test_variances_are_those_of_scikit_learn() -> None:
    samples = cloud(50, 12)
    sketch, exact = streamed(samples, 7, rank=12), ExactPCA().fit(samples.numpy())
    np.testing.assert_allclose(sketch.variances(), exact.explained_variance_, rtol=1e-8)
    np.testing.assert_allclose(sketch.variance_by_dimension(), samples.var(0), rtol=1e-8)


@pytest.mark.parametrize("batch", [1, 16])
def test_float32(batch: int) -> None:
    samples = cloud(200, 40, dtype=torch.float32)
    sketch = streamed(samples, batch, rank=40)
    assert sketch.axes.dtype == sketch.coordinates.dtype == torch.float32
    assert_summarises(sketch, samples, tolerance=1e-5)


@pytest.mark.parametrize("batch", [1, 5, 40])
def test_rank_deficient(batch: int) -> None:
    low = cloud(40, 3) @ cloud(3, 30, seed=1)
    sketch = streamed(low, batch, rank=25)
    assert len(sketch.values) == 3
    assert_summarises(sketch, low)


@pytest.mark.parametrize("batch", [1, 4])
def test_constant(batch: int) -> None:
    sketch = streamed(torch.ones(9, 5, dtype=torch.float64), batch, rank=4)
    assert (sketch.n, len(sketch.values), tuple(sketch.coordinates.shape)) == (9, 0, (8, 0))
    assert float(sketch.squares.sum()) == 0
    assert_summarises(sketch, torch.ones(9, 5, dtype=torch.float64))


def test_mean_and_variance_are_exact_and_memory_bounded_when_axes_are_dropped() -> None:
    samples = cloud(300, 50)
    sketch = streamed(samples, 20, rank=8, witnesses=11)
    assert sketch.axes.shape == (8, 50)
    assert sketch.coordinates.shape == (11, 8)
    np.testing.assert_allclose(sketch.mean, samples.mean(0), rtol=1e-12)
    np.testing.assert_allclose(sketch.variance_by_dimension(), samples.var(0), rtol=1e-12)


@pytest.mark.parametrize(("decay", "seed"), [(0.8, 0), (0.8, 1), (1.0, 2)])
def test_leading_axes_stay_within_one_degree_when_axes_are_dropped(decay: float, seed: int) -> None:
    """1,500 samples in batches of 32 through the 140 axes that `PCA(n_components=10)` keeps."""
    d, k = 1000, 10
    generator = torch.Generator().manual_seed(seed)
    stds = torch.arange(1, d + 1, dtype=torch.float64) ** (-decay / 2)
    samples = (torch.randn(1500, d, generator=generator, dtype=torch.float64) * stds + 1.0).float()
    exact = ExactPCA(k + 1, svd_solver="covariance_eigh").fit(samples.double().numpy())
    sketch = streamed(samples, 32, rank=2 * k + 120, witnesses=0)
    cosines = np.abs((exact.components_[:k] * sketch.axes[:k].double().numpy()).sum(1))
    angles = np.degrees(np.arccos(np.minimum(cosines, 1)))
    apart = exact.explained_variance_[:-1] / exact.explained_variance_[1:] > 1.05
    separated = apart & np.append(True, apart[:-1])
    assert separated.sum() >= 5
    assert angles[separated].max() < 1.0
    np.testing.assert_allclose(sketch.variances()[:k], exact.explained_variance_[:k], rtol=0.01)
