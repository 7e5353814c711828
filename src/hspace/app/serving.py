"""The page on a port, the guard before it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import gradio as gr
from starlette.middleware import Middleware

from hspace.app.folder import private_folder
from hspace.app.guard import Guard
from hspace.app.handlers import Handlers
from hspace.app.page import CSS, JS, build
from hspace.app.uploads import MAX_BYTES, MAX_UPLOAD

__all__ = ["opened"]


@contextmanager
def opened(
    handlers: Handlers,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    share: bool = False,
    auth: tuple[str, str] | None = None,
) -> Iterator[gr.Blocks]:
    """The app, listening until the end of the block.

    Args:
        handlers: What it does.
        host: Address to listen on.
        port: Port to listen on; None: a free one.
        share: Also through a public link of Gradio's.
        auth: User and password that everybody has to give.

    Yields:
        Gradio's blocks; `local_url` is the address, `block_thread()` waits for Ctrl-C.

    Raises:
        OSError: The port is taken.
    """
    folder = private_folder()  # before there are components, which keep its name
    os.environ.setdefault("GRADIO_RUN_HISTORY", "False")  # which would keep every picture in the browser
    # Statistics for a page that is off: by default of 10,000 events, all gone through after each.
    os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")
    os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**9))
    blocks = build(handlers)
    blocks.queue(api_open=False, default_concurrency_limit=None)
    blocks.launch(
        server_name=host,
        server_port=port,
        share=share,
        auth=auth,
        css=CSS,
        js=JS,
        quiet=True,
        show_error=False,
        max_file_size=MAX_BYTES,
        footer_links=[],
        enable_monitoring=False,
        ssr_mode=False,  # of Node, which would answer for files itself
        mcp_server=False,
        prevent_thread_lock=True,
        app_kwargs={"middleware": [Middleware(Guard, folder=folder, max_bytes=MAX_UPLOAD)]},
    )
    try:
        yield blocks
    finally:
        blocks.close(verbose=False)
