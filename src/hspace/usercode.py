"""`module:function` and `file.py:function`: a function of the user's own code."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from hspace.errors import HspaceError

__all__ = ["import_function", "names_function"]

_FUNCTION = re.compile(r"(?P<module>.+):(?P<function>[A-Za-z_]\w*)")


def names_function(source: str) -> bool:
    """Whether a source names a function.

    Example:
        >>> from hspace.usercode import names_function
        >>> names_function("my_models.py:faces"), names_function("faces64")
        (True, False)
    """
    return _FUNCTION.fullmatch(source) is not None


def import_function(source: str) -> Any:
    """Import the module or file and return the function, which is not called.

    Raises:
        HspaceError: No such module, file or function. What the user's module raises itself comes through.
    """
    match = _FUNCTION.fullmatch(source)
    is_file = match is not None and match["module"].endswith(".py")
    if match is None or (match["module"].startswith(".") and not is_file):
        raise HspaceError(f"{source!r} is not of the form module:function or file.py:function")
    name, function = match["module"], match["function"]
    try:
        module = _import_file(Path(name)) if is_file else importlib.import_module(name)
    except (ImportError, FileNotFoundError) as error:
        raise HspaceError(f"{source}: can't import {name} ({error})") from error
    found = getattr(module, function, None)
    if not callable(found):
        raise HspaceError(f"{source}: {name} has no function {function!r}")
    return found


def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"_hspace_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module
