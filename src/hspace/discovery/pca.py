"""PCA directions of h (Haas et al., arXiv 2303.11073, section 3.2): unsupervised, global, streamed.

    draw x_T and z, run the sampler, record h_t at every t
    for each t: PCA of {vec(h_t)}, v_j = (j-th component at T, ..., j-th component at 1)
    an edit adds strength * std_{j,t} * v_{j,t} to h_t

or one joint PCA of the concatenated h_{T:1}. No h is kept: a batch is folded into mergeable sketches, one for each
timestep (`hspace.discovery.sketch`), so memory does not depend on the number of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.diffusion import Injection, Sampler, Setting
from hspace.diffusion.identity import about_run
from hspace.diffusion.latents import as_seeds
from hspace.directions import Direction, Directions
from hspace.discovery.alignment import align
from hspace.discovery.ranges import ranges
from hspace.discovery.sketch import Sketch, Sketches
from hspace.errors import HspaceError
from hspace.jobs import Checkpoint, Fold, Job, Table, Together
from hspace.progress import Progress
from hspace.version import __version__

__all__ = ["PCA"]

_WITNESSES = 256  # samples whose scores are compared between timesteps


class PCA:
    """Principal components of h.

    Args:
        n_components: k.
        joint: One PCA of the concatenated h of all timesteps, instead of one for each timestep.
        sketch_size: Number of axes carried along while streaming; default 2 k + 120. Up to that many samples the
            result is the exact PCA; beyond, the more the closer.
        injection: How the directions will go in; it changes nothing of what is found. Asymmetric shifts of the same
            strength move the picture further.

    Attributes:
        directions_: The components as `Directions` pc0, pc1, ..., in the unit of strength, with
            `explained_variance_ratio` measured along.
        explained_variance_: (S, k) variance of h_t along each component, at every timestep.
        explained_variance_ratio_: The same over the variance of h_t.
        agreement_: (S, k) how well each component agrees with its neighbours along t (1: the same samples score high
            on both); all 1 for a joint PCA.
        mean_: (S, *h_shape) mean of h.
        n_samples_seen_: Number of samples.

    Raises:
        HspaceError: Fewer than 1 component, more components than samples.

    Example:
        >>> import hspace
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2)
        >>> pca = hspace.PCA(n_components=2).fit(sampler, seeds=range(4))
        >>> pca.directions_.names, pca.explained_variance_ratio_.shape
        (('pc0', 'pc1'), torch.Size([2, 2]))
    """

    def __init__(
        self,
        n_components: int = 10,
        *,
        joint: bool = False,
        sketch_size: int | None = None,
        injection: Injection = "symmetric",
    ) -> None:
        self.n_components = n_components
        self.joint = joint
        self.sketch_size = sketch_size
        self.injection: Injection = injection

    def fit(
        self,
        sampler: Sampler,
        seeds: Iterable[int],
        *,
        progress: Progress = False,
        on_batch: Callable[[slice, Tensor], None] | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> PCA:
        """Draw the samples of the seeds and find the components of their h.

        Args:
            sampler: Draws them.
            seeds: At least n_components + 1.
            progress: True for a bar, or a function of (done, total) image-steps.
            on_batch: Called with the rows and the pictures of every batch that this process finishes in this call.
            checkpoint: Where the state is kept, to go on from; see `hspace.Checkpoint`.

        A run that is interrupted (Ctrl-C) keeps the batches it has finished: `n_samples_seen_` tells how many, and
        `finish()` turns them into directions.
        """
        seeds = as_seeds(seeds)
        self.check(len(seeds))
        about = {"job": "pca", "parameters": self._parameters(), **about_run(sampler, seeds, self.injection)}
        job = Job(about, checkpoint, device=sampler.model.device)
        return self.fit_in(job, sampler, seeds, progress=progress, on_batch=on_batch)

    def fit_in(
        self,
        job: Job,
        sampler: Sampler,
        seeds: Sequence[int],
        *,
        samples: Table | None = None,
        progress: Progress = False,
        on_batch: Callable[[slice, Tensor], None] | None = None,
    ) -> PCA:
        """As `fit`, as a pass of a larger job, which may keep x_0.

        Args:
            job: The larger one.
            sampler: Draws the samples.
            seeds: Of all processes.
            samples: Takes x_0 of all of them, not decoded; then there is no `on_batch`.
            progress: As in `fit`.
            on_batch: As in `fit`. Without it latents are not decoded.
        """
        self.check(len(seeds))
        if samples is not None and on_batch is not None:
            raise HspaceError("either x_0 of all samples is kept, or their pictures are shown: give one of the two")
        self.setting_: Setting = sampler.setting(self.injection)
        self._seen = self.sketches(sampler.model.device)
        self.seeds_: tuple[int, ...] = ()
        fold: Fold = self._seen if samples is None else Together({"h": self._seen, "images": samples})
        batch: list[Tensor] = []

        def record(timestep: int, h: Tensor, _: slice) -> None:
            if timestep == self.setting_.schedule.timesteps[0]:
                batch.clear()
            batch.append(h.flatten(1))

        with job.stage("components", len(seeds), fold) as stage:
            first, left = stage.rows.start, stage.of(seeds)
            options: dict[str, Any] = {"record": record, "pictures": on_batch is not None}
            try:
                for rows, x_0 in sampler.stream(left, progress=stage.shows(progress), **options) if left else ():
                    clouds = [torch.cat(batch, 1)] if self.joint else batch
                    stage.add(clouds if samples is None else {"h": clouds, "images": {"x_0": x_0.float()}})
                    if on_batch is not None:
                        on_batch(slice(first + rows.start, first + rows.stop), x_0)
            finally:  # whole batches only are in the sketches
                self.seeds_ = tuple(seeds[stage.share.start : stage.rows.start])
        self.seeds_ = tuple(seeds)
        return self.finish()

    def merge(self, other: PCA) -> PCA:
        """Take in what another PCA has seen, as if this one had seen it too.

        Raises:
            HspaceError: The other was fitted in another setting or on some of the same seeds, or differs in `joint`.
        """
        if other.setting_ != self.setting_ or other.joint != self.joint:
            raise HspaceError("only PCAs of one setting (model, tap, grid, eta) and one kind merge")
        if shared := set(self.seeds_) & set(other.seeds_):
            raise HspaceError(f"both parts have seen seed {min(shared)}; parts must be disjoint to merge")
        self._seen.merge(other._sketches)
        self.seeds_ += other.seeds_
        return self.finish()

    def check(self, samples: int) -> None:
        """Whether so many are enough.

        Raises:
            HspaceError: They are not, or there are no components.
        """
        if self.n_components < 1:
            raise HspaceError(f"n_components must be at least 1, not {self.n_components}")
        if self.n_components >= samples:
            raise HspaceError(f"{self.n_components} components need more samples than that, not {samples}")

    def sketches(self, device: torch.device | str) -> Sketches:
        """Those that a fit begins with, empty."""
        return Sketches(self._rank, _WITNESSES, device)

    @property
    def n_samples_seen_(self) -> int:
        """Number of samples."""
        return len(self.seeds_)

    def finish(self) -> PCA:
        """Turn what has been seen into directions; `fit` and `merge` end with it."""
        self.check(self.n_samples_seen_)
        self._check_rank()
        totals = self._by_timestep([sketch.variance_by_dimension() for sketch in self._sketches]).sum(1)  # (S,)
        axes, variances, agreement = self._joint_components() if self.joint else self._components_by_timestep()
        axes, variances, self.agreement_ = self._in_final_order(axes, variances, totals, agreement)
        shape = self.setting_.h_shape
        self.mean_ = self._by_timestep([sketch.mean for sketch in self._sketches]).reshape(-1, *shape)
        self.explained_variance_ = variances
        self.explained_variance_ratio_ = variances / totals[:, None]
        vectors = axes * variances.sqrt()[..., None]  # (S, k, d)
        origin = self._origin()
        items = [
            Direction(v.reshape(-1, *shape).float().cpu(), self.setting_, f"pc{j}", {**origin, "component": j})
            for j, v in enumerate(vectors.unbind(1))
        ]
        measured = {"explained_variance_ratio": self.explained_variance_ratio_, "agreement": self.agreement_}
        self.directions_ = Directions(items, {name: value.float().cpu() for name, value in measured.items()})
        return self

    @property
    def _rank(self) -> int:
        return max(self.sketch_size or 2 * self.n_components + 120, self.n_components)

    @property
    def _sketches(self) -> list[Sketch]:
        """One for each timestep, or one of all timesteps together."""
        return self._seen.parts

    def _by_timestep(self, values: list[Tensor]) -> Float[Tensor, "s d"]:
        """One value for each dimension of h at each timestep, out of those of the sketches."""
        return torch.cat(values).reshape(len(self.setting_.schedule), -1)

    def _check_rank(self) -> None:
        """As many axes as components in every sketch."""
        found = min(len(sketch.values) for sketch in self._sketches)
        if found < self.n_components:
            raise HspaceError(f"h varies in {found} directions only, too few for {self.n_components} components")

    def _components_by_timestep(self) -> tuple[Tensor, Tensor, Tensor]:
        """Axes (S, k, d), variances (S, k) and agreement (S, k), aligned along t."""
        k = self.n_components
        scores = [sketch.coordinates[:, :k].cpu().double().numpy() for sketch in self._sketches]
        order, signs, agreement = align(scores)
        axes, variances = [], []
        for sketch, rows, sign in zip(self._sketches, order.tolist(), signs, strict=True):
            axes.append(sketch.axes[rows] * torch.as_tensor(sign).to(sketch.axes)[:, None])
            variances.append(sketch.variances()[rows])
        return torch.stack(axes), torch.stack(variances), torch.as_tensor(agreement)

    def _joint_components(self) -> tuple[Tensor, Tensor, Tensor]:
        """The same for one PCA over all timesteps: each component cut at them, its variance there from the sketch."""
        (sketch,) = self._sketches
        k, steps = self.n_components, len(self.setting_.schedule)
        everything = sketch.axes.reshape(len(sketch.axes), steps, -1).transpose(0, 1)  # (S, r, d)
        axes = everything[:, :k] / everything[:, :k].norm(dim=2, keepdim=True).clamp_min(1e-30)
        along = axes @ everything.transpose(1, 2)  # (S, k, r)
        return axes, (along.square() * sketch.variances()).sum(-1), torch.ones(steps, k)

    @staticmethod
    def _in_final_order(
        axes: Tensor, variances: Tensor, totals: Tensor, agreement: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """By mean explained share, with a sign that does not depend on chance: the largest mean entry is positive."""
        order = (variances / totals[:, None]).mean(0).argsort(descending=True)
        axes, variances, agreement = axes[:, order], variances[:, order], agreement[:, order.cpu()]
        mean = axes.mean(0)
        largest = mean.gather(1, mean.abs().argmax(1, keepdim=True))  # (k, 1)
        return torch.where(largest < 0, -axes, axes), variances, agreement

    def _parameters(self) -> dict[str, Any]:
        return {"n_components": self.n_components, "joint": self.joint, "sketch_size": self._rank}

    def _origin(self) -> dict[str, Any]:
        return {"method": "pca", "parameters": self._parameters(), "seeds": ranges(self.seeds_), "version": __version__}
