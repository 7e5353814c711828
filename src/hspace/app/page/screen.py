"""The picture: alone, beside the unedited one, and as a strip along the slider that was moved last."""

from __future__ import annotations

from typing import Any

import gradio as gr

from hspace.app.handlers import Handlers
from hspace.app.messages import step_by_step
from hspace.app.page.events import SILENT, Screen

__all__ = ["screen"]

_SHOWN: dict[str, Any] = {"show_label": False, "format": "png", "interactive": False, "buttons": ["download"]}


def screen(handlers: Handlers, visitor: gr.State) -> Screen:
    """Three tabs, and below them what they show."""
    looked_at = gr.State(False)
    with gr.Tab("Picture") as alone:
        picture = gr.Image(label="Picture", elem_id="picture", **_SHOWN)
    with gr.Tab("Before and after") as beside:
        pair = gr.ImageSlider(label="Before and after", format="png", interactive=False, elem_id="compared")
    with gr.Tab("Strip") as along:
        gr.Markdown("The slider moved last at -3, -1.5, 0, 1.5 and 3, the others as they are.")
        strip = gr.Image(label="Strip", elem_id="strip", **_SHOWN)
    for tab in (alone, beside):
        tab.select(lambda: False, None, looked_at, **SILENT)
    seen = along.select(lambda: True, None, looked_at, **SILENT)
    seen.then(step_by_step(handlers.strip), visitor, strip, trigger_mode="multiple", **SILENT)
    return Screen(picture, pair, gr.Markdown("", elem_id="words"), strip, looked_at)
