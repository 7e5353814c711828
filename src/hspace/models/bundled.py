"""The model that comes with the package."""

from __future__ import annotations

from pathlib import Path

__all__ = ["BUNDLED", "bundled_folder"]

BUNDLED = ("faces64",)
"""Names that `hspace.load` takes without any download."""


def bundled_folder(name: str) -> Path:
    """Folder of a bundled model, in diffusers' layout with its model card.

    Example:
        >>> from hspace.models.bundled import bundled_folder
        >>> (bundled_folder("faces64") / "unet" / "config.json").exists()
        True
    """
    return Path(__file__).parent / "weights" / name
