"""The bundled scorers and regions by name, and regions from the user's own code."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

from hspace.attributes.portraits import PortraitScorer
from hspace.errors import HspaceError
from hspace.masks import Regions

__all__ = ["REGIONS", "SCORERS", "load_regions", "load_scorer"]

SCORERS: dict[str, Path] = {"portraits": Path(__file__).with_name("weights") / "portrait_scorer.safetensors"}
"""File of each bundled scorer."""

REGIONS: dict[str, str] = {"portraits": "hspace.attributes.regions:portrait_regions"}
"""Function of each bundled set of regions."""

_FUNCTION = re.compile(r"(?P<module>.+):(?P<function>[A-Za-z_]\w*)")  # as for models


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
    match = _FUNCTION.fullmatch(REGIONS.get(name, name))
    is_file = match is not None and match["module"].endswith(".py")
    if match is None or (match["module"].startswith(".") and not is_file):
        known = ", ".join(REGIONS)
        raise HspaceError(
            f"unknown regions {name!r}; bundled regions: {known}; your own: module:function or file.py:function"
        )
    module_name, function = match["module"], match["function"]
    try:
        module = _import_file(Path(module_name)) if is_file else importlib.import_module(module_name)
    except (ImportError, FileNotFoundError) as error:
        raise HspaceError(f"{name}: can't import {module_name} ({error})") from error
    found = getattr(module, function, None)
    if not isinstance(found, Regions):
        raise HspaceError(f"{name}: {module_name} has no function {function!r}")
    return found


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"_hspace_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module
