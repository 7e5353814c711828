"""A picture to draw on with a brush, by a mouse, a pen or a finger."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import gradio as gr
from PIL import Image

__all__ = ["canvas", "placed"]

_TEMPLATE = """
<canvas width="256" height="256" role="img" aria-label="the picture; paint on it what shall change"></canvas>
<div><label>Brush <input type="range" min="1" max="30" value="10" aria-label="Size of the brush"></label>
<button type="button">Clear</button></div>
"""
_STYLE = """
canvas { width: 100%; max-width: 24rem; touch-action: none; cursor: crosshair; image-rendering: pixelated;
  border: 1px solid var(--border-color-primary); display: block; margin: auto; }
div { display: flex; gap: 1rem; align-items: center; justify-content: center; padding: 0.5rem; }
button { border: 1px solid var(--border-color-primary); border-radius: 0.3rem; padding: 0.2rem 0.8rem; }
input { accent-color: var(--color-accent); }
"""


def canvas(elem_id: str) -> gr.HTML:
    """Its value is what was painted, a PNG as a data URL; None where nothing was."""
    script = Path(__file__).with_name("canvas.js").read_text(encoding="utf-8")
    return gr.HTML(None, html_template=_TEMPLATE, css_template=_STYLE, js_on_load=script, elem_id=elem_id, picture=None)


def placed(picture: Image.Image) -> gr.HTML:
    """The update that puts a picture there, and clears what was painted."""
    file = io.BytesIO()
    picture.save(file, format="PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    return gr.HTML(value=None, picture=url)
