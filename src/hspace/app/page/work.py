"""How far long work is, and a way to end it."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import gradio as gr

from hspace.app.messages import step_by_step, told
from hspace.app.page.events import SILENT, Here
from hspace.app.tasks import Profile, Step
from hspace.app.turns import Superseded
from hspace.app.visitor import Visitor

__all__ = ["Bar", "begins", "work"]


class Bar(NamedTuple):
    """Where progress is told, and the button that ends it."""

    said: gr.HTML
    cancel: gr.Button


def work(here: Here) -> Bar:
    """There while something is going on, and then what came of it; not rendered yet."""
    said = gr.HTML("", elem_id="work", render=False)
    cancel = gr.Button("Cancel", elem_id="cancel", visible=False, variant="stop", render=False)
    cancel.click(told(here.handlers.tasks.cancel), here.visitor, None, **SILENT)
    return Bar(said, cancel)


def begins(
    event: Callable[..., Any],
    task: Callable[..., Iterator[Step]],
    inputs: list[Any],
    here: Here,
    bar: Bar,
    profile: tuple[gr.Image, gr.Dataframe] | None = None,
) -> None:
    """An event begins a task; its progress, its sliders and its profile appear."""

    def steps(visitor: Visitor, *values: Any) -> Iterator[tuple[Any, ...]]:
        *arguments, revision = values
        try:
            for step in task(visitor, *arguments):
                count = revision + 1 if step.added else gr.skip()
                shown = () if profile is None else _shown(step.profile)
                yield _bar(step), gr.update(visible=step.fraction is not None), count, *shown
        except Superseded:
            raise
        except Exception:
            nothing = () if profile is None else (gr.skip(), gr.skip())
            yield "", gr.update(visible=False), gr.skip(), *nothing
            raise

    outputs = [bar.said, bar.cancel, here.revision, *(profile or ())]
    given = [here.visitor, *inputs, here.revision]
    event(step_by_step(steps), given, outputs, trigger_mode="multiple", **SILENT)


def _bar(step: Step) -> str:
    words = f"<p role='status'>{html.escape(step.words)}</p>"
    if step.fraction is None:
        return words
    return f"<progress max='1' value='{step.fraction:.4f}' aria-label='progress'></progress>{words}"


def _shown(profile: Profile | None) -> tuple[Any, Any]:
    if profile is None:
        return gr.skip(), gr.skip()
    rows = [[name, round(before, 2), round(after, 2)] for name, before, after in profile.rows]
    figure = gr.update(value=profile.figure, visible=profile.figure is not None)
    return figure, gr.update(value=rows, visible=True)
