"""`module:function` and `file.py:function`: a model made by the user's own code."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

from hspace.errors import HspaceError

__all__ = ["call_factory", "is_factory"]

_FACTORY = re.compile(r"(?P<module>.+):(?P<function>[A-Za-z_]\w*)")


def is_factory(source: str) -> bool:
    """Whether a source names a function.

    Example:
        >>> from hspace.models.factory import is_factory
        >>> is_factory("my_models.py:faces"), is_factory("faces64")
        (True, False)
    """
    return _FACTORY.fullmatch(source) is not None


def call_factory(source: str) -> Any:
    """Import the module or file, call the function, return what it returns.

    Raises:
        HspaceError: No such module, file or function. What the user's code raises itself comes through.
    """
    match = _FACTORY.fullmatch(source)
    is_file = match is not None and match["module"].endswith(".py")
    if match is None or (match["module"].startswith(".") and not is_file):
        raise HspaceError(f"{source!r} is not of the form module:function or file.py:function")
    name, function = match["module"], match["function"]
    try:
        module = _import_file(Path(name)) if is_file else importlib.import_module(name)
    except (ImportError, FileNotFoundError) as error:
        raise HspaceError(f"{source}: can't import {name} ({error})") from error
    factory = getattr(module, function, None)
    if not callable(factory):
        raise HspaceError(f"{source}: {name} has no function {function!r}")
    return factory()


def _import_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"_hspace_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module
