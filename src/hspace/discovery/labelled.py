"""Directions from pictures with labels (Haas et al., arXiv 2303.11073, section 4): your photos, your labels.

    invert every picture once, record h_t on the way
    v_t = mean(h_t of those with the label) - mean(h_t of those without)

A few labelled pictures do in h; in x_T it takes hundreds (figure 8a of the paper).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from hspace.diffusion import Injection, Sampler, Space
from hspace.diffusion.identity import about_run
from hspace.discovery.contrast import Classifier
from hspace.discovery.supervised import Supervised
from hspace.errors import HspaceError
from hspace.jobs import Checkpoint
from hspace.jobs.job import digest
from hspace.photos import Fit, Unreadable, read_photos, readable
from hspace.progress import Progress, reporting

__all__ = ["Labelled", "split"]

Labels = Sequence[float] | Sequence[bool] | NDArray[Any]


class Labelled(Supervised):
    """Directions from labelled pictures; one for each attribute, each picture inverted once for all of them.

    Args:
        classifier: "mean" (difference of the class means, the paper's), "svm" or "logistic".
        space: "h", or "noise" for directions of x_T.
        C: Inverse strength of the penalty of svm and logistic, for h scaled to a mean square of 1.
        folds: Of the cross-validation.
        sketch_size: Axes carried along at each timestep, for svm, logistic and the cross-validation; up to so many
            pictures they are exact. 0: the mean alone, without its accuracy.
        refine: Fixed-point iterations at each step of DDIM inversion, see `Sampler.invert`.
        photo_fit: How pictures of another shape are brought to the model's, see `hspace.photos`.
        unreadable: "refuse" or "skip" files that are no readable pictures.
        unit_seeds: Samples that the unit of strength is measured with.
        injection: How the directions are meant to go in.
        n_shuffles: So many directions of each attribute from shuffled labels, as the control; no further pass.
        seed: Of the shuffles.

    Attributes:
        directions_: One for each attribute, from without to with, in the unit of strength; measured along are
            `separation` (distance of the class means in standard deviations of the population) and `accuracy`.
        accuracy_: By attribute and classifier (S,), cross-validated balanced accuracy at each timestep of all three
            classifiers; empty where a class has a single picture.
        counts_: By attribute (positives, negatives).
        skipped_: Files that were left out, with the reason.
        shuffled_: What the same method finds with shuffled labels, see `hspace.discovery.shuffled_controls`; or None.

    Raises:
        HspaceError: No pictures, a class without any, other numbers of labels than pictures, labels with more than
            two values, parameters out of range, and whatever reading and inverting raise.

    Example:
        >>> import torch, hspace
        >>> from hspace.faces import render_seeds, sample_factors
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2, eta=0.0)
        >>> photos = torch.from_numpy(render_seeds(range(8))).permute(0, 3, 1, 2) / 127.5 - 1
        >>> long_hair = [sample_factors(seed)["hair_length"] > 0.5 for seed in range(8)]
        >>> labelled = hspace.Labelled(unit_seeds=range(4)).fit(sampler, photos, {"long hair": long_hair})
        >>> labelled.directions_.names, labelled.counts_
        (('long hair',), {'long hair': (7, 1)})
    """

    def __init__(
        self,
        *,
        classifier: Classifier = "mean",
        space: Space = "h",
        C: float = 1.0,
        folds: int = 5,
        sketch_size: int = 128,
        refine: int = 0,
        photo_fit: Fit = "crop",
        unreadable: Unreadable = "refuse",
        unit_seeds: Iterable[int] = range(100),
        injection: Injection = "symmetric",
        n_shuffles: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            classifier=classifier,
            space=space,
            C=C,
            folds=folds,
            sketch_size=sketch_size,
            unit_seeds=unit_seeds,
            injection=injection,
            n_shuffles=n_shuffles,
            seed=seed,
        )
        self.refine = refine
        self.photo_fit: Fit = photo_fit
        self.unreadable: Unreadable = unreadable

    def fit(
        self,
        sampler: Sampler,
        photos: Sequence[str | PathLike[str]] | Float[Tensor, "n c y x"],
        labels: Labels | Mapping[str, Labels],
        *,
        progress: Progress = False,
        checkpoint: Checkpoint | None = None,
    ) -> Labelled:
        """Invert the pictures and compare their h.

        Args:
            sampler: Of the inversion; eta 0 is the paper's (DDIM), eta 1 noises the pictures afresh at every timestep.
            photos: Files, read batch by batch, or pictures in [-1, 1].
            labels: One for each picture: True or False, 1 or 0, 1 or -1; NaN for pictures not to be used. By name for
                several attributes. `hspace.discovery.split` makes such labels of numbers.
            progress: True for bars, or a function of (done, total) image-steps of each of the two passes.
            checkpoint: Where the state is kept, to go on from; see `hspace.Checkpoint`. That files still hold the same
                pictures is not checked.
        """
        self._check()
        if not len(photos):
            raise HspaceError("no pictures: at least 1 with and 1 without the attribute are needed")
        by_name = labels if isinstance(labels, Mapping) else {"label": labels}
        classes = {name: _two_classes(name, values, len(photos)) for name, values in by_name.items()}
        if not classes:
            raise HspaceError("no labels: at least one attribute is needed")
        used = [row for row in range(len(photos)) if not all(np.isnan(values[row]) for values in classes.values())]
        self.skipped_: dict[str, str] = {}
        if not isinstance(photos, Tensor):
            paths = [photos[row] for row in used]
            kept, self.skipped_ = readable(paths, self.unreadable)
            used = [used[i] for i in kept]
        classes = {name: values[used] for name, values in classes.items()}
        for name, values in classes.items():
            for wanted, what in ((1, "with"), (0, "without")):
                if not (values == wanted).any():
                    raise HspaceError(f"no picture {what} {name!r}: both classes need at least one")
        contrast = self._contrast(sampler, classes)
        about: dict[str, Any] = {"refine": self.refine, "photo_fit": self.photo_fit}
        about |= about_run(sampler, used, self.injection)
        about["labels"] = {name: digest(values.tolist()) for name, values in classes.items()}
        about["pictures"] = _identity(photos, used)
        job = self._job(sampler, about, checkpoint)
        with job.stage("classes", len(used), contrast) as stage:
            contrast.first = stage.share.start
            total = len(stage.rows) * len(sampler.timesteps)
            with reporting(stage.shows(progress), total, "inverting") as advance:
                while left := stage.of(used):
                    rows = left[: sampler.batch_size]  # which may shrink on the way
                    stage.add(self._seen(sampler, self._read(sampler, photos, rows), rows))
                    advance(len(rows) * len(sampler.timesteps))
        origin = {"pictures": len(used), "refine": self.refine, "photo_fit": self.photo_fit}
        self._finish(contrast, sampler, origin, job, progress)
        return self

    def _read(self, sampler: Sampler, photos: Sequence[str | PathLike[str]] | Tensor, rows: Sequence[int]) -> Tensor:
        if isinstance(photos, Tensor):
            return photos[list(rows)]
        return read_photos([photos[row] for row in rows], sampler.model.picture_shape, fit=self.photo_fit)

    def _seen(self, sampler: Sampler, images: Tensor, rows: Sequence[int]) -> list[Tensor]:
        """h of a batch at every timestep, or its x_T; a picture's noise, where there is any, is that of its number."""
        recorded: dict[int, Tensor] = {}

        def record(timestep: int, h: Tensor, where: slice) -> None:
            flat = h.flatten(1)
            recorded.setdefault(timestep, flat.new_empty(len(rows), flat.shape[1]))[where] = flat

        recorder = record if self.space == "h" else None
        inversion = sampler.invert(images, refine=self.refine, seeds=rows, record=recorder, reconstruct=False)
        if self.space == "noise":
            return [inversion.x_T().flatten(1)]
        return [recorded[timestep] for timestep in sampler.timesteps]


