"""Directions from a scorer's annotation of generated samples (Haas et al., arXiv 2303.11073, section 4).

    draw N samples, score them; the n highest are the positives, the n lowest the negatives
    draw these again from their seeds, record h_t:  v_t = mean(h_t of the highest) - mean(h_t of the lowest)

Nothing of the first pass is kept but the scores, and a sample is its seed: the second pass meets the same h. Any number
of attributes shares both passes; an attribute may be continuous.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from hspace.attributes import Scorer, scored
from hspace.diffusion import Injection, Sampler, Space
from hspace.diffusion.identity import about_run
from hspace.diffusion.latents import as_seeds
from hspace.discovery.contrast import Classifier, Contrast
from hspace.discovery.ranges import ranges
from hspace.discovery.supervised import Supervised
from hspace.errors import HspaceError
from hspace.jobs import Checkpoint, Job, Table
from hspace.jobs.job import digest
from hspace.progress import Progress

__all__ = ["Annotated", "extremes"]

Scores = Mapping[str, Sequence[float] | Tensor | NDArray[Any]]


class Annotated(Supervised):
    """Directions from the samples that a scorer puts at both ends; one for each attribute.

    Args:
        attributes: Names; None for all that the scorer has.
        n_extremes: Samples at each end, n.
        balance_by: Another attribute: half of each end is drawn from the samples above its median and half from those
            below, so that the direction does not carry it.
        classifier: "mean" (difference of the means of both ends, the paper's), "svm" or "logistic".
        space: "h", or "noise" for directions of x_T.
        C: Inverse strength of the penalty of svm and logistic, for h scaled to a mean square of 1.
        folds: Of the cross-validation.
        sketch_size: Axes carried along at each timestep, for svm, logistic and the cross-validation; up to so many
            samples they are exact. 0: the mean alone, without its accuracy.
        unit_seeds: Samples that the unit of strength is measured with.
        injection: How the directions are meant to go in.
        n_shuffles: So many directions of each attribute from shuffled labels, as the control; no further pass.
        seed: Of the shuffles.

    Attributes:
        directions_: One for each attribute, from low to high, in the unit of strength; measured along are
            `separation` (distance of the means of both ends in standard deviations of the population) and `accuracy`.
        accuracy_: By attribute and classifier (S,), cross-validated balanced accuracy at each timestep.
        scores_: By attribute (N,), of all that the scorer has.
        extremes_: By attribute (seeds of the highest, seeds of the lowest).
        counts_: By attribute (n, n).
        shuffled_: What the same method finds with shuffled labels, see `hspace.discovery.shuffled_controls`; or None.

    Raises:
        HspaceError: An attribute that the scorer does not have; too few samples; scores that are all equal or that
            overlap between both ends, NaN, or of the wrong number; parameters out of range.

    Example:
        >>> import hspace
        >>> from hspace.attributes import load_scorer
        >>> sampler = hspace.Sampler(hspace.load("faces64"), steps=2)
        >>> annotated = hspace.Annotated(["smile", "yaw"], n_extremes=2, unit_seeds=range(4))
        >>> annotated.fit(sampler, load_scorer("portraits"), seeds=range(6)).directions_.names
        ('smile', 'yaw')
    """

    def __init__(
        self,
        attributes: Sequence[str] | None = None,
        *,
        n_extremes: int = 100,
        balance_by: str | None = None,
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
        self.attributes = attributes
        self.n_extremes = n_extremes
        self.balance_by = balance_by

    def fit(
        self,
        sampler: Sampler,
        scorer: Scorer | Scores,
        seeds: Iterable[int],
        *,
        progress: Progress = False,
        checkpoint: Checkpoint | None = None,
    ) -> Annotated:
        """Draw the samples, score them, draw the extremes again and compare their h.

        Args:
            sampler: Draws them.
            scorer: Images to named scores; or the scores themselves, one for each seed: nothing is drawn twice.
            seeds: At least 2 n.
            progress: True for bars, or a function of (done, total) image-steps of each pass.
            checkpoint: Where the state is kept, to go on from; see `hspace.Checkpoint`. That the scorer is still the
                same is not checked.
        """
        self._check()
        seeds = as_seeds(seeds)
        if self.n_extremes < 1:
            raise HspaceError(f"n_extremes must be at least 1, not {self.n_extremes}")
        if 2 * self.n_extremes > len(seeds):
            raise HspaceError(f"{len(seeds)} samples are too few for {self.n_extremes} at each end")
        if len(set(seeds)) < len(seeds):
            raise HspaceError("seeds must be different: a sample counts once")
        about: dict[str, Any] = {name: getattr(self, name) for name in ("attributes", "n_extremes", "balance_by")}
        about |= about_run(sampler, seeds, self.injection)
        if isinstance(scorer, Mapping):
            self.scores_ = _given(scorer, len(seeds))
            about["scores"] = {name: digest(values.tolist()) for name, values in self.scores_.items()}
        job = self._job(sampler, about, checkpoint)
        if not isinstance(scorer, Mapping):
            self.scores_ = self._scored(job, sampler, scorer, seeds, progress)
        labels = self._labels()
        self.extremes_ = {
            name: tuple(tuple(np.array(seeds)[values == end].tolist()) for end in (1, 0))
            for name, values in labels.items()
        }
        used = [row for row in range(len(seeds)) if not all(np.isnan(values[row]) for values in labels.values())]
        strata = None
        if self.balance_by is not None:
            other = self.scores_[self.balance_by]
            strata = (other > np.median(other))[used]
        contrast = self._contrast(sampler, {name: values[used] for name, values in labels.items()}, strata)
        self._compare(job, contrast, sampler, tuple(seeds[row] for row in used), progress)
        origin = {"n_extremes": self.n_extremes, "balance_by": self.balance_by, "seeds": ranges(seeds)}
        self._finish(contrast, sampler, origin, job, progress)
        return self

    def _compare(
        self, job: Job, contrast: Contrast, sampler: Sampler, seeds: tuple[int, ...], progress: Progress
    ) -> None:
        """The second pass: h, or x_T, of the extremes."""
        batch: list[Tensor] = []

        def record(timestep: int, h: Tensor, _: slice) -> None:
            if timestep == sampler.timesteps[0]:
                batch.clear()
            batch.append(h.flatten(1))

        with job.stage("classes", len(seeds), contrast) as stage:
            contrast.first, left, shows = stage.share.start, stage.of(seeds), stage.shows(progress)
            if self.space == "noise":
                for first in range(0, len(left), sampler.batch_size):
                    stage.add([sampler.latents(left[first : first + sampler.batch_size]).x_T().flatten(1)])
            else:
                for _ in sampler.stream(left, record=record, pictures=False, progress=shows) if left else ():
                    stage.add(batch)

    def _scored(
        self, job: Job, sampler: Sampler, scorer: Scorer, seeds: tuple[int, ...], progress: Progress
    ) -> dict[str, NDArray[np.float64]]:
        """The first pass."""
        table = Table()
        with job.stage("scores", len(seeds), table) as stage:
            left = stage.of(seeds)
            for _, images in sampler.stream(left, progress=stage.shows(progress)) if left else ():
                found = scored(scorer, images.float())
                if not table.rows:  # a name that does not exist is told before the work, not after it
                    self._wanted(found)
                stage.add(found)
        return {name: table[name].numpy() for name in table.names}

    def _wanted(self, scores: Mapping[str, Any]) -> list[str]:
        """Attributes to find directions of."""
        names = list(scores) if self.attributes is None else list(self.attributes)
        if self.attributes is None and self.balance_by in names:
            names.remove(str(self.balance_by))
        if not names:
            raise HspaceError("no attributes: at least one is needed")
        for name in (*names, *([self.balance_by] if self.balance_by else [])):
            if name not in scores:
                raise HspaceError(f"the scorer has no attribute {name!r}; it has {', '.join(scores)}")
        if self.balance_by in names:
            raise HspaceError(f"{self.balance_by!r} can't be balanced by itself")
        return names

    def _labels(self) -> dict[str, NDArray[np.float64]]:
        other = None if self.balance_by is None else self.scores_.get(self.balance_by)
        names = self._wanted(self.scores_)
        return {name: extremes(name, self.scores_[name], self.n_extremes, balance_by=other) for name in names}


def extremes(
    name: str,
    scores: Float[NDArray[np.float64], " m"],
    n: int,
    *,
    balance_by: Float[NDArray[np.float64], " m"] | None = None,
) -> Float[NDArray[np.float64], " m"]:
    """Labels of samples by their scores: the n highest 1, the n lowest 0, the others NaN.

    Args:
        name: For errors.
        scores: One for each sample.
        n: At each end.
        balance_by: Another score: half of each end (rounded up) comes from samples above its median.

    Raises:
        HspaceError: All scores are equal, or the ends overlap; too few samples on one side of the median.

    Example:
        >>> import numpy as np
        >>> from hspace.discovery.annotated import extremes
        >>> extremes("smile", np.array([3.0, 1.0, 2.0, 0.0, 5.0]), 2).tolist()
        [1.0, 0.0, nan, 0.0, 1.0]
    """
    if scores.min() == scores.max():
        raise HspaceError(f"all scores of {name!r} are {scores[0]:g}: nothing tells high from low")
    order = np.argsort(scores, kind="stable")
    sides = [(order, n)]
    if balance_by is not None:
        above = balance_by[order] > np.median(balance_by)
        sides = [(order[above], (n + 1) // 2), (order[~above], n // 2)]
    labels = np.full(len(scores), np.nan)
    for side, each in sides:
        if 2 * each > len(side):
            raise HspaceError(
                f"{name!r}: too few samples to balance: {len(side)} on one side of the median, {2 * each} needed"
            )
        low, high = side[:each], side[len(side) - each :]
        if each and scores[low].max() >= scores[high].min():
            raise HspaceError(
                f"the {each} lowest and the {each} highest scores of {name!r} overlap (up to {scores[low].max():g}, "
                f"from {scores[high].min():g}): draw more samples or take fewer extremes"
            )
        labels[low], labels[high] = 0.0, 1.0
    return labels


def _given(scores: Scores, n: int) -> dict[str, NDArray[np.float64]]:
    """Scores that are there already."""
    found = {name: np.asarray(values, dtype=np.float64) for name, values in scores.items()}
    for name, values in found.items():
        if values.shape != (n,):
            raise HspaceError(f"{name!r}: expected a score for each of {n} seeds, found {values.size}")
        if not np.isfinite(values).all():
            raise HspaceError(f"{name!r}: scores must be finite, found {values[~np.isfinite(values)][0]}")
    return found
