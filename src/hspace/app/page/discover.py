"""Search for directions; what is found are sliders."""

from __future__ import annotations

import gradio as gr

from hspace.app.messages import told
from hspace.app.page.canvas import canvas, placed
from hspace.app.page.events import SILENT, Here
from hspace.app.page.work import Bar, begins

__all__ = ["discover"]


def discover(here: Here, bar: Bar) -> None:
    """Four ways."""
    tasks = here.handlers.tasks
    with gr.Accordion("What varies (PCA)", open=True):
        components = gr.Slider(1, 20, 6, step=1, label="Directions", elem_id="pca-components")
        samples = gr.Slider(20, 1000, 100, step=10, label="Samples", elem_id="pca-samples")
        begins(gr.Button("Find components", elem_id="pca").click, tasks.components, [components, samples], here, bar)
    with gr.Accordion("What changes this picture (Jacobian)", open=False):
        _picture(here, bar)
    with gr.Accordion("What a scorer reads (annotated samples)", open=False):
        attributes = tasks.attributes()
        if attributes:
            attribute = gr.Dropdown(attributes, value=attributes[0], label="Attribute", elem_id="attribute")
            scored = gr.Slider(20, 2000, 200, step=20, label="Samples", elem_id="scored-samples")
            begins(
                gr.Button("Find the attribute", elem_id="annotate").click,
                tasks.attribute,
                [attribute, scored],
                here,
                bar,
            )
        else:
            gr.Markdown("No attributes are known: start the app with `--scorer`.")
    with gr.Accordion("What a network can tell apart (learned)", open=False):
        number = gr.Slider(2, 10, 4, step=1, label="Directions", elem_id="learned-directions")
        iterations = gr.Slider(10, 500, 60, step=10, label="Iterations", elem_id="iterations")
        begins(gr.Button("Learn", elem_id="learn").click, tasks.learned, [number, iterations], here, bar)


def _picture(here: Here, bar: Bar) -> None:
    tasks = here.handlers.tasks
    place = gr.Button("Put the picture here, to paint on", elem_id="place")
    brush = canvas("canvas")
    gr.Markdown("Nothing painted means the whole picture.")
    part = gr.Textbox(label="Or a part by name, or a box x0,y0,x1,y1", elem_id="part")
    places = tasks.timesteps()
    timestep = gr.Radio(list(places.items()), value=list(places.values())[1], label="Where to look", elem_id="where")
    components = gr.Slider(1, 6, 3, step=1, label="Directions", elem_id="jacobian-components")
    still = gr.Checkbox(False, label="Keep the rest of the picture still", elem_id="still")
    place.click(told(lambda visitor: placed(tasks.canvas(visitor))), here.visitor, brush, **SILENT)
    begins(
        gr.Button("Search this picture", elem_id="jacobian").click,
        tasks.picture,
        [timestep, components, brush, part, still],
        here,
        bar,
    )
