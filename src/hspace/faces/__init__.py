"""Procedural portraits with known factors: twelve numbers in, a 64 x 64 picture out.

They are what the bundled model `faces64` was trained on, and the ground truth that directions are measured against.
"""

from hspace.faces.parts import PARTS, parts
from hspace.faces.population import BINARY, FACTORS, RANGES, Factors, factor_table, sample_factors
from hspace.faces.portraits import IMAGE_SIZE, render, render_seeds

__all__ = [
    "BINARY",
    "FACTORS",
    "IMAGE_SIZE",
    "PARTS",
    "RANGES",
    "Factors",
    "factor_table",
    "parts",
    "render",
    "render_seeds",
    "sample_factors",
]
