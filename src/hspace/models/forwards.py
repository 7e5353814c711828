"""Other forward functions for modules, for a while: what replayed and compiled modules have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

__all__ = ["Forward", "overriding"]

Forward = Callable[..., Any]


@contextmanager
def overriding(forwards: Mapping[nn.Module, Forward]) -> Iterator[None]:
    """Within the context these modules run these functions, behind their own hooks; contexts may be nested.

    A function is put on the instance, so that the module, its weights and its place in the network stay what they
    are. Afterwards everything is as before, whatever happens.
    """
    before = {module: module.__dict__.get("forward") for module in forwards}
    try:
        for module, forward in forwards.items():
            module.__dict__["forward"] = forward
        yield
    finally:
        for module, own in before.items():
            module.__dict__.pop("forward", None)
            if own is not None:
                module.__dict__["forward"] = own
