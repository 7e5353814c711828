"""A folder of this process's own for Gradio, which is not imported here: it looks where its files go when it is."""

from __future__ import annotations

import atexit
import functools
import os
import secrets
import shutil
import tempfile
from pathlib import Path

__all__ = ["private_folder"]


@functools.cache
def private_folder() -> Path:
    """Made at the first call, which is best before Gradio is imported; this user's alone; gone with the process.

    Gradio's default is one folder for all apps of a machine, and each of them hands out all of it.

    Example:
        >>> from hspace.app.folder import private_folder
        >>> oct(private_folder().stat().st_mode)[-3:]
        '700'
    """
    parent = os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix=f"hspace-app-{secrets.token_hex(16)}-", dir=parent)).resolve()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_EXAMPLES_CACHE"] = str(folder / "examples")  # else in the working directory
    return folder
