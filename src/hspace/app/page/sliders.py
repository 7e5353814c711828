"""A slider for each direction that the search finds."""

from __future__ import annotations

import gradio as gr

from hspace.app.page.events import Here, changed
from hspace.app.scene import LIMIT
from hspace.app.visitor import Visitor

__all__ = ["sliders"]


def sliders(here: Here) -> None:
    """They are made anew when the list of sliders or the search changes."""
    search = gr.Textbox(label="Search directions", elem_id="search")

    # Without keys, and on nothing but these: Gradio trips over keyed components that two renders make at once.
    changes = [here.revision.change, search.change]

    @gr.render(inputs=[here.visitor, search], triggers=changes, show_progress="hidden")  # type: ignore[untyped-decorator]
    def found(visitor: Visitor | None, text: str | None) -> None:
        if visitor is None:
            return
        with gr.Column(elem_classes="hspace-sliders"):
            for name in visitor.library.search(text or ""):
                slider = gr.Slider(
                    *(-LIMIT, LIMIT, visitor.scene.strengths.get(name, 0.0)),
                    step=0.1,
                    label=name,
                    interactive=True,
                    elem_classes="hspace-slider",
                )
                changed(slider.input, here.handlers.moving(name), [slider], here, f"slider {name}")
