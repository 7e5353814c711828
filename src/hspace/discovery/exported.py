"""Between components of h and a shift control module: the span that it lives in, and its shifts as vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.diffusion import Sampler
from hspace.discovery.calibration import standard_deviations
from hspace.discovery.pca import PCA
from hspace.learning import GlobalShift, Shift, Span

__all__ = ["in_unit", "span_of", "vectors_of"]

_UNIT_SAMPLES = 200


def span_of(pca: PCA, *, whole: bool) -> Span:
    """The components of a PCA; or all of h, with what the PCA knows of its variance."""
    mean = pca.mean_.flatten(1).float().cpu()
    total = (pca.explained_variance_ / pca.explained_variance_ratio_)[:, 0].float().cpu()
    rms = (total / mean.shape[1]).sqrt()
    if whole:
        return Span(mean, rms)
    vectors = torch.stack([item.vectors.flatten(1) for item in pca.directions_], 1)  # (S, r, d)
    deviations = vectors.norm(dim=2)
    return Span(mean, rms, vectors / deviations.clamp_min(1e-30)[..., None], deviations)


@torch.no_grad()
def vectors_of(
    shift: Shift, sampler: Sampler, span: Span, seeds: Sequence[int], averaged: int
) -> Float[Tensor, "k s d"]:
    """Shifts of one standard deviation; of a block their mean over samples, made as long.

    Args:
        shift: The module.
        sampler: Draws the population.
        span: Of its h.
        seeds: Of the population.
        averaged: How many of them a block's mean is taken over.
    """
    if isinstance(shift, GlobalShift):
        vectors = shift.vectors().transpose(0, 1)
        return vectors.cpu() if span.axes is not None else in_unit(vectors, sampler, span, seeds)
    seeds = seeds[:averaged]
    sums = torch.zeros(shift.n, len(sampler.timesteps), span.mean.shape[1])
    rows = {t: row for row, t in enumerate(sampler.timesteps)}

    def record(timestep: int, h: Tensor, _: slice) -> None:
        for k in range(shift.n):
            kinds = torch.full((len(h),), k, device=h.device)
            sums[k, rows[timestep]] += shift.unit(timestep, h, kinds).flatten(1).sum(0).float().cpu()

    for _ in sampler.stream(seeds, record=record, pictures=False):
        pass
    return in_unit(sums, sampler, span, seeds)


def in_unit(
    vectors: Float[Tensor, "k s d"], sampler: Sampler, span: Span, seeds: Sequence[int]
) -> Float[Tensor, "k s d"]:
    """As long as one standard deviation of the population along them.

    Args:
        vectors: Within the span, of any length but 0.
        sampler: Draws the population, where there is no span to know its deviations.
        span: Of its h.
        seeds: Of the population.
    """
    units = torch.nn.functional.normalize(vectors, dim=2)
    if span.axes is None or span.deviations is None:
        stds = standard_deviations(units, sampler, seeds[:_UNIT_SAMPLES]).float().cpu()
    else:
        along = torch.einsum("ksd,srd->ksr", units.to(span.axes), span.axes)
        stds = (along * span.deviations).norm(dim=2).cpu()
    return units.cpu() * stds[..., None]
