"""The page as a whole: what stands where."""

from __future__ import annotations

import weakref
from typing import Any

import gradio as gr

from hspace.app.handlers import Handlers
from hspace.app.page.discover import discover
from hspace.app.page.disentangle import disentangle
from hspace.app.page.events import SILENT, Here, drawn
from hspace.app.page.home import home
from hspace.app.page.original import original
from hspace.app.page.screen import screen
from hspace.app.page.shelf import shelf
from hspace.app.page.sliders import sliders
from hspace.app.page.work import work
from hspace.app.visitor import Visitor

__all__ = ["CSS", "JS", "build"]

_STAY = 3600  # seconds that a visitor may be silent
CSS = """
#picture .image-frame, #picture button { width: 100%; }
#picture img { width: min(24rem, 100%) !important; height: auto !important; object-fit: contain !important; }
#picture img, #compared img, #strip img { margin: auto; image-rendering: pixelated; }
.hspace-sliders { max-height: 75vh; overflow-y: auto; }
.wrap.hide { display: none; }
#work progress { width: 100%; height: 0.6rem; appearance: none; background: var(--border-color-primary); }
#work progress::-webkit-progress-bar { background: var(--border-color-primary); }
#work progress::-webkit-progress-value { background: var(--color-accent); }
#work progress::-moz-progress-bar { background: var(--color-accent); }
"""
JS = """() => new MutationObserver(() => {
  for (const button of document.querySelectorAll("#picture button, #strip button, #profile button"))
    if (!button.innerText && !button.ariaLabel && !button.title) button.ariaLabel = "the picture";
}).observe(document.body, {childList: true, subtree: true})"""
"""Names what Gradio leaves without one: a picture is a button, which a screen reader calls by its name."""


def build(handlers: Handlers) -> gr.Blocks:
    """The app, to be launched with `css=CSS, js=JS`."""
    visitors: weakref.WeakValueDictionary[str, Visitor] = weakref.WeakValueDictionary()  # by session, while they stay

    def arrive(request: gr.Request) -> tuple[Visitor, int, int]:
        visitor = handlers.arrive()
        visitors[str(request.session_hash)] = visitor
        return visitor, 1, visitor.scene.seed

    def unload(request: gr.Request) -> None:
        if (visitor := visitors.get(str(request.session_hash))) is not None:
            visitor.idle()  # what takes long is for nobody now

    with gr.Blocks(title="hspace", analytics_enabled=False, delete_cache=(600, _STAY)) as blocks:
        visitor = gr.State(None, time_to_live=_STAY, delete_callback=_leave)
        revision = gr.State(0)  # of the list of sliders
        clock = gr.Number(0, visible=False)
        gr.Markdown(f"# hspace\nSliders for **{handlers.name}**: directions of its h-space, in standard deviations.")
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                here = Here(handlers, visitor, revision, screen(handlers, visitor), clock)
                controls = original(here)
                home(here)
            with gr.Column(scale=2, min_width=280):
                bar = work(here)
                with gr.Tabs():
                    with gr.Tab("Sliders"):
                        sliders(here)
                        shelf(here, controls)
                    with gr.Tab("Discover"):
                        discover(here, bar)
                    with gr.Tab("Disentangle"):
                        disentangle(here, bar)
                for component in bar:  # below the tabs, for all of them
                    component.render()  # type: ignore[no-untyped-call]
        arrived: Any = blocks.load(arrive, None, [visitor, revision, controls[0]], **SILENT)
        drawn(arrived.then, here)
        blocks.unload(unload)
    return blocks  # type: ignore[no-any-return]


def _leave(visitor: Visitor | None) -> None:
    if visitor is not None:
        visitor.close()
