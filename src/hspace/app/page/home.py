"""What a visitor takes home."""

from __future__ import annotations

import gradio as gr

from hspace.app.messages import told
from hspace.app.page.events import Here

__all__ = ["home"]


def home(here: Here) -> None:
    """Files, and the lines that make the picture again."""
    with gr.Accordion("Take it home", open=False):
        with gr.Row():
            export = gr.Button("Picture, recipe, strip, sweeps", elem_id="export")
            all_sliders = gr.Button("All sliders as directions", elem_id="export-sliders")
        files = gr.Files(label="Files", elem_id="files", interactive=False)
        shell = gr.Code(label="Shell", language="shell", elem_id="shell")
        python = gr.Code(label="Python", language="python", elem_id="python")
    handlers = here.handlers
    export.click(told(handlers.take_home), here.visitor, [files, shell, python], api_visibility="private")
    all_sliders.click(told(handlers.sliders), here.visitor, files, api_visibility="private")
