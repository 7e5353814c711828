r"""Leading singular triplets of an operator that is known by its products alone.

Block Lanczos on A^T A with full reorthogonalisation and Rayleigh-Ritz. With an orthonormal basis V of the Krylov space
of a start block, Y = A V and W = A^T Y, the eigenpairs (s^2, q) of V^T W give

    v = V q,    s,    u = Y q / s,    and the residual of each, ||A^T A v - s^2 v|| = ||W q - s^2 V q||,

at no further product (Golub-Kahan bidiagonalisation spans the same space). A block of one vector needs the fewest
products, a larger one fewer rounds; what is fastest is the machine's affair. Several operators (one an image) are
solved side by side and share every product; each keeps the answer of the round in which it converged, so that it does
not depend on its neighbours.

Near singular values, which make power iteration crawl, only cost a few more rounds: where an iteration shrinks an
error by a factor 1 - gap, a round of these shrinks it by about 1 - 2 sqrt(gap).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = ["Triplets", "leading_triplets"]

Normal = Callable[[Tensor], tuple[Tensor, Tensor]]
"""(n, b, d) -> A v (n, b, o) and A^T A v (n, b, d)."""


@dataclass(frozen=True, eq=False)
class Triplets:
    """The k leading singular triplets of n operators, and what they cost.

    Attributes:
        values: (n, k) singular values, descending.
        right: (n, k, d) orthonormal rows.
        images: (n, k, o) A v = s u of each.
        residuals: (n, k) ||A^T A v - s^2 v|| / s^2.
        converged: (n,) whether all k residuals are within the tolerance.
        products: (n,) products with A^T A until then.
    """

    values: Float[Tensor, "n k"]
    right: Float[Tensor, "n k d"]
    images: Float[Tensor, "n k o"]
    residuals: Float[Tensor, "n k"]
    converged: Bool[Tensor, " n"]
    products: Int[Tensor, " n"]

    def cpu(self) -> Triplets:
        """On the CPU."""
        return Triplets(*(getattr(self, entry.name).cpu() for entry in fields(self)))

    def after(self, first: Triplets) -> Triplets:
        """These, which others had to be found for: with the products of both, converged if both are."""
        return replace(self, products=first.products + self.products, converged=first.converged & self.converged)


def leading_triplets(
    normal: Normal,
    start: Float[Tensor, "n b d"],
    k: int,
    *,
    tol: float = 1e-3,
    max_products: int = 200,
    seed: int = 0,
) -> Triplets:
    """The k leading singular triplets of n operators.

    Args:
        normal: A v and A^T A v for up to b vectors of each operator. The solver only looks at the second; where that
            is A^T M A v, the triplets are those of M^(1/2) A, and `images` is what you return, A v itself.
        start: First block; its size is the block size. It must not be orthogonal to what is sought: random vectors
            never are, and vectors of a similar operator save products.
        k: At most d.
        tol: Largest relative residual.
        max_products: With A^T A, for each operator.
        seed: Of the random vectors that go on where a Krylov space ends.

    Example:
        >>> import torch
        >>> from hspace.discovery.krylov import leading_triplets
        >>> a = torch.randn(1, 30, 20, dtype=torch.float64)
        >>> start = torch.randn(1, 1, 20, dtype=torch.float64)
        >>> found = leading_triplets(lambda v: (v @ a.mT, v @ a.mT @ a), start, 3, tol=1e-6)
        >>> bool((found.values - torch.linalg.svdvals(a)[:, :3]).abs().max() < 1e-9)
        True
    """
    n, block, d = start.shape
    basis, back_of_basis, images = start.new_empty(n, 0, d), start.new_empty(n, 0, d), None
    found: list[Triplets | None] = [None] * n
    fresh = _orthonormal(start[:, :d], basis, seed)
    while True:
        moved, back = normal(fresh)
        basis, back_of_basis = torch.cat([basis, fresh], 1), torch.cat([back_of_basis, back], 1)
        images = moved if images is None else torch.cat([images, moved], 1)
        used = basis.shape[1]
        last = used >= d or used + block > max_products
        if used >= min(k, d):
            squares, q = _rayleigh_ritz(basis, back_of_basis)
            residuals = _residuals(basis, back_of_basis, squares[:, :k], q[:, :, :k])
            done = (residuals <= tol).all(1)
            for i in range(n):
                if found[i] is None and (bool(done[i]) or last):
                    found[i] = _triplets(basis[i], images[i], squares[i], q[i], residuals[i], bool(done[i]), k)
        if last or all(triplets is not None for triplets in found):
            break
        fresh = _orthonormal(back[:, : d - used], basis, seed)
    return _stacked([triplets for triplets in found if triplets is not None])


def _rayleigh_ritz(basis: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, descending, and eigenvectors (columns) of V^T A^T A V; the small problem in float64 on the CPU."""
    small = (basis @ back.mT).cpu().double()
    squares, q = torch.linalg.eigh((small + small.mT) / 2)
    return squares.flip(1).clamp_min(0), q.flip(2).to(basis)


def _residuals(basis: Tensor, back: Tensor, squares: Tensor, q: Tensor) -> Tensor:
    theta = squares.to(basis)
    gap = q.mT @ back - theta[..., None] * (q.mT @ basis)
    relative: Tensor = gap.norm(dim=2) / theta.clamp_min(torch.finfo(theta.dtype).tiny)
    return relative


def _triplets(
    basis: Tensor, images: Tensor, squares: Tensor, q: Tensor, residuals: Tensor, converged: bool, k: int
) -> Triplets:
    leading = q[:, :k].mT
    return Triplets(
        squares[None, :k].sqrt().to(basis),
        (leading @ basis)[None],
        (leading @ images)[None],
        residuals[None],
        torch.tensor([converged]),
        torch.tensor([len(basis)]),
    )


def _stacked(parts: list[Triplets]) -> Triplets:
    columns = ([getattr(part, field.name) for part in parts] for field in fields(Triplets))
    return Triplets(*(torch.cat(column) for column in columns))


def _orthonormal(block: Tensor, basis: Tensor, seed: int) -> Tensor:
    """The rows of a block made orthonormal to the basis and to each other, one after the other.

    A row with nothing new in it (the Krylov space has ended) is replaced by a random one.
    """
    rows = basis
    for row in block.unbind(1):
        scale = row.norm(dim=1, keepdim=True)
        fresh = _apart(row, rows)
        norm = fresh.norm(dim=1, keepdim=True)
        ended = norm <= 100 * torch.finfo(row.dtype).eps * scale
        if bool(ended.any()):
            fixed = torch.Generator().manual_seed(seed + rows.shape[1])  # the same whatever the neighbours
            random = torch.randn(row.shape[1:], generator=fixed, dtype=torch.float64).to(row).expand_as(row)
            fresh = torch.where(ended, _apart(random, rows), fresh)
            norm = fresh.norm(dim=1, keepdim=True)
        rows = torch.cat([rows, (fresh / norm)[:, None]], 1)
    return rows[:, basis.shape[1] :]


def _apart(row: Tensor, rows: Tensor) -> Tensor:
    """What of a row is orthogonal to others; twice is enough."""
    for _ in range(2):
        row = row - ((row[:, None] @ rows.mT) @ rows)[:, 0]
    return row
