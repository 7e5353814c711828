r"""What tells two classes of samples apart in h, from statistics that are streamed.

    mean:      v_t = mean(h_t of positives) - mean(h_t of negatives)        (Haas et al., arXiv 2303.11073, section 4)
    svm:       the normal of a linear support vector machine at each t      (as Shi et al., arXiv 2302.08357)
    logistic:  that of a logistic regression at each t

No h is kept. The means are exact, of running sums. The other two see every sample by its coordinates along the leading
axes of all samples (`hspace.discovery.sketch`): a linear classifier with an L2 penalty lies in the span of the samples,
so up to `sketch_size` of them this is the classifier of the whole h, and beyond it that of the leading axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from hspace.discovery.sketch import Sketch, Sketches
from hspace.jobs import State

__all__ = ["CLASSIFIERS", "Classifier", "Contrast"]

Classifier = Literal["mean", "svm", "logistic"]
CLASSIFIERS: tuple[Classifier, ...] = get_args(Classifier)


class Contrast:
    """Statistics of classes, filled batch by batch.

    A `Fold`: parts of the rows can be filled by several processes.

    Args:
        labels: For each attribute (n,): 1 positive, 0 negative, NaN neither; rows in the order in which they come.
        sketch_size: Axes carried along at each timestep; 0: none, and then means only.
        device: Where statistics are.

    Attributes:
        first: Number of the first row that is added here, where others add those before it.
        rows: How many have been added.

    Example:
        >>> import torch
        >>> from hspace.discovery.contrast import Contrast
        >>> contrast = Contrast({"smile": [1, 0, 1, 0]}, sketch_size=4)
        >>> contrast.add([torch.tensor([[1.0, 5.0], [-1.0, 5.0]])])  # two samples, one timestep
        2
        >>> contrast.add([torch.tensor([[3.0, 5.0], [-1.0, 5.0]])])
        2
        >>> contrast.vectors("smile", "mean")
        tensor([[3., 0.]])
    """

    def __init__(
        self, labels: Mapping[str, Sequence[float]], sketch_size: int = 128, device: torch.device | str = "cpu"
    ) -> None:
        self.labels = {name: np.asarray(values, dtype=np.float64) for name, values in labels.items()}
        self.sketch_size = sketch_size
        self.device = device
        self.first, self.rows = 0, 0
        self._sums: list[Tensor] = []  # by timestep: (2 a, d), positives then negatives of every attribute
        self._sketches = Sketches(sketch_size, None, device)
        classes = [values == wanted for values in self.labels.values() for wanted in (1, 0)]
        self._member = torch.from_numpy(np.stack(classes))  # (2 a, n)

    def add(self, batch: Sequence[Float[Tensor, "b d"]]) -> int:
        """The next rows, at every timestep; returns how many they are."""
        begin = self.first + self.rows
        rows = slice(begin, begin + len(batch[0]))
        wide = [h.to(torch.float64 if h.dtype == torch.float64 else torch.float32) for h in batch]
        sums = [self._member[:, rows].to(h) @ h for h in wide]
        sums = self._with(sums)
        if self.sketch_size:
            self._sketches.add(wide)
        self._sums = sums  # last: what fails leaves everything as it was
        self.rows += len(batch[0])
        return len(batch[0])

    def state(self) -> State:
        """See `hspace.jobs.Fold`."""
        sums = State({"rows": self.rows, "timesteps": len(self._sums)}, {str(i): x for i, x in enumerate(self._sums)})
        return State.joined({"sums": sums, "sketches": self._sketches.state()})

    def restore(self, state: State) -> None:
        """See `hspace.jobs.Fold`."""
        self._sums, self.rows = [], 0
        self._sketches.restore(State({"n": []}, {}))
        self.absorb(state)

    def absorb(self, state: State) -> None:
        """See `hspace.jobs.Fold`."""
        sums = state.under("sums")
        self._sums = self._with([sums.tensors[str(i)].to(self.device) for i in range(sums.data["timesteps"])])
        self._sketches.absorb(state.under("sketches"))
        self.rows += sums.data["rows"]

    def _with(self, sums: list[Tensor]) -> list[Tensor]:
        if self._sums and sums:
            return [a + b for a, b in zip(self._sums, sums, strict=True)]
        return sums or self._sums

    def counts(self, name: str) -> tuple[int, int]:
        """Number of positives and of negatives."""
        values = self.labels[name]
        return int((values == 1).sum()), int((values == 0).sum())

    def differ(self, name: str) -> bool:
        """Whether the class means are further apart than rounding takes them, at every timestep."""
        row, (positives, negatives) = 2 * list(self.labels).index(name), self.counts(name)
        for sums in self._sums:
            mean, other = sums[row] / positives, sums[row + 1] / negatives
            rounding = 10 * torch.finfo(sums.dtype).eps * max(float(mean.norm()), float(other.norm()))
            if not float((mean - other).norm()) > rounding:
                return False
        return True

    def vectors(self, name: str, classifier: Classifier, *, C: float = 1.0) -> Float[Tensor, "s d"]:
        """From the negatives to the positives, one vector for each timestep.

        Args:
            name: Of the attribute.
            classifier: See above. The length of a vector means something with "mean" only.
            C: Inverse strength of the penalty, for h scaled to a mean square of 1.
        """
        if classifier == "mean":
            row = 2 * list(self.labels).index(name)
            positives, negatives = self.counts(name)
            return torch.stack([sums[row] / positives - sums[row + 1] / negatives for sums in self._sums])
        found = []
        for sketch in self._sketches.parts:
            x, y = self._seen(sketch, name)
            normal = np.array(_made(classifier, C).fit(x, y).coef_[0], dtype=np.float64)  # (r,), to the positives
            found.append(torch.as_tensor(normal).to(sketch.axes) @ sketch.axes)
        return torch.stack(found)

    def accuracy(
        self, name: str, classifier: Classifier, *, C: float = 1.0, folds: int = 5
    ) -> Float[NDArray[np.float64], " s"]:
        """Cross-validated balanced accuracy at every timestep: 0.5 is chance, whatever the sizes of the classes.

        Args:
            name: Of the attribute.
            classifier: See above; "mean" takes the class whose mean is nearer.
            C: As in `vectors`.
            folds: Number of parts that are left out in turn, at most the size of the smaller class, which must be 2 at
                least.
        """
        from sklearn.model_selection import StratifiedKFold, cross_val_score  # half a second, and only here

        split = StratifiedKFold(min(folds, *self.counts(name)), shuffle=True, random_state=0)
        found = []
        with np.errstate(invalid="ignore"):  # NearestCentroid divides 0 by 0 where every class has one sample left
            for sketch in self._sketches.parts:
                x, y = self._seen(sketch, name)
                scores = cross_val_score(_made(classifier, C), x, y, cv=split, scoring="balanced_accuracy")
                found.append(scores.mean())
        return np.array(found)

    def _seen(self, sketch: Sketch, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Coordinates, of mean square 1, and labels of the samples that have one."""
        chosen = ~np.isnan(self.labels[name])
        x = sketch.coordinates.cpu().double().numpy()[chosen]
        return x / max(np.sqrt(np.square(x).sum(1).mean()), 1e-30), self.labels[name][chosen]


def _made(classifier: Classifier, C: float) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import NearestCentroid
    from sklearn.svm import SVC

    if classifier == "mean":
        return NearestCentroid()
    return SVC(kernel="linear", C=C) if classifier == "svm" else LogisticRegression(C=C, max_iter=1000)
