"""The page: Gradio components, and which handler each of them calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import gradio as gr

from hspace.app.handlers import AS_FOUND, Handlers
from hspace.app.messages import step_by_step, told
from hspace.app.scene import LIMIT
from hspace.app.visitor import Visitor

__all__ = ["CSS", "build"]

_STAY = 3600  # seconds that a visitor may be silent
_SILENT: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": None}
_IN_ORDER: dict[str, Any] = {**_SILENT, "concurrency_limit": 1, "concurrency_id": "changes"}
CSS = """
#picture .image-frame, #picture button { width: 100%; }
#picture img { width: min(24rem, 100%) !important; height: auto !important; object-fit: contain !important; }
#picture img, #compared img { margin: auto; image-rendering: pixelated; }
.hspace-sliders { max-height: 75vh; overflow-y: auto; }
"""


class _Screen(NamedTuple):
    """Components that pictures appear on."""

    picture: gr.Image
    pair: gr.ImageSlider
    words: gr.Markdown


def build(handlers: Handlers) -> gr.Blocks:
    """The app, to be launched with `css=CSS`."""
    with gr.Blocks(title="hspace", analytics_enabled=False, delete_cache=(600, _STAY)) as blocks:
        visitor = gr.State(None, time_to_live=_STAY, delete_callback=_leave)
        revision = gr.State(0)  # of the list of sliders
        gr.Markdown(f"# hspace\nSliders for **{handlers.name}**: directions of its h-space, in standard deviations.")
        with gr.Row():
            with gr.Column(scale=3, min_width=300):
                screen = _screen()
                seed = _samples(handlers, visitor, revision, screen)
                _advanced(handlers, visitor, screen)
                _photo(handlers, visitor, screen)
            with gr.Column(scale=2, min_width=280):
                _sliders(handlers, visitor, revision, screen)
                _shelf(handlers, visitor, revision, screen)
                _home(handlers, visitor)
        arrived = blocks.load(lambda: (handlers.arrive(), 1, 0), None, [visitor, revision, seed], **_SILENT)
        _drawn(arrived.then, handlers, visitor, screen)
    return blocks  # type: ignore[no-any-return]


def _drawn(event: Callable[..., Any], handlers: Handlers, visitor: gr.State, screen: _Screen) -> None:
    """A picture appears; a newer one does not wait for those before."""
    event(step_by_step(handlers.draw), visitor, list(screen), trigger_mode="multiple", **_SILENT)


def _changed(
    event: Callable[..., Any], handler: Callable[..., None], inputs: list[Any], handlers: Handlers, screen: _Screen
) -> None:
    """Something changes, in the order in which it was asked for, and then a picture appears.

    The change is one thing and drawing another: pictures may overtake each other, sliders may not.
    """
    done = event(told(handler), inputs, None, trigger_mode="multiple", **_IN_ORDER)
    _drawn(done.success, handlers, inputs[0], screen)


def _screen() -> _Screen:
    with gr.Tab("Picture"):
        picture = gr.Image(label="Picture", format="png", interactive=False, elem_id="picture", buttons=["download"])
    with gr.Tab("Before and after"):
        pair = gr.ImageSlider(label="Before and after", format="png", interactive=False, elem_id="compared")
    return _Screen(picture, pair, gr.Markdown("", elem_id="words"))


def _samples(handlers: Handlers, visitor: gr.State, revision: gr.State, screen: _Screen) -> gr.Number:
    with gr.Row():
        seed = gr.Number(0, label="Seed", precision=0, minimum=0, elem_id="seed", min_width=120)
        lock = gr.Checkbox(False, label="Lock the seed", elem_id="lock", min_width=120)
        dice = gr.Button("Dice", elem_id="dice", min_width=80)
        reset = gr.Button("Reset sliders", elem_id="reset", min_width=120)
    _changed(seed.input, handlers.sow, [visitor, seed], handlers, screen)
    rolled = dice.click(handlers.roll, [lock, seed], seed, **_SILENT)
    _changed(rolled.then, handlers.sow, [visitor, seed], handlers, screen)
    zeroed = reset.click(_and_count(handlers.reset), [visitor, revision], revision, **_IN_ORDER)
    _drawn(zeroed.then, handlers, visitor, screen)
    return seed


def _advanced(handlers: Handlers, visitor: gr.State, screen: _Screen) -> None:
    highest = handlers.painter.full.timesteps[0]
    with gr.Accordion("Advanced", open=False):
        first = gr.Slider(0, highest, highest, step=1, label="Edits act from timestep", elem_id="first")
        last = gr.Slider(0, highest, 0, step=1, label="down to timestep", elem_id="last")
        ways = [AS_FOUND, "symmetric", "asymmetric"]
        injection = gr.Radio(ways, value=AS_FOUND, label="How shifts go in", elem_id="injection")
    for event in (first.release, last.release, injection.input):
        _changed(event, handlers.advanced, [visitor, first, last, injection], handlers, screen)


def _photo(handlers: Handlers, visitor: gr.State, screen: _Screen) -> None:
    with gr.Accordion("Your photo", open=False):
        photo = gr.Image(
            label="Photo", type="filepath", sources=["upload", "clipboard"], elem_id="photo", height=220, buttons=[]
        )
        # Whether the file is a picture is for hspace.photos to find out, and to say: Gradio would only fail.
        photo.preprocess = lambda payload: None if payload is None else str(payload.path)  # type: ignore[method-assign]
        quality = gr.Markdown("", elem_id="quality")
        back = gr.Button("Back to samples", elem_id="back")
    inverted = photo.upload(told(handlers.photo), [visitor, photo], quality, api_visibility="private")
    _drawn(inverted.success, handlers, visitor, screen)
    _changed(back.click, handlers.samples, [visitor], handlers, screen)


def _sliders(handlers: Handlers, visitor: gr.State, revision: gr.State, screen: _Screen) -> None:
    search = gr.Textbox(label="Search directions", elem_id="search")

    # Without keys, and on nothing but these: Gradio trips over keyed components that two renders make at once.
    changes = [revision.change, search.change]

    @gr.render(inputs=[visitor, search], triggers=changes, show_progress="hidden")  # type: ignore[untyped-decorator]
    def sliders(here: Visitor | None, text: str | None) -> None:
        if here is None:
            return
        with gr.Column(elem_classes="hspace-sliders"):
            for name in here.library.search(text or ""):
                slider = gr.Slider(
                    *(-LIMIT, LIMIT, here.scene.strengths.get(name, 0.0)),
                    step=0.1,
                    label=name,
                    elem_classes="hspace-slider",
                )
                _changed(slider.input, handlers.moving(name), [visitor, slider], handlers, screen)


def _shelf(handlers: Handlers, visitor: gr.State, revision: gr.State, screen: _Screen) -> None:
    with gr.Accordion("Add, rename, remove", open=False):
        file = gr.File(label="Directions (.safetensors)", file_types=[".safetensors"], elem_id="add", height=120)
        name = gr.Textbox(label="Slider", elem_id="name")
        other = gr.Textbox(label="New name", elem_id="other")
        with gr.Row():
            rename = gr.Button("Rename", elem_id="rename")
            remove = gr.Button("Remove", elem_id="remove")
    file.upload(_and_count(handlers.add), [visitor, file, revision], revision, **_SILENT)
    rename.click(_and_count(handlers.rename), [visitor, name, other, revision], revision, **_SILENT)
    removed = remove.click(_and_count(handlers.remove), [visitor, name, revision], revision, **_SILENT)
    _drawn(removed.success, handlers, visitor, screen)


def _home(handlers: Handlers, visitor: gr.State) -> None:
    with gr.Accordion("Take it home", open=False):
        export = gr.Button("Picture, recipe, strip, sweep", elem_id="export")
        files = gr.Files(label="Files", elem_id="files", interactive=False)
        shell = gr.Code(label="Shell", language="shell", elem_id="shell")
        python = gr.Code(label="Python", language="python", elem_id="python")
    export.click(told(handlers.take_home), visitor, [files, shell, python], api_visibility="private")


def _and_count(handler: Callable[..., Any]) -> Callable[..., int]:
    """A handler that changes the list of sliders: its last argument is the revision, which goes up."""

    def counted(*values: Any) -> int:
        *arguments, number = values
        handler(*arguments)
        return int(number) + 1

    return told(counted)


def _leave(visitor: Visitor | None) -> None:
    if visitor is not None:
        visitor.close()
