"""Against torch.linalg.svd of explicit matrices."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hspace.discovery.krylov import Triplets, leading_triplets


def solve(a: Tensor, k: int, block: int = 1, *, seed: int = 0, **options: float) -> Triplets:
    start = torch.randn(len(a), block, a.shape[2], generator=torch.Generator().manual_seed(seed), dtype=a.dtype)
    return leading_triplets(lambda v: (v @ a.mT, v @ a.mT @ a), start, k, **options)  # type: ignore[arg-type]


def angles(found: Tensor, exact: Tensor) -> Tensor:
    """Between vectors, whatever their sign; accurate for small angles too."""
    apart = torch.minimum((found - exact).norm(dim=-1), (found + exact).norm(dim=-1))
    return 2 * torch.asin((apart / 2).clamp(max=1))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000), block=st.integers(1, 6), k=st.integers(1, 5), n=st.integers(1, 3), wide=st.booleans()
)
def test_triplets_are_those_of_the_svd(seed: int, block: int, k: int, n: int, wide: bool) -> None:
    shape = (n, 30, 40) if wide else (n, 40, 30)
    a = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = solve(a, k, block, seed=seed + 1, tol=1e-9)
    _, values, right = torch.linalg.svd(a)
    assert bool(found.converged.all())
    torch.testing.assert_close(found.values, values[:, :k], rtol=1e-9, atol=0)
    assert float(angles(found.right, right[:, :k]).max()) < 1e-5
    torch.testing.assert_close(found.images, found.right @ a.mT, rtol=0, atol=1e-9)
    exact = (found.right @ a.mT @ a - found.values[..., None].square() * found.right).norm(dim=2)
    torch.testing.assert_close(found.residuals, exact / found.values.square(), rtol=0, atol=1e-9)


def with_spectrum(values: list[float], d: int = 60) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    u, v = (torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0] for _ in range(2))
    rest = 0.5 * torch.rand(d - len(values), generator=generator, dtype=torch.float64)
    return (u * torch.cat([torch.tensor(values, dtype=torch.float64), rest])) @ v.T


def test_near_singular_values_are_told_apart() -> None:
    a = with_spectrum([1.0, 0.99, 0.98])[None]
    found = solve(a, 3, tol=1e-6)
    torch.testing.assert_close(found.values[0], torch.tensor([1.0, 0.99, 0.98], dtype=torch.float64))
    assert float(angles(found.right, torch.linalg.svd(a)[2][:, :3]).max()) < 1e-4
    assert int(found.products) < 40


def test_equal_singular_values_give_vectors_of_their_space() -> None:
    a = with_spectrum([1.0, 1.0, 0.9])[None]
    found = solve(a, 3, block=2, tol=1e-9)
    torch.testing.assert_close(found.values[0], torch.tensor([1.0, 1.0, 0.9], dtype=torch.float64))
    torch.testing.assert_close(found.right[0] @ found.right[0].T, torch.eye(3, dtype=torch.float64))


def test_an_answer_does_not_depend_on_its_neighbours() -> None:
    a = torch.stack([with_spectrum([3.0, 2.0, 1.0]), with_spectrum([1.0, 0.999, 0.998])])
    start = torch.randn(1, 1, 60, generator=torch.Generator().manual_seed(0), dtype=torch.float64).expand(2, 1, 60)
    both = leading_triplets(lambda v: (v @ a.mT, v @ a.mT @ a), start, 3)
    assert both.products[0] < both.products[1]
    for i in range(2):
        alone = leading_triplets(lambda v, i=i: (v @ a[i : i + 1].mT, v @ a[i : i + 1].mT @ a[i : i + 1]), start[:1], 3)
        assert alone.products[0] == both.products[i]
        torch.testing.assert_close(alone.right[0], both.right[i], rtol=0, atol=1e-12)


def test_a_good_start_saves_products() -> None:
    a = with_spectrum([1.0, 0.95, 0.9])[None]
    exact = torch.linalg.svd(a)[2][:, :3]
    near = (exact.sum(1, keepdim=True) + 0.01 * torch.randn(1, 1, 60, dtype=torch.float64)).contiguous()
    warm = leading_triplets(lambda v: (v @ a.mT, v @ a.mT @ a), near, 3)
    assert int(warm.products) < int(solve(a, 3).products)


def test_what_has_not_converged_says_so() -> None:
    a = with_spectrum([1.0, 0.99, 0.98])[None]
    found = solve(a, 3, max_products=5)
    assert not bool(found.converged.any())
    assert int(found.products) == 5
    assert float(found.residuals.max()) > 1e-3


@pytest.mark.parametrize("block", [1, 2, 5])
def test_a_krylov_space_that_ends_goes_on_with_random_vectors(block: int) -> None:
    """A has rank 3, and the start lies in the span of one singular vector."""
    a = torch.zeros(1, 12, 12, dtype=torch.float64)
    a[0, 0, 0], a[0, 1, 1], a[0, 2, 2] = 3, 2, 1
    start = torch.zeros(1, block, 12, dtype=torch.float64)
    start[:, :, 0] = 1
    found = leading_triplets(lambda v: (v @ a.mT, v @ a.mT @ a), start, 3, tol=1e-8)
    torch.testing.assert_close(found.values[0], torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64))


def test_a_block_larger_than_the_operator() -> None:
    a = torch.randn(1, 9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(solve(a, 3, block=8, tol=1e-12).values, torch.linalg.svdvals(a)[:, :3])


def test_all_of_a_small_operator() -> None:
    a = torch.randn(1, 9, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = solve(a, 4, block=3, tol=1e-12)
    torch.testing.assert_close(found.values, torch.linalg.svdvals(a))
