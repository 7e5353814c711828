r"""Disentanglement by linear projection (Haas et al., section 5).

With E the directions to leave alone as columns, flattened over all timesteps,

    v = [I - E (E^T E)^{-1} E^T] v_0:

one projector across all timesteps; the k x k Gram system is solved, the projector is never formed. Projecting at each
timestep apart is a different, stronger constraint: k conditions for each of S timesteps instead of k in all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.errors import HspaceError

__all__ = ["without"]

_COLLINEAR = 1e-3  # smallest singular value of the unit vectors
_NOTHING = 1e-4  # of the norm


def without(
    v: Float[Tensor, "s d"], others: Float[Tensor, "k s d"], names: Sequence[str], *, per_timestep: bool
) -> Float[Tensor, "s d"]:
    """The part of v that is orthogonal to the others.

    Args:
        v: Vectors of one direction at S timesteps.
        others: Those of k others.
        names: Of v and of the others, for errors.
        per_timestep: Orthogonal at every timestep, instead of over all timesteps together.

    Raises:
        HspaceError: One of them is zero, others are nearly collinear, or nothing is left of v.

    Example:
        >>> import torch
        >>> from hspace.directions.project import without
        >>> v, e = torch.tensor([[1.0, 1.0]]), torch.tensor([[[2.0, 0.0]]])
        >>> without(v, e, ["v", "e"], per_timestep=False)
        tensor([[0., 1.]])
    """
    if per_timestep:
        rows = [without(v[i : i + 1], others[:, i : i + 1], names, per_timestep=False) for i in range(len(v))]
        return torch.cat(rows)
    flat, basis = v.flatten().double(), others.flatten(1).double()
    lengths = basis.norm(dim=1)
    if not float(flat.norm()) or not bool((lengths > 0).all()):
        zero = names[0] if not float(flat.norm()) else names[1 + int((lengths == 0).nonzero()[0])]
        raise HspaceError(f"direction {zero!r} is zero: there is nothing to project")
    basis = basis / lengths[:, None]
    gram = basis @ basis.T
    if float(torch.linalg.eigvalsh(gram)[0]) < _COLLINEAR**2:
        raise HspaceError(f"{_most_alike(gram, names[1:])} are nearly collinear: leave one out")
    kept: Tensor = flat - torch.linalg.solve(gram, basis @ flat) @ basis
    if float(kept.norm()) < _NOTHING * float(flat.norm()):
        raise HspaceError(f"nothing is left of {names[0]!r} without {', '.join(names[1:])}: it is a mixture of them")
    projected: Tensor = kept.reshape(v.shape).to(v)
    return projected


def _most_alike(gram: Tensor, names: Sequence[str]) -> str:
    """The pair with the largest cosine; where no pair is alike, all are dependent together."""
    off = (gram - torch.eye(len(gram)).to(gram)).abs()
    i, j = divmod(int(off.argmax()), len(gram))
    return f"{names[i]!r} and {names[j]!r}" if float(off.max()) > 0.99 else ", ".join(map(repr, names))
