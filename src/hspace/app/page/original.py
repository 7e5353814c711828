"""What is edited, and how: a sample by its seed or a photo, when edits act and the way they go in."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from hspace.app.handlers import AS_FOUND, Handlers
from hspace.app.messages import told
from hspace.app.page.events import IN_ORDER, SILENT, STAMP, Here, changed, drawn
from hspace.app.visitor import EVERY_SLIDER, Visitor

__all__ = ["original"]


def original(here: Here) -> list[gr.components.Component]:
    """The controls, those that a recipe sets: seed, first and last timestep, injection, prompt."""
    own = here.handlers.prompt
    prompt = gr.Textbox("", label="Prompt", placeholder=own or "", visible=own is not None, elem_id="prompt")
    changed(prompt.submit, here.handlers.ask, [prompt], here, "prompt")
    with gr.Row():
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, elem_id="seed", min_width=120)
        lock = gr.Checkbox(False, label="Lock the seed", elem_id="lock", min_width=120)
        dice = gr.Button("Dice", elem_id="dice", min_width=80)
        reset = gr.Button("Reset sliders", elem_id="reset", min_width=120)
    changed(seed.input, here.handlers.sow, [seed], here, "seed")
    rolled = dice.click(here.handlers.roll, [lock, seed], seed, **SILENT)
    changed(rolled.then, here.handlers.sow, [seed], here, "seed")
    given = [here.visitor, here.revision, here.clock]
    zeroed = reset.click(told(_reset(here.handlers)), given, here.revision, js=STAMP, **IN_ORDER)
    drawn(zeroed.then, here)
    advanced = _advanced(here)
    _photo(here)
    return [seed, *advanced, prompt]


def _reset(handlers: Handlers) -> Callable[[Visitor, int, float | None], int]:
    """All sliders at 0, those too whose last move is still on its way."""

    def reset(visitor: Visitor, revision: int, at: float | None) -> int:
        visitor.later(EVERY_SLIDER, float(at or 0))
        handlers.reset(visitor)
        return revision + 1

    return reset


def _advanced(here: Here) -> list[gr.components.Component]:
    highest = here.handlers.painter.full.timesteps[0]
    with gr.Accordion("Advanced", open=False):
        first = gr.Slider(0, highest, highest, step=1, label="Edits act from timestep", elem_id="first")
        last = gr.Slider(0, highest, 0, step=1, label="down to timestep", elem_id="last")
        ways = [AS_FOUND, "symmetric", "asymmetric"]
        injection = gr.Radio(ways, value=AS_FOUND, label="How shifts go in", elem_id="injection")
    for event in (first.release, last.release, injection.input):
        changed(event, here.handlers.advanced, [first, last, injection], here, "advanced")
    return [first, last, injection]


def _photo(here: Here) -> None:
    with gr.Accordion("Your photo", open=False):
        photo = gr.Image(
            label="Photo", type="filepath", sources=["upload", "clipboard"], elem_id="photo", height=220, buttons=[]
        )
        # Whether the file is a picture is for hspace.photos to find out, and to say: Gradio would only fail.
        photo.preprocess = lambda payload: None if payload is None else str(payload.path)  # type: ignore[method-assign]
        quality = gr.Markdown("", elem_id="quality")
        back = gr.Button("Back to samples", elem_id="back")
    inverted = photo.upload(told(here.handlers.photo), [here.visitor, photo], quality, api_visibility="private")
    drawn(inverted.success, here)
    changed(back.click, here.handlers.samples, [], here, "photo")
