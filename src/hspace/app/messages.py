"""Errors as people read them: one line, never a stack trace."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, no_type_check

import gradio as gr

from hspace.app.turns import Superseded
from hspace.errors import HspaceError

__all__ = ["step_by_step", "told"]

_log = logging.getLogger("hspace.app")


def told(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function; what it raises appears on the page as one line. What is not the visitor's doing is logged."""

    def at_once(*values: Any) -> Any:
        with _in_words():
            return function(*values)

    return at_once


def step_by_step(function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """The same for one that yields.

    One that is superseded ends with an error that nobody sees. As if all were well would not do: Gradio repeats in the
    end what was yielded last, or empties the page if nothing was, and that may be after what superseded it.
    """

    @no_type_check  # a checker's wrapper would not look like a generator to Gradio
    def steps(*values: Any) -> Iterator[Any]:
        with _in_words():
            yield from function(*values)

    found: Callable[..., Iterator[Any]] = steps
    return found


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except HspaceError as error:
        raise gr.Error(str(error), print_exception=False) from None
    except (gr.Error, GeneratorExit):
        raise
    except Superseded:  # nobody reads it
        raise gr.Error("no longer wanted", visible=False, print_exception=False) from None
    except Exception:
        _log.exception("an error of the app's own")
        raise gr.Error("something went wrong here, and it was not your doing", print_exception=False) from None