def split(
    values: Sequence[float] | NDArray[Any], *, threshold: float | None = None, quantile: float | None = None
) -> Float[NDArray[np.float64], " n"]:
    """Labels of numbers: 1, 0 and NaN for those not to be used.

    Args:
        values: NaN where unknown.
        threshold: Above it is 1, the rest 0.
        quantile: Share of the pictures in each class: the highest are 1, the lowest 0, between them NaN. Of equal
            numbers at the edge of a class the first are 0 and the last 1.

    Raises:
        HspaceError: Not exactly one of the two; a quantile beyond (0, 0.5]; all values equal, or none.

    Example:
        >>> from hspace.discovery import split
        >>> split([0.1, 0.9, 0.5, 0.3], quantile=0.25).tolist()
        [0.0, 1.0, nan, nan]
    """
    numbers = np.asarray(values, dtype=np.float64)
    known = numbers[~np.isnan(numbers)]
    if (threshold is None) == (quantile is None):
        raise HspaceError("numbers become labels by a threshold or by a quantile: give one of the two")
    if not len(known) or known.min() == known.max():
        found = f"all of them are {known[0]:g}" if len(known) else "there are none"
        raise HspaceError(f"numbers do not fall into two classes: {found}")
    if threshold is not None:
        return np.where(np.isnan(numbers), np.nan, numbers > threshold)
    if quantile is None or not 0 < quantile <= 0.5:
        raise HspaceError(f"a quantile is above 0 and at most 0.5, not {quantile}")
    each = min(max(1, round(quantile * len(known))), len(known) // 2)
    order = np.argsort(np.where(np.isnan(numbers), np.inf, numbers), kind="stable")[: len(known)]
    if numbers[order[each - 1]] == numbers[order[-each]]:
        raise HspaceError(f"the lowest and highest {each} numbers overlap: both reach {numbers[order[-each]]:g}")
    labels = np.full(len(numbers), np.nan)
    labels[order[:each]], labels[order[-each:]] = 0.0, 1.0
    return labels


def _identity(photos: Sequence[str | PathLike[str]] | Tensor, used: Sequence[int]) -> str:
    """Of the pictures used: their bytes, or the names of their files."""
    if isinstance(photos, Tensor):
        return hashlib.sha256(photos[list(used)].float().cpu().contiguous().numpy().tobytes()).hexdigest()[:16]
    return digest(str(photos[row]) for row in used)


def _two_classes(name: str, values: Labels, n: int) -> NDArray[np.float64]:
    """1, 0 and NaN."""
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise HspaceError(f"{name!r}: labels are true or false, 1 and 0 or -1, not {values!r:.60}") from error
    if numbers.shape != (n,):
        raise HspaceError(f"{name!r}: expected a label for each of {n} pictures, found {numbers.size}")
    found = np.unique(numbers[~np.isnan(numbers)])
    if not set(found) <= {0.0, 1.0} and not set(found) <= {-1.0, 1.0}:
        raise HspaceError(
            f"{name!r}: labels are 1 and 0 or -1, found {', '.join(f'{x:g}' for x in found[:4])}"
            f"{', ...' if len(found) > 4 else ''}: give a threshold or a quantile"
        )
    return np.where(np.isnan(numbers), np.nan, numbers > 0)
