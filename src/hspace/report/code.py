"""Python written by Python: calls, plain values, comments. Nothing that a name holds gets out of its string or line."""

from __future__ import annotations

import json
from collections.abc import Sequence

__all__ = ["WIDTH", "Code", "call", "code", "comment", "numbers"]

WIDTH = 100


class Code(str):
    """Python, not the text of a string."""


def call(name: str, *args: object, **given: object) -> str:
    """A call on one line, or on several where it would be long.

    Example:
        >>> from hspace.report.code import Code, call
        >>> call("sampler = hspace.Sampler", Code("model"), steps=20, spacing="leading")
        'sampler = hspace.Sampler(model, steps=20, spacing="leading")'
    """
    words = [*map(code, args), *(f"{key}={code(value)}" for key, value in given.items())]
    line = f"{name}({', '.join(words)})"
    return line if len(line) <= WIDTH else "\n".join([f"{name}(", *(f"    {word}," for word in words), ")"])


def code(value: object) -> str:
    """A plain value."""
    if isinstance(value, Code):
        return value
    if isinstance(value, list):
        return f"[{', '.join(map(code, value))}]"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def numbers(found: Sequence[int]) -> Code:
    """Whole numbers in their order.

    Example:
        >>> from hspace.report.code import numbers
        >>> numbers([3, 4, 5]), numbers([5, 4])
        ('range(3, 6)', '[5, 4]')
    """
    if len(found) > 2 and list(found) == list(range(found[0], found[0] + len(found))):
        return Code(f"range({found[0]}, {found[-1] + 1})")
    return Code(list(found))


def comment(text: str) -> str:
    """On one line."""
    return f"# {' '.join(text.split())}"
