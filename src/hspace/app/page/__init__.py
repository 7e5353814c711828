"""The page: Gradio components, and which handler each of them calls. One module for each part of the screen."""

from hspace.app.page.layout import CSS, JS, build

__all__ = ["CSS", "JS", "build"]
