"""The bundled scorers by name."""

from __future__ import annotations

from pathlib import Path

from hspace.attributes.portraits import PortraitScorer
from hspace.errors import HspaceError

__all__ = ["SCORERS", "load_scorer"]

SCORERS: dict[str, Path] = {"portraits": Path(__file__).with_name("weights") / "portrait_scorer.safetensors"}
"""File of each bundled scorer."""


def load_scorer(name: str = "portraits") -> PortraitScorer:
    """Load a bundled scorer: on the CPU, in eval mode, its weights without gradients.

    Args:
        name: "portraits" reads the factors of `hspace.faces` from 64 x 64 images.

    Raises:
        HspaceError: There is no scorer of that name, or its file is damaged.

    Example:
        >>> from hspace.attributes import load_scorer
        >>> load_scorer("portraits").training
        False
    """
    if name not in SCORERS:
        raise HspaceError(f"unknown scorer {name!r}; bundled scorers: {', '.join(SCORERS)}")
    return PortraitScorer.from_file(SCORERS[name])
