"""What the two supervised methods share: classes of samples in, directions in the unit of strength out.

`hspace.discovery.labelled` has pictures with labels, `hspace.discovery.annotated` a scorer that tells which generated
samples to compare; both stream h (or x_T) of the two classes into a `Contrast`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from hspace.diffusion import Injection, Sampler, Setting, Space
from hspace.diffusion.latents import as_seeds
from hspace.directions import Direction, Directions
from hspace.discovery.calibration import standard_deviations
from hspace.discovery.contrast import CLASSIFIERS, Classifier, Contrast
from hspace.errors import HspaceError
from hspace.jobs import Checkpoint, Job
from hspace.jobs.job import digest
from hspace.progress import Progress
from hspace.version import __version__

__all__ = ["Supervised"]

_MOST_AXES_OF_NOISE = 512


class Supervised:
    """Base of `Labelled` and `Annotated`; see there.

    Args:
        classifier: "mean" (difference of the class means, the paper's), "svm" or "logistic".
        space: "h", or "noise" for directions of x_T.
        C: Inverse strength of the penalty of svm and logistic, for h scaled to a mean square of 1.
        folds: Of the cross-validation.
        sketch_size: Axes carried along at each timestep, for svm, logistic and the cross-validation; up to so many
            samples they are exact. 0: the mean alone, without its accuracy.
        unit_seeds: Samples that the unit of strength is measured with.
        injection: How the directions are meant to go in.
        n_shuffles: So many directions of each attribute from shuffled labels, as the control.
        seed: Of the shuffles.
    """

    def __init__(
        self,
        *,
        classifier: Classifier = "mean",
        space: Space = "h",
        C: float = 1.0,
        folds: int = 5,
        sketch_size: int = 128,
        unit_seeds: Iterable[int] = range(100),
        injection: Injection = "symmetric",
        n_shuffles: int = 0,
        seed: int = 0,
    ) -> None:
        self.classifier: Classifier = classifier
        self.space: Space = space
        self.C = C
        self.folds = folds
        self.sketch_size = sketch_size
        self.unit_seeds = unit_seeds
        self.injection: Injection = injection
        self.n_shuffles = n_shuffles
        self.seed = seed

    def _check(self) -> None:
        if self.classifier not in CLASSIFIERS:
            raise HspaceError(f"classifier must be one of {', '.join(CLASSIFIERS)}, not {self.classifier!r}")
        if self.space not in get_args(Space):
            raise HspaceError(f"space must be one of {', '.join(get_args(Space))}, not {self.space!r}")
        if not (math.isfinite(self.C) and self.C > 0):
            raise HspaceError(f"C must be positive, not {self.C}")
        if self.folds < 2:
            raise HspaceError(f"folds must be at least 2, not {self.folds}")
        if self.sketch_size < 0 or (self.sketch_size == 0 and self.classifier != "mean"):
            raise HspaceError(f"sketch_size {self.sketch_size} is too small for classifier {self.classifier!r}")
        if self.n_shuffles < 0:
            raise HspaceError(f"n_shuffles must not be negative, but is {self.n_shuffles}")
        self._unit_seeds = as_seeds(self.unit_seeds)
        if len(self._unit_seeds) < 2:
            raise HspaceError("unit_seeds: a standard deviation needs at least 2 samples")

    def _contrast(
        self,
        sampler: Sampler,
        labels: Mapping[str, NDArray[np.float64]],
        strata: NDArray[np.bool_] | None = None,
    ) -> Contrast:
        """Empty statistics; memory for as many axes of x_T as of h over all timesteps.

        Args:
            sampler: Tells how many timesteps there are.
            labels: By attribute.
            strata: Labels are shuffled within the samples of True and those of False.
        """
        size = self.sketch_size
        if self.space == "noise":
            size = min(_MOST_AXES_OF_NOISE, size * len(sampler.timesteps))
        generator = np.random.default_rng(self.seed)
        self._of_shuffle = {f"{name} shuffled{i}": name for name in labels for i in range(self.n_shuffles)}
        for name, values in labels.items():
            positives, negatives = int((values == 1).sum()), int((values == 0).sum())
            ways = math.comb(positives + negatives, positives)
            if self.n_shuffles and ways <= 2 * self.n_shuffles:
                raise HspaceError(
                    f"{positives} with {name!r} and {negatives} without are too few to shuffle them "
                    f"{self.n_shuffles} times: there are {ways} ways"
                )
        chance = {shuffle: _shuffled(labels[name], generator, strata) for shuffle, name in self._of_shuffle.items()}
        every = {name: list(values) for name, values in {**labels, **chance}.items()}
        # x_T is drawn on the CPU, h is where the network is.
        return Contrast(every, size, "cpu" if self.space == "noise" else sampler.model.device)

    def _job(self, sampler: Sampler, about: Mapping[str, Any], checkpoint: Checkpoint | None) -> Job:
        """One of this method.

        Args:
            sampler: Draws or inverts the samples.
            about: What else makes it this one and no other.
            checkpoint: Where its state is kept.
        """
        shared = ("classifier", "space", "C", "folds", "sketch_size", "n_shuffles", "seed")
        parameters = {name: getattr(self, name) for name in shared}
        method = {"job": type(self).__name__.lower(), "parameters": parameters, "unit_seeds": digest(self._unit_seeds)}
        return Job({**method, **about}, checkpoint, device=sampler.model.device)

    def _finish(
        self, contrast: Contrast, sampler: Sampler, origin: Mapping[str, Any], job: Job, progress: Progress
    ) -> None:
        """Sets directions_, accuracy_ and the rest."""
        self.setting_: Setting = sampler.setting(self.injection, self.space)
        names = [name for name in contrast.labels if name not in self._of_shuffle]
        self.counts_ = {name: contrast.counts(name) for name in names}
        for name in contrast.labels:
            if not contrast.differ(name):
                raise HspaceError(f"nothing tells the classes of {name!r} apart: their h is the same at a timestep")
        self.accuracy_ = {name: self._accuracies(contrast, name) for name in names}
        raw = torch.stack([contrast.vectors(name, self.classifier, C=self.C) for name in contrast.labels])  # (k, S, d)
        units = raw / raw.norm(dim=2, keepdim=True)
        if self.space == "h":
            stds = standard_deviations(units, sampler, self._unit_seeds, job=job, progress=progress)  # (k, S)
        else:
            stds = torch.ones(units.shape[:2])  # x_T ~ N(0, 1)
        items = {}
        for j, name in enumerate(contrast.labels):
            vectors = units[j].reshape(-1, *self.setting_.h_shape).float().cpu()
            about = self._origin(self._of_shuffle.get(name, name), origin)
            items[name] = Direction(vectors, self.setting_, name, about).calibrated(stds[j].float())
        k = len(names)
        means = torch.stack([contrast.vectors(name, "mean") for name in names])
        separation = ((means * units[:k]).sum(2).cpu() / stds[:k].clamp_min(1e-30)).float()  # (k, S)
        measured = {"separation": separation.T}
        if all(self.accuracy_.values()):
            own = [self.accuracy_[name][self.classifier] for name in names]
            measured["accuracy"] = torch.from_numpy(np.stack(own, 1)).float()
        self.directions_ = Directions([items[name] for name in names], measured)
        self.shuffled_ = None
        if self._of_shuffle:
            self.shuffled_ = Directions(
                [items[shuffle].with_origin(shuffled=name) for shuffle, name in self._of_shuffle.items()]
            )

    def _accuracies(self, contrast: Contrast, name: str) -> dict[Classifier, NDArray[np.float64]]:
        """Of all three classifiers, so that they can be compared; none where a class is a single sample."""
        if not contrast.sketch_size or min(contrast.counts(name)) < 2:
            return {}
        return {each: contrast.accuracy(name, each, C=self.C, folds=self.folds) for each in CLASSIFIERS}

    def _origin(self, name: str, origin: Mapping[str, Any]) -> dict[str, Any]:
        positives, negatives = self.counts_[name]
        about = {"classifier": self.classifier, "C": self.C, "space": self.space, "sketch_size": self.sketch_size}
        accuracy = {each: round(float(values.mean()), 4) for each, values in self.accuracy_[name].items()}
        return {
            "method": type(self).__name__.lower(),
            "attribute": name,
            **{key: value for key, value in origin.items() if key == "seeds"},
            "parameters": {**about, **{key: value for key, value in origin.items() if key != "seeds"}},
            "positives": positives,
            "negatives": negatives,
            "mean_accuracy": accuracy,
            "version": __version__,
        }


def _shuffled(
    labels: NDArray[np.float64], generator: np.random.Generator, strata: NDArray[np.bool_] | None
) -> NDArray[np.float64]:
    """The same labels on the same samples, in another order; within strata as many of each as before."""
    found = labels.copy()
    parts = [np.ones(len(labels), dtype=bool)] if strata is None else [strata, ~strata]
    for part in parts:
        chosen = part & ~np.isnan(labels)
        found[chosen] = generator.permutation(labels[chosen])
    return found
