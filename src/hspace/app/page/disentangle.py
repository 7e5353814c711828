"""One slider without others, and what that does."""

from __future__ import annotations

import gradio as gr

from hspace.app.page.events import Here
from hspace.app.page.shelf import named
from hspace.app.page.work import Bar, begins

__all__ = ["disentangle"]


def disentangle(here: Here, bar: Bar) -> None:
    """The slider, what it must not change, and both profiles."""
    slider = named(here, "Slider", "tangled")
    others = named(here, "What it must not change", "others", several=True)
    with gr.Accordion("More", open=False):
        samples = gr.Slider(2, 64, 8, step=2, label="Samples that effects are measured on", elem_id="effect-samples")
        apart = gr.Checkbox(False, label="At every timestep apart (stronger)", elem_id="apart")
    begin = gr.Button("Disentangle", elem_id="disentangle")
    figure = gr.Image(
        label="What it changes, before and after",
        show_label=False,
        interactive=False,
        visible=False,
        elem_id="profile",
        buttons=["download"],
        format="png",
    )
    table = gr.Dataframe(
        headers=["", "before", "after"],
        visible=False,
        interactive=False,
        label="From -3 to 3, in standard deviations",
        elem_id="effects",
    )
    task = here.handlers.tasks.disentangle
    begins(begin.click, task, [slider, others, samples, apart], here, bar, (figure, table))
