"""Fields of JSON objects that people may have edited, each with its type checked."""

from __future__ import annotations

import math
from typing import Any, NoReturn

from hspace.errors import HspaceError

__all__ = ["entries", "flag", "integer", "integers", "is_number", "number", "text", "value_of"]


def value_of(data: Any, key: str) -> Any:
    """Whatever stands under a key.

    Raises:
        HspaceError: Not an object, or it has no such field; so do the others, also for another type.

    Example:
        >>> from hspace.directions.fields import integer, value_of
        >>> value_of({"a": [1]}, "a"), integer({"a": 1}, "a")
        ([1], 1)
    """
    if not isinstance(data, dict):
        raise HspaceError(f"expected an object with {key!r}, found {_short(data)}")
    if key not in data:
        raise HspaceError(f"{key!r} is missing")
    return data[key]


def text(data: Any, key: str) -> str:
    """A string."""
    found = value_of(data, key)
    return found if isinstance(found, str) else _wrong(key, "text", found)


def flag(data: Any, key: str) -> bool:
    """True or false."""
    found = value_of(data, key)
    return found if isinstance(found, bool) else _wrong(key, "true or false", found)


def number(data: Any, key: str) -> float:
    """A finite number."""
    found = value_of(data, key)
    return float(found) if is_number(found) else _wrong(key, "a finite number", found)


def integer(data: Any, key: str, least: int = 0) -> int:
    """A whole number, not below `least`."""
    found = value_of(data, key)
    return int(found) if _is_integer(found, least) else _wrong(key, f"a whole number from {least} up", found)


def integers(data: Any, key: str) -> tuple[int, ...]:
    """At least one whole number from 0 up."""
    found = value_of(data, key)
    fits = isinstance(found, list) and bool(found) and all(_is_integer(item, 0) for item in found)
    return tuple(found) if fits else _wrong(key, "a list of whole numbers", found)


def entries(data: Any, key: str) -> list[Any]:
    """A list of anything."""
    found = value_of(data, key)
    return found if isinstance(found, list) else _wrong(key, "a list", found)


def is_number(found: Any) -> bool:
    """Whether it is a finite number."""
    return isinstance(found, (int, float)) and not isinstance(found, bool) and math.isfinite(found)


def _is_integer(found: Any, least: int) -> bool:
    return isinstance(found, int) and not isinstance(found, bool) and found >= least


def _wrong(key: str, expected: str, found: Any) -> NoReturn:
    raise HspaceError(f"{key!r} must be {expected}, found {_short(found)}")


def _short(found: Any) -> str:
    line = repr(found)
    return line if len(line) <= 60 else f"{line[:57]}..."
