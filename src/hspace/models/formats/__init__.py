"""Checkpoints in the layouts of their original code become folders in diffusers' layout, which `hspace.load` opens."""

from hspace.models.formats.conversion import FORMATS, Conversion, convert

__all__ = ["FORMATS", "Conversion", "convert"]
