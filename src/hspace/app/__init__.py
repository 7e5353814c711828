"""Sliders in the browser. `hspace.app.page` needs Gradio (extra `app`); the rest does not."""
