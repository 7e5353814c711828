"""Directions that come with the package, by the name of the model; `recipes/directions_faces64.py` made them."""

from __future__ import annotations

from pathlib import Path

__all__ = ["BUNDLED"]

BUNDLED: dict[str, Path] = {"faces64": Path(__file__).with_name("weights") / "faces64.safetensors"}
"""Files, half precision."""
