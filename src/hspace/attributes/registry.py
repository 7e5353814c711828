"""The bundled scorers and regions by name, and regions from the user's own code."""

from __future__ import annotations

from pathlib import Path

from hspace.attributes.portraits import PortraitScorer
from hspace.errors import HspaceError
from hspace.masks import Regions
from hspace.usercode import import_function, names_function

__all__ = ["REGIONS", "SCORERS", "load_regions", "load_scorer"]

SCORERS: dict[str, Path] = {"portraits": Path(__file__).with_name("weights") / "portrait_scorer.safetensors"}
"""File of each bundled scorer."""

REGIONS: dict[str, str] = {"portraits": "hspace.attributes.regions:portrait_regions"}
"""Function of each bundled set of regions."""


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


def load_regions(name: str = "portraits") -> Regions:
    """Find a callable that turns pictures into named masks.

    Args:
        name: "portraits" knows the parts of the portraits of `hspace.faces`; `module:function` and `file.py:function`
            name your own, which is imported and returned, not called.

    Raises:
        HspaceError: There are no regions of that name, or no such module, file or function. What the user's module
            raises itself when imported comes through.

    Example:
        >>> from hspace.attributes import load_regions
        >>> load_regions("portraits").__name__
        'portrait_regions'
    """
    source = REGIONS.get(name, name)
    if not names_function(source):
        known = ", ".join(REGIONS)
        raise HspaceError(
            f"unknown regions {name!r}; bundled regions: {known}; your own: module:function or file.py:function"
        )
    found: Regions = import_function(source)
    return found
