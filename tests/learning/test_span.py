"""Shifts of a span against a cloud of points that has its covariance."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from hspace.errors import HspaceError
from hspace.learning import Span

S, R, D, N = 2, 3, 7, 40


def cloud(seed: int = 0) -> Tensor:
    """(S, N, D) of rank R with far from equal deviations."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(S, N, R, generator=generator, dtype=torch.float64) * torch.tensor([5.0, 1.0, 0.2])
    mixed = points @ torch.randn(S, R, D, generator=generator, dtype=torch.float64)
    return mixed + torch.randn(S, 1, D, generator=generator, dtype=torch.float64)


def span_of(points: Tensor) -> Span:
    """All its principal components."""
    mean = points.mean(1)
    _, singular, axes = torch.linalg.svd(points - mean[:, None], full_matrices=False)
    rms = (points - mean[:, None]).square().mean((1, 2)).sqrt()
    return Span(mean, rms, axes[:, :R], singular[:, :R] / (N - 1) ** 0.5)


def coordinates(seed: int = 1) -> Tensor:
    return torch.randn(5, R, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("row", range(S))
def test_a_shift_is_one_standard_deviation_of_the_points_along_it(row: int) -> None:
    points = cloud()
    shifts = span_of(points).shifts(coordinates(), row)
    units = torch.nn.functional.normalize(shifts, dim=1)
    along = (points[row] @ units.T).numpy()
    np.testing.assert_allclose(shifts.norm(dim=1).numpy(), along.std(0, ddof=1), rtol=1e-10)
    covariance = np.cov(points[row].T.numpy())
    by_covariance = [(u @ covariance @ u) ** 0.5 for u in units.numpy()]
    np.testing.assert_allclose(shifts.norm(dim=1).numpy(), by_covariance, rtol=1e-10)


def test_a_shift_along_an_axis_is_its_deviation() -> None:
    span = span_of(cloud())
    assert span.axes is not None
    assert span.deviations is not None
    torch.testing.assert_close(span.shifts(torch.eye(R).double(), 1), span.axes[1] * span.deviations[1][:, None])


def test_only_the_direction_of_coordinates_counts() -> None:
    span = span_of(cloud())
    torch.testing.assert_close(span.shifts(7.5 * coordinates(), 0), span.shifts(coordinates(), 0))
    torch.testing.assert_close(span.shifts(-coordinates(), 0), -span.shifts(coordinates(), 0))
    assert span.shifts(coordinates()[0], 0).shape == (D,)
    torch.testing.assert_close(span.shifts(coordinates()[0], 0), span.shifts(coordinates(), 0)[0])


def test_coordinates_of_shifts_are_parallel_to_those_they_come_from() -> None:
    """So that what is orthogonal in whitened coordinates is so by the inverse covariance of h."""
    span = span_of(cloud())
    w = torch.linalg.qr(coordinates()[:R]).Q
    shifts = span.shifts(w, 1)
    back = span.coordinates(shifts, 1)
    torch.testing.assert_close(torch.nn.functional.normalize(back, dim=1), w)
    inverse = torch.from_numpy(np.linalg.pinv(np.cov(cloud()[1].T.numpy()), rcond=1e-8))
    products = shifts @ inverse @ shifts.T
    torch.testing.assert_close(products - products.diagonal().diag(), torch.zeros_like(products), atol=1e-8, rtol=0)
    assert bool((products.diagonal() > 0.1).all())


def test_coordinates_forget_what_lies_outside() -> None:
    span = span_of(cloud())
    assert span.axes is not None
    outside = torch.linalg.svd(span.axes[0], full_matrices=True)[2][R:]
    assert float(span.coordinates(outside, 0).abs().max()) < 1e-10
    whitened = span.coordinates(cloud()[0] - span.mean[0], 0)
    torch.testing.assert_close(whitened.T @ whitened / (N - 1), torch.eye(R).double())


def test_the_whole_of_h_has_its_rms_for_unit() -> None:
    points = cloud()
    some = span_of(points)
    whole = Span(some.mean, some.rms)
    assert (whole.size, some.size) == (D, R)
    vectors = torch.randn(4, D, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    shifts = whole.shifts(vectors, 1)
    rms = (points[1] - points[1].mean(0)).square().mean().sqrt()
    torch.testing.assert_close(shifts.norm(dim=1), rms.expand(4))
    torch.testing.assert_close(torch.cosine_similarity(shifts, vectors), torch.ones(4).double())
    assert whole.coordinates(vectors, 1) is vectors


@pytest.mark.parametrize("whole", [False, True])
def test_to_a_device_keeps_all(whole: bool) -> None:
    span = span_of(cloud())
    if whole:
        span = Span(span.mean, span.rms)
    same = span.to(torch.device("cpu"))
    for name in ("mean", "rms", "axes", "deviations"):
        there, here = getattr(same, name), getattr(span, name)
        assert (there is None and here is None) or torch.equal(there, here)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_h_must_vary(bad: float) -> None:
    span = span_of(cloud())
    assert span.deviations is not None
    deviations = span.deviations.clone()
    deviations[1, 2] = bad
    with pytest.raises(HspaceError, match="h does not vary along all components of the span"):
        Span(span.mean, span.rms, span.axes, deviations)
    with pytest.raises(HspaceError, match="h does not vary at some timestep"):
        Span(span.mean, torch.tensor([1.0, bad]))
