"""Interpretable directions in the h-space of pretrained diffusion models.

    import hspace

    model = hspace.load("faces64")
    sampler = hspace.Sampler(model, steps=20, eta=1.0)
    pcs = hspace.PCA(n_components=10).fit(sampler, seeds=range(400)).directions_
    images = sampler.run(range(4), edit=2.0 * pcs["pc1"])

"h" is the activation of the denoiser's U-Net at its bottleneck, over all timesteps of the reverse process.
"""

from importlib import import_module
from typing import Any

from hspace import plot
from hspace.diffusion import Sampler, backpropagate
from hspace.directions import Direction, Directions, Edit, Recipe, swap, transfer
from hspace.discovery import PCA, Annotated, Jacobian, Labelled, Learned, calibrate, random_directions
from hspace.errors import HspaceError, HspaceWarning
from hspace.jobs import Checkpoint
from hspace.models import Denoiser, load
from hspace.version import __version__

__all__ = [
    "PCA",
    "Annotated",
    "Checkpoint",
    "Denoiser",
    "Direction",
    "Directions",
    "Edit",
    "HspaceError",
    "HspaceWarning",
    "Jacobian",
    "Labelled",
    "Learned",
    "Recipe",
    "Sampler",
    "__version__",
    "backpropagate",
    "calibrate",
    "load",
    "plot",
    "random_directions",
    "swap",
    "transfer",
]


def __getattr__(name: str) -> Any:
    """`hspace.testing` is imported when it is asked for."""
    if name == "testing":
        return import_module("hspace.testing")
    raise AttributeError(f"module 'hspace' has no attribute {name!r}")
