r"""Image-specific directions: the singular vectors of the Jacobian of the denoiser (Haas et al., section 4.2).

At a state x_t of a sample's own trajectory, with all skip connections held fixed,

    J_t = d eps_t(x_t, h_t) / d h_t = U S V^T,

and the leading right singular vectors are what changes the noise that the network sees, and with it the picture,
most: P_t moves by -sqrt(1 - alpha_t) / sqrt(alpha_t) J_t v. Each is used at every timestep.

With a mask M (values in [0, 1] at the resolution of eps) the change inside of it is what is maximised: the singular
vectors of M J. That alone does not keep the rest still. `outside_rank` = r does: with Vbar the r leading right
singular vectors of (1 - M) J, directions are sought in its complement,

    M J (I - Vbar Vbar^T).

LOCO-Edit (arXiv 2409.02374) projects the singular vectors of M J afterwards; searching in the complement is ours: of
all directions that leave the r modes of the rest alone, it finds those that change the most inside, orthonormal and in
order.

A pooled fit looks for what many images have in common: the dominant right singular vectors of their stacked s v^T
(Haas et al. average over images in the same spirit; the weighting by s is ours).
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hspace.diffusion import Chosen, Injection, Inversion, Latents, Sampler, SeedLatents, Setting
from hspace.diffusion.latents import as_seeds
from hspace.directions import Direction, Directions
from hspace.discovery.calibration import standard_deviations
from hspace.discovery.decomposition import Known, decompose
from hspace.discovery.krylov import Triplets
from hspace.discovery.sketch import principal
from hspace.errors import HspaceError, HspaceWarning
from hspace.masks import Mask, Regions, as_masks
from hspace.models.denoiser import Denoiser
from hspace.models.products import Products, Route, products
from hspace.progress import Progress
from hspace.version import __version__

__all__ = ["Jacobian"]


class Jacobian:
    """Leading singular vectors of the Jacobian of a sample at its own states x_t, as directions.

    Args:
        n_components: Singular triplets at each timestep, k.
        timesteps: Of the sampler's grid; one, several, or None for all of them.
        mask: Where the picture shall change: an array (h, w) in [0, 1], a PNG, a box `(x0, y0, x1, y1)` or
            `"x0,y0,x1,y1"` in pixels, or the name of one of the `regions`; for a latent model at the size of the
            picture, averaged over the cells of the latents, or at that of the latents.
        regions: Callable that finds named masks in pictures, such as `hspace.attributes.portrait_regions`.
        outside_rank: Number of modes of the rest of the picture, outside the mask, that directions leave alone, r.
        pooled: What all images have in common, instead of directions for each.
        tol: Largest relative residual ||J^T J v - s^2 v|| / s^2.
        max_products: With J^T J for one image and timestep, before it is given up as not converged.
        block_size: Vectors of an image in one product. Memory grows with it; a GPU is faster with more, a CPU with 1.
            Default: 1 on a CPU, else n_components + 2.
        batch_size: Images side by side.
        route: How J v is computed, see `hspace.models.products`; default: the first that works, found in `route_`.
        unit_seeds: Samples that the unit of strength is measured with.
        injection: How the directions are meant to go in.

    Attributes:
        directions_: One for each image, timestep and component (pooled: timestep and component), in the unit of
            strength, to be used at all timesteps or in a window. Their `origin` holds singular value, residual and
            whether it converged.
        timesteps_: (T,) those looked at, descending.
        singular_values_: (n, T, k).
        residuals_: (n, T, k).
        products_: (n, T) with J^T J, those for the rest of the picture included.
        converged_: (n, T).
        saliency_: (n, T, k, h, w) |J v| over the channels; None for a pooled fit.
        images_: (n, c, y, x) pictures of the samples, of latent models larger than the maps; None for a pooled fit.
        masks_: (n, h, w), or None.
        route_: How J v was computed.
        decoding_: Whether what lies before the tap was replayed for it, or why not.
        samples_: What the images are called: by seed (s0), by name, or by number (i0).

    Raises:
        HspaceError: A timestep off the grid, a number out of range, a mask that does not fit, `outside_rank` without
            a mask, a route that does not work.

    Warns:
        HspaceWarning: Some did not converge.

    Example:
        >>> import hspace
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=4)
        >>> jacobian = hspace.Jacobian(2, timesteps=499, unit_seeds=range(4)).fit(sampler, [0])
        >>> jacobian.directions_.names, bool(jacobian.residuals_.max() < 1e-3)
        (('t499-0', 't499-1'), True)
    """

    def __init__(
        self,
        n_components: int = 3,
        *,
        timesteps: int | Sequence[int] | None = None,
        mask: Mask | None = None,
        regions: Regions | None = None,
        outside_rank: int = 0,
        pooled: bool = False,
        tol: float = 1e-3,
        max_products: int = 200,
        block_size: int | None = None,
        batch_size: int = 4,
        route: Route | None = None,
        unit_seeds: Iterable[int] = range(100),
        injection: Injection = "symmetric",
    ) -> None:
        self.n_components = n_components
        self.timesteps = timesteps
        self.mask = mask
        self.regions = regions
        self.outside_rank = outside_rank
        self.pooled = pooled
        self.tol = tol
        self.max_products = max_products
        self.block_size = block_size
        self.batch_size = batch_size
        self.route: Route | None = route
        self.unit_seeds = unit_seeds
        self.injection: Injection = injection

    def fit(self, sampler: Sampler, latents: Latents | Iterable[int], *, progress: Progress = False) -> Jacobian:
        """Follow the trajectories of the samples and decompose their Jacobians.

        Args:
            sampler: Its grid, eta and noise are those of the trajectories.
            latents: Or seeds; an inverted photo is latents too. A pooled fit streams over them.
            progress: True for bars, or a function of (done, total) image-steps of each pass: that of the trajectories,
                and that of the unit of strength.

        A run that is interrupted (Ctrl-C) keeps the images it has finished: `n_samples_seen_` tells how many, and
        `finish()` turns them into directions.
        """
        rows = sampler.as_latents(latents)
        self._check(sampler)
        labels = _labels(rows)
        if len(set(labels)) < len(labels):
            raise HspaceError(f"samples need different names, found {', '.join(labels)}")
        self.timesteps_ = _on_grid(self.timesteps, sampler.timesteps)
        self.setting_: Setting = sampler.setting(self.injection)
        self.route_: Route | None = None
        self.decoding_ = ""
        self._unit_seeds = as_seeds(self.unit_seeds)
        if len(self._unit_seeds) < 2:
            raise HspaceError("unit_seeds: a standard deviation needs at least 2 samples")
        self._sampler, self.samples_ = sampler, labels
        self._seen: list[_Batch] = []
        self._pool: list[Tensor] = []
        own = copy.copy(sampler)
        own.batch_size = self.batch_size
        model = sampler.model.widened()
        block = self.block_size or (1 if model.device.type == "cpu" else self.n_components + 2)
        batch = _Batch()

        def visit(timestep: int, x_t: Tensor, where: slice) -> None:
            nonlocal batch
            if timestep == sampler.timesteps[0]:
                batch = _Batch(self._masks(own, rows, where))
            if timestep in self.timesteps_:
                batch.found.append(self._solve(model, x_t, timestep, batch, block))

        for _, pictures in own.stream(rows, visit=visit, pictures=not self.pooled, progress=progress):
            self._fold(batch, pictures)
        return self.finish(progress=progress)

    @property
    def n_samples_seen_(self) -> int:
        """Number of images."""
        return sum(len(batch.found[0].values) for batch in self._seen)

    def finish(self, *, progress: Progress = False) -> Jacobian:
        """Turn what has been seen into directions; `fit` ends with it."""
        if not self._seen:
            raise HspaceError("no image was finished")

        def column(name: str) -> Tensor:
            return torch.cat([torch.stack([getattr(x, name) for x in batch.found], 1) for batch in self._seen]).cpu()

        self.singular_values_: Float[Tensor, "n t k"] = column("values")
        self.residuals_: Float[Tensor, "n t k"] = column("residuals")
        self.converged_: Bool[Tensor, "n t"] = column("converged")
        self.products_: Int[Tensor, "n t"] = column("products")
        self.masks_, self.saliency_, self.images_ = (None, None, None)
        if self.mask is not None:
            self.masks_ = torch.cat([batch.masks.cpu() for batch in self._seen if batch.masks is not None])
        if self.pooled:
            vectors = torch.stack([rows[: self.n_components] for rows in self._pool])[None]  # (1, T, k, d), s v^T
        else:
            vectors = self.singular_values_[..., None] * column("right")
            self.images_ = torch.cat([batch.images for batch in self._seen])
            moved = column("images").unflatten(3, self._sampler.model.image_shape)
            self.saliency_ = moved.norm(dim=3)
        self._warn()
        self.directions_ = self._directions(vectors, progress)
        return self

    def _check(self, sampler: Sampler) -> None:
        dimensions = int(torch.tensor(sampler.model.h_shape).prod())
        for name, value, least in (
            ("n_components", self.n_components, 1),
            ("outside_rank", self.outside_rank, 0),
            ("block_size", self.block_size, 1),
            ("batch_size", self.batch_size, 1),
            ("max_products", self.max_products, 1),
        ):
            if value is not None and value < least:
                raise HspaceError(f"{name} must be at least {least}, not {value}")
        if self.route is not None and self.route not in get_args(Route):
            raise HspaceError(f"route must be one of {', '.join(get_args(Route))}, not {self.route!r}")
        if self.max_products < max(self.n_components, self.outside_rank):
            wanted = max(self.n_components, self.outside_rank)
            raise HspaceError(f"max_products {self.max_products} are too few for {wanted} singular vectors")
        if not 0 < self.tol < 1:
            raise HspaceError(f"tol must be between 0 and 1, not {self.tol}")
        if self.n_components + self.outside_rank > dimensions:
            raise HspaceError(f"{self.n_components} components are more than h has dimensions, {dimensions}")
        if self.outside_rank and self.mask is None:
            raise HspaceError("outside_rank leaves the picture outside a mask alone: give a mask")

    def _masks(self, sampler: Sampler, rows: Latents, where: slice) -> Tensor | None:
        """(n, h, w) of a batch, on the grid of x_t; regions are found in the finished pictures."""
        if self.mask is None:
            return None
        model, n = sampler.model, where.stop - where.start
        named = isinstance(self.mask, str) and "," not in self.mask and self.regions is not None
        images = sampler.run(rows[where]).float() if named else None
        size = (model.image_shape[-2], model.image_shape[-1])
        masks = as_masks(self.mask, size, scale=model.latent_scale, regions=self.regions, images=images)
        if self.outside_rank and bool((masks == 1).all()):
            raise HspaceError("the mask covers the whole picture: outside_rank has nothing outside to leave alone")
        expanded: Tensor = masks.expand(n, *size)
        return expanded

    def _solve(self, model: Denoiser, x_t: Tensor, timestep: int, batch: _Batch, block: int) -> Triplets:
        with torch.no_grad():
            encoding = model.encode(x_t.to(model.state_dtype), timestep)
        self.decoding_ = model.replay.reason
        if self.route_ is None:
            jacobian = products(model, encoding, block, self.route)
            self.route_ = jacobian.route
        else:
            jacobian = Products(model, encoding, block, self.route_)
        mask = None
        if batch.masks is not None:
            mask = batch.masks.to(encoding.h.device, model.dtype)[:, None].expand(-1, *model.image_shape).flatten(1)
        found, batch.known = decompose(
            jacobian,
            encoding.h,
            self.n_components,
            mask=mask,
            outside_rank=self.outside_rank,
            known=batch.known,
            tol=self.tol,
            max_products=self.max_products,
            seed=timestep,
        )
        return found

    def _fold(self, batch: _Batch, pictures: Tensor) -> None:
        batch.images, batch.known = pictures.cpu(), Known()
        if self.pooled:
            parts = [(found.values[..., None] * found.right).flatten(0, 1) for found in batch.found]
            before = self._pool or [part[:0] for part in parts]
            self._pool = [
                _leading_rows(torch.cat(pair), 4 * self.n_components + 20) for pair in zip(before, parts, strict=True)
            ]
            batch.forget_vectors()
        batch.found = [found.cpu() for found in batch.found]
        self._seen.append(batch)

    def _warn(self) -> None:
        missed = int((~self.converged_).sum())
        if missed:
            worst = float(self.residuals_[~self.converged_].max())
            warnings.warn(
                f"{missed} of {self.converged_.numel()} Jacobians did not converge in {self.max_products} products "
                f"(largest residual {worst:.1e}, asked for {self.tol:.0e}): raise max_products or tol",
                HspaceWarning,
                stacklevel=3,
            )

    def _directions(self, vectors: Float[Tensor, "n t k d"], progress: Progress) -> Directions:
        """Of vectors s v: one direction for each, with v at every timestep."""
        values = vectors.norm(dim=3)
        if bool((values == 0).any()):
            raise HspaceError(f"eps does not change with h along {self.n_components} directions: ask for fewer")
        units = vectors / values[..., None]
        largest = units.gather(3, units.abs().argmax(3, keepdim=True))
        units = (units * largest.sign()).float()
        schedule, seeds = self._sampler.timesteps, self._unit_seeds
        stds = standard_deviations(units.reshape(-1, 1, units.shape[3]), self._sampler, seeds, progress=progress)
        stds = stds.float().cpu().reshape(*units.shape[:3], len(schedule))
        items = []
        for i, j, k in (
            (i, j, k) for i in range(len(units)) for j in range(units.shape[1]) for k in range(units.shape[2])
        ):
            vector = stds[i, j, k][:, None] * units[i, j, k].cpu()
            name, origin = self._origin(i, j, k, float(values[i, j, k]))
            items.append(Direction(vector.reshape(-1, *self.setting_.h_shape), self.setting_, name, origin))
        return Directions(items)

    def _origin(self, i: int, j: int, k: int, value: float) -> tuple[str, dict[str, Any]]:
        """Name of a direction, and what it remembers."""
        timestep, rows = self.timesteps_[j], slice(None) if self.pooled else slice(i, i + 1)
        parameters = {
            "n_components": self.n_components,
            "outside_rank": self.outside_rank,
            "mask": None if self.masks_ is None else _described(self.mask, self.masks_[rows]),
            "tol": self.tol,
            "pooled": self.pooled,
        }
        origin = {
            "method": "jacobian",
            "timestep": timestep,
            "component": k,
            "singular_value": value,
            "residual": float(self.residuals_[rows, j, k].max()),
            "converged": bool(self.converged_[rows, j].all()),
            "products": int(self.products_[rows, j].sum()),
            "route": self.route_,
            "parameters": parameters,
            "version": __version__,
        }
        if self.pooled:
            return f"t{timestep}-{k}", {
                **origin,
                "images": self.n_samples_seen_,
                "samples": self.samples_[: self.n_samples_seen_],
            }
        several = f"{self.samples_[i]}-" if self.n_samples_seen_ > 1 else ""
        return f"{several}t{timestep}-{k}", {**origin, "sample": self.samples_[i]}


@dataclass
class _Batch:
    """What is known of the images side by side."""

    masks: Tensor | None = None  # (n, h, w)
    found: list[Triplets] = field(default_factory=list)  # one for each timestep
    images: Tensor = field(default_factory=lambda: torch.empty(0))
    known: Known = field(default_factory=Known)  # of the timestep before

    def forget_vectors(self) -> None:
        """Leave the numbers."""
        self.images = self.images[:0]
        self.found = [replace(x, right=x.right[..., :0], images=x.images[..., :0]) for x in self.found]


def _on_grid(wanted: int | Sequence[int] | None, timesteps: tuple[int, ...]) -> tuple[int, ...]:
    """The wanted timesteps, descending."""
    if wanted is None:
        return timesteps
    chosen = {wanted} if isinstance(wanted, int) else set(wanted)
    if not chosen:
        raise HspaceError("no timesteps: at least 1 is needed")
    for timestep in chosen:
        if timestep not in timesteps:
            near = sorted(sorted(timesteps, key=lambda t: abs(t - timestep))[:3], reverse=True)
            raise HspaceError(f"timestep {timestep} is not on the sampler's grid; near it are {near}")
    return tuple(sorted(chosen, reverse=True))


def _labels(rows: Latents) -> list[str]:
    """How samples are called: by seed, by the name of the picture, or by number."""
    if isinstance(rows, SeedLatents):
        return [f"s{seed}" for seed in rows.seeds]
    return list(rows.names) if isinstance(rows, Inversion | Chosen) else [f"i{i}" for i in range(len(rows))]


def _leading_rows(rows: Float[Tensor, "r d"], rank: int) -> Float[Tensor, "q d"]:
    """The `rank` leading singular values times right singular vectors."""
    _, values, axes = principal(rows.double(), rank)
    return values[:, None] * axes


def _described(mask: Any, masks: Tensor) -> dict[str, Any]:
    """What tells one mask from another."""
    pixels = masks.float().cpu().contiguous()
    digest = hashlib.sha256(pixels.numpy().tobytes()).hexdigest()[:16]
    given = mask if isinstance(mask, str) else list(mask) if isinstance(mask, tuple) else type(mask).__name__
    return {"given": given, "share": round(float(pixels.mean()), 4), "sha256": digest}
