"""How components are tied to handlers: silently, in order where order counts, and never with a stack trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gradio as gr

from hspace.app.handlers import Handlers
from hspace.app.messages import step_by_step, told
from hspace.app.visitor import Visitor

__all__ = ["IN_ORDER", "SILENT", "STAMP", "Here", "Screen", "changed", "counted", "drawn"]

SILENT: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
IN_ORDER: dict[str, Any] = {**SILENT, "concurrency_limit": 1, "concurrency_id": "changes"}


class Screen(NamedTuple):
    """Components that pictures appear on, and whether the strip is looked at."""

    picture: gr.Image
    pair: gr.ImageSlider
    words: gr.Markdown
    strip: gr.Image
    looked_at: gr.State


class Here(NamedTuple):
    """What every part of the page needs: who does things, for whom, the revision of the list of sliders, the screen."""

    handlers: Handlers
    visitor: gr.State
    revision: gr.State
    screen: Screen
    clock: gr.Number


STAMP = "(...values) => [...values.slice(0, -1), performance.now()]"
"""The last value becomes the time at which somebody touched something, by the page's own clock."""


def drawn(event: Callable[..., Any], here: Here) -> None:
    """A picture appears; a newer one does not wait for those before."""

    def draw(visitor: Visitor, strip: bool) -> Iterator[tuple[Any, ...]]:
        for shown in here.handlers.draw(visitor, strip):
            yield *shown[:3], gr.skip() if shown.strip is None else shown.strip

    *shown, looked_at = here.screen
    event(step_by_step(draw), [here.visitor, looked_at], shown, trigger_mode="multiple", **SILENT)


def changed(
    event: Callable[..., Any], handler: Callable[..., None], inputs: list[Any], here: Here, control: str
) -> None:
    """Something changes, in the order in which it was asked for, and then a picture appears.

    Requests of a browser go over several connections, and may overtake each other: what comes after a later one of the
    same control is left out. The change is one thing and drawing another: pictures may overtake each other.

    Args:
        event: Of the page.
        handler: What changes.
        inputs: Values for it, after the visitor.
        here: The page.
        control: What was touched.
    """

    def in_time(visitor: Visitor, *values: Any) -> None:
        *arguments, at = values
        if visitor.later(control, float(at or 0)):
            handler(visitor, *arguments)

    given = [here.visitor, *inputs, here.clock]
    done = event(told(in_time), given, None, trigger_mode="multiple", js=STAMP, **IN_ORDER)
    drawn(done.success, here)


def counted(handler: Callable[..., Any]) -> Callable[..., int]:
    """A handler that changes the list of sliders: its last argument is the revision, which goes up."""

    def one_more(*values: Any) -> int:
        *arguments, number = values
        handler(*arguments)
        return int(number) + 1

    return told(one_more)
