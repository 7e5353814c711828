r"""Where learned directions live, and how long they are.

In the span of r leading components of h_t, orthonormal rows v_{t,j} with standard deviations sigma_{t,j}, a unit vector
w of whitened coordinates stands for the shift of one standard deviation along it:

    a_j = w_j sigma_j,   u = sum_j a_j v_j / |a|,   std(<h, u>)^2 = sum_j a_j^2 sigma_j^2 / |a|^2,
    shift = std(<h, u>) u,

so that strength means the same during training as afterwards (ours: Zhang et al. are known by their abstract only).
Components that vary little count little, which keeps shifts among what the network has seen. Without a span, w is a
unit vector of h itself, and the unit is the RMS of centred h, its standard deviation along a random direction.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.errors import HspaceError

__all__ = ["Span"]


@dataclass(frozen=True, eq=False)
class Span:
    """A space of shifts at every timestep of a grid.

    Attributes:
        mean: (S, d) of h.
        rms: (S,) root mean square of a number of centred h.
        axes: (S, r, d) orthonormal rows, or None for all of h.
        deviations: (S, r) standard deviation of h along each axis, or None.

    Example:
        >>> import torch
        >>> from hspace.learning.span import Span
        >>> axes, deviations = torch.eye(2, 3)[None], torch.tensor([[4.0, 3.0]])
        >>> span = Span(torch.zeros(1, 3), torch.ones(1), axes, deviations)
        >>> span.size, span.shifts(torch.tensor([[1.0, 0.0]]), 0).tolist()
        (2, [[4.0, 0.0, 0.0]])
    """

    mean: Float[Tensor, "s d"]
    rms: Float[Tensor, " s"]
    axes: Float[Tensor, "s r d"] | None = None
    deviations: Float[Tensor, "s r"] | None = None

    def __post_init__(self) -> None:
        if self.deviations is not None and not bool((self.deviations > 0).all()):
            raise HspaceError("h does not vary along all components of the span: take fewer, or more samples")
        if not bool((self.rms > 0).all()):
            raise HspaceError("h does not vary at some timestep: it has no directions to learn")

    @property
    def size(self) -> int:
        """Number of coordinates."""
        return self.mean.shape[1] if self.axes is None else self.axes.shape[1]

    def shifts(self, coordinates: Float[Tensor, " *n r"], row: int) -> Float[Tensor, " *n d"]:
        """Shifts of one standard deviation, at the timestep of a row of the grid.

        Args:
            coordinates: Of any length but 0.
            row: Of the timestep.
        """
        w = torch.nn.functional.normalize(coordinates, dim=-1)
        if self.axes is None or self.deviations is None:
            return w * self.rms[row]
        sigma = self.deviations[row]
        a = torch.nn.functional.normalize(w * sigma, dim=-1)
        shifts: Tensor = (a @ self.axes[row]) * (a * sigma).norm(dim=-1, keepdim=True)
        return shifts

    def coordinates(self, vectors: Float[Tensor, " *n d"], row: int) -> Float[Tensor, " *n r"]:
        """Whitened coordinates of vectors of h; what lies outside the span is lost."""
        if self.axes is None or self.deviations is None:
            return vectors
        return (vectors @ self.axes[row].T) / self.deviations[row]

    def to(self, device: torch.device | str) -> Span:
        """On another device."""
        moved = [None if x is None else x.to(device) for x in (self.mean, self.rms, self.axes, self.deviations)]
        mean, rms, axes, deviations = moved
        assert mean is not None
        assert rms is not None
        return Span(mean, rms, axes, deviations)
