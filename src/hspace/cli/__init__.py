"""The command line: parses, calls the library, shows. No science in it."""

from hspace.cli.app import app, main

__all__ = ["app", "main"]
