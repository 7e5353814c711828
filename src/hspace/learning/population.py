"""The samples that directions are learned on: where their h lies, and their x_0 before any shift.

They are drawn once; an iteration takes some of them again by seed and shifts them, so that only the shifted x_0 has to
be made. These x_0 are all that grows with the number of samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hspace import tensorfile
from hspace.errors import HspaceError
from hspace.learning.span import Span

__all__ = ["Population"]

_FORMAT = "hspace-population-1"


@dataclass(frozen=True, eq=False)
class Population:
    """Samples by seed.

    Attributes:
        seeds: N of them.
        images: (N, c, y, x) x_0 without a shift, of latent models not decoded; on the CPU.
        span: Of their h.
    """

    seeds: tuple[int, ...]
    images: Float[Tensor, "n c y x"]
    span: Span

    def save(self, path: str | PathLike[str], about: Mapping[str, Any]) -> None:
        """One safetensors file.

        Args:
            path: Where.
            about: How the samples were drawn; plain JSON types.

        Raises:
            HspaceError: It can't be written.
        """
        seeds = torch.tensor(self.seeds, dtype=torch.int64)
        tensorfile.write(path, _FORMAT, {"about": about}, {**self.tensors(), "seeds": seeds})

    def tensors(self) -> dict[str, Tensor]:
        """All of it but the seeds."""
        tensors = {"images": self.images, "mean": self.span.mean, "rms": self.span.rms}
        if self.span.axes is not None and self.span.deviations is not None:
            tensors |= {"axes": self.span.axes, "deviations": self.span.deviations}
        return tensors

    @classmethod
    def of(cls, seeds: Sequence[int], tensors: Mapping[str, Tensor]) -> Population:
        """The inverse of `tensors`."""
        span = Span(tensors["mean"], tensors["rms"], tensors.get("axes"), tensors.get("deviations"))
        return cls(tuple(seeds), tensors["images"], span)

    @classmethod
    def load(cls, path: str | PathLike[str], seeds: Sequence[int], about: Mapping[str, Any]) -> Population:
        """Open such a file.

        Raises:
            HspaceError: Not such a file, or one of other seeds or samples drawn otherwise.
        """
        header, found = tensorfile.read(path, _FORMAT, "samples that directions are learned on")
        try:
            there = tuple(found["seeds"].tolist())
            population = cls.of(there, found)
        except KeyError as error:
            raise HspaceError(f"{path}: {error} is missing") from error
        if there != tuple(seeds) or header.get("about") != about:
            raise HspaceError(f"{path} has other samples (seeds, model, tap, grid or span) than those asked for")
        return population
