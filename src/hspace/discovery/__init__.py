"""Methods that find directions, one file each; all are estimators with `fit` and `directions_`."""

from hspace.discovery.annotated import Annotated
from hspace.discovery.calibration import calibrate
from hspace.discovery.controls import random_controls, random_directions, shuffled_controls
from hspace.discovery.jacobian import Jacobian
from hspace.discovery.labelled import Labelled, split
from hspace.discovery.learned import Learned
from hspace.discovery.pca import PCA

__all__ = [
    "PCA",
    "Annotated",
    "Jacobian",
    "Labelled",
    "Learned",
    "calibrate",
    "random_controls",
    "random_directions",
    "shuffled_controls",
    "split",
]
