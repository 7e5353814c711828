"""Sliders come, go and are renamed: from files of directions, or from a recipe with its files."""

from __future__ import annotations

from typing import Any

import gradio as gr

from hspace.app.messages import told
from hspace.app.page.events import SILENT, Here, counted, drawn
from hspace.app.visitor import Visitor

__all__ = ["named", "shelf"]


def shelf(here: Here, controls: list[gr.components.Component]) -> None:
    """Add, rename, remove.

    Args:
        here: The page.
        controls: Those that a recipe sets.
    """
    with gr.Accordion("Add, rename, remove", open=False):
        files = gr.File(
            label="Directions (.safetensors), or a recipe (.json) with its files",
            file_types=[".safetensors", ".json"],
            file_count="multiple",
            elem_id="add",
            height=140,
        )
        said = gr.Markdown("", elem_id="added")
        name = named(here, "Slider", "name")
        other = gr.Textbox(label="New name", elem_id="other")
        with gr.Row():
            rename = gr.Button("Rename", elem_id="rename")
            remove = gr.Button("Remove", elem_id="remove")

    def brought(visitor: Visitor, paths: list[str] | None, number: int) -> tuple[Any, ...]:
        words = here.handlers.bring(visitor, paths)
        return words, number + 1, *here.handlers.controls(visitor)

    came = files.upload(told(brought), [here.visitor, files, here.revision], [said, here.revision, *controls], **SILENT)
    drawn(came.success, here)
    handlers, revision = here.handlers, here.revision
    rename.click(counted(handlers.rename), [here.visitor, name, other, revision], revision, **SILENT)
    removed = remove.click(counted(handlers.remove), [here.visitor, name, revision], revision, **SILENT)
    drawn(removed.success, here)


def named(here: Here, label: str, elem_id: str, *, several: bool = False) -> gr.Dropdown:
    """A choice of sliders, which follows their list."""
    choice = gr.Dropdown([], value=[] if several else None, label=label, elem_id=elem_id, multiselect=several)

    def names(visitor: Visitor | None, chosen: Any) -> Any:
        there = [] if visitor is None else list(visitor.library)
        before = (chosen or []) if several else [chosen] if chosen else []
        kept = [name for name in before if name in there]
        if kept == before:  # what is chosen meanwhile stays
            return gr.update(choices=there)
        return gr.update(choices=there, value=kept if several else None)

    # Whatever was chosen may be gone by now, which is no mistake: it is looked at here, not by Gradio.
    choice.preprocess = lambda payload: payload  # type: ignore[method-assign]
    here.revision.change(names, [here.visitor, choice], choice, **SILENT)
    return choice
