"""How far two samples are apart: the Frechet distance of feature vectors, the Kolmogorov-Smirnov distance of scores."""

from __future__ import annotations

import torch
from jaxtyping import Shaped
from scipy import stats
from torch import Tensor

from hspace.errors import HspaceError

__all__ = ["frechet_distance", "ks_distance"]


def frechet_distance(a: Shaped[Tensor, "n d"], b: Shaped[Tensor, "m d"]) -> float:
    r"""Squared Frechet distance of the Gaussians with the samples' means and covariances.

    $$ d^2 = |\mu_a - \mu_b|^2 + \mathrm{tr}\,(C_a + C_b - 2 (C_a^{1/2} C_b C_a^{1/2})^{1/2}) $$

    as in Heusel et al., arXiv 1706.08500, there in the features of an Inception network. Its estimate is biased
    upwards by the sample size: compare it only with distances of samples of the same size.

    Args:
        a: Feature vectors, shape (n, d), n >= 2; computed in float64.
        b: Feature vectors, shape (m, d), m >= 2.

    Raises:
        HspaceError: Fewer than two vectors, different dimensions, or values that are not finite.

    Example:
        >>> import torch
        >>> from hspace.evaluation.distances import frechet_distance
        >>> x = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> round(frechet_distance(x, x + 2.0), 4)
        12.0
    """
    a, b = (_checked(name, x, ndim=2, at_least=2) for name, x in (("a", a), ("b", b)))
    if a.shape[1] != b.shape[1]:
        raise HspaceError(f"a and b must have features of the same dimension, not {a.shape[1]} and {b.shape[1]}")
    cov_a, cov_b = (torch.cov(x.T).reshape(x.shape[1], x.shape[1]) for x in (a, b))
    values, vectors = torch.linalg.eigh(cov_a)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    # The product under the root is symmetric, so its root's trace is a sum over eigenvalues: no general matrix root.
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    distance = (a.mean(0) - b.mean(0)).square().sum() + cov_a.trace() + cov_b.trace() - 2 * cross
    return max(0.0, float(distance))


def ks_distance(a: Shaped[Tensor, " n"], b: Shaped[Tensor, " m"]) -> float:
    """Kolmogorov-Smirnov distance: the largest difference of the two empirical distribution functions, in [0, 1].

    Args:
        a: Scores, shape (n,), n >= 2.
        b: Scores, shape (m,), m >= 2.

    Raises:
        HspaceError: Fewer than two scores, or scores that are not finite.

    Example:
        >>> import torch
        >>> from hspace.evaluation.distances import ks_distance
        >>> ks_distance(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 2.0]))
        0.5
    """
    a, b = (_checked(name, x, ndim=1, at_least=2) for name, x in (("a", a), ("b", b)))
    return float(stats.ks_2samp(a.numpy(), b.numpy(), method="asymp").statistic)  # the method of its p-value, unused


def _checked(name: str, x: Tensor, *, ndim: int, at_least: int) -> Tensor:
    if x.ndim != ndim or len(x) < at_least:
        raise HspaceError(f"{name} must be of {ndim} dimension(s) and length >= {at_least}, not {tuple(x.shape)}")
    x = x.detach().to("cpu", torch.float64)
    if not x.isfinite().all():
        raise HspaceError(f"{name} holds values that are not finite")
    return x
