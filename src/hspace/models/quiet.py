"""Libraries that read checkpoints say nothing meanwhile: what is wrong they raise, and the rest is not for the user."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

__all__ = ["quietly"]


@contextmanager
def quietly(*libraries: str) -> Iterator[None]:
    """No bars, advice or deprecations within it; the libraries' settings are global, and come back.

    Args:
        libraries: diffusers, transformers; one that nobody has imported yet has nothing to say.

    Example:
        >>> from diffusers.utils import logging
        >>> from hspace.models.quiet import quietly
        >>> before = logging.is_progress_bar_enabled()
        >>> with quietly("diffusers"):
        ...     logging.is_progress_bar_enabled()
        False
        >>> logging.is_progress_bar_enabled() == before
        True
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        hub: Any = importlib.import_module("huggingface_hub.utils")
        stack.callback(hub.disable_progress_bars if hub.are_progress_bars_disabled() else hub.enable_progress_bars)
        for library in libraries:
            if (logging := sys.modules.get(f"{library}.utils.logging")) is not None:
                stack.enter_context(_silent(logging))
        yield


@contextmanager
def _silent(logging: Any) -> Iterator[None]:
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
