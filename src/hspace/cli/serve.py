"""`hspace app`: sliders in the browser."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from hspace.cli import options
from hspace.cli.session import open_model, open_sampler, say
from hspace.diffusion import Sampler
from hspace.directions import BUNDLED, Directions
from hspace.errors import HspaceError

__all__ = ["command"]

_SCORERS = _REGIONS = {"faces64": "portraits"}  # of bundled models


def command(
    model: options.Model = "faces64",
    asked: options.Asked = options.NOTHING,
    directions: Annotated[
        list[Path] | None,
        typer.Option(
            "--directions", help="File of directions; may be repeated. Default: those that come with the model."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 7860,
    share: Annotated[bool, typer.Option("--share", help="Also through a public link of Gradio's.")] = False,
    auth: Annotated[str | None, typer.Option(help="USER:PASSWORD that everybody has to give.")] = None,
    scorer: Annotated[
        str | None,
        typer.Option(
            help="Of attributes, as in hspace supervised --scorer. Default: the one that comes with the model."
        ),
    ] = None,
    regions: Annotated[
        str | None, typer.Option(help="Finds parts of pictures, as in hspace jacobian --regions. Default: the model's.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", "-s", help="Default: as the directions were found, else 20.")
    ] = None,
    eta: Annotated[str | None, typer.Option(help="Default: as the directions were found, else 0.")] = None,
    start: options.Start = None,
    tap: options.Tap = None,
    device: options.Device = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16 or float64.")] = "float32",
) -> None:
    """Open the sliders in a browser: samples, your own photo, recipes to take home."""
    from hspace.app.folder import private_folder

    private_folder()  # before Gradio is imported, which makes its own elsewhere
    try:
        from hspace.app.handlers import Handlers
        from hspace.app.painter import Painter
        from hspace.app.serving import opened
    except ImportError as error:
        raise HspaceError(f"the app needs Gradio ({error}): pip install 'hspace[app]'") from error
    if not 0 < port < 65536:
        raise HspaceError(f"--port must be from 1 to 65535, not {port}")
    pair = None
    if auth is not None:
        user, colon, password = auth.partition(":")
        if not (user and colon and password):
            raise HspaceError("--auth must look like USER:PASSWORD")
        pair = (user, password)
    files = tuple(directions or ([BUNDLED[model]] if model in BUNDLED else []))
    settings = [Directions.load(file).setting for file in files]
    of_h = next((setting for setting in settings if setting.space == "h"), None)
    found = next((setting.condition for setting in settings), None)
    denoiser = open_model(model, tap or (of_h.tap if of_h else None), device, options.Computing(dtype), asked, found)
    if of_h is not None and steps is None and start is None and eta is None:
        sampler = Sampler.on(denoiser, of_h, batch_size=1)
    else:
        sampler = open_sampler(denoiser, steps or (len(of_h.schedule) if of_h else 20), eta or "0", start, 1)
    handlers = Handlers(
        Painter(sampler), files, model, scorer=scorer or _SCORERS.get(model), regions=regions or _REGIONS.get(model)
    )
    handlers.arrive().close()  # says now what would be wrong with the files
    say(f"sliders for {model} on http://{host}:{port}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # tidies up, as Ctrl-C does
    try:
        with opened(handlers, host=host, port=port, share=share, auth=pair) as blocks:
            blocks.block_thread()
    finally:
        handlers.close()
