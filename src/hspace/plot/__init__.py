"""Looking at it: grids of samples, strips along directions, heat over pictures, curves over t."""

from hspace.plot.contest import contest
from hspace.plot.curves import singular_values, spectrum
from hspace.plot.heatmaps import heatmaps
from hspace.plot.matrices import effect_matrix
from hspace.plot.pictures import crossed, grid, strip, to_uint8
from hspace.plot.profiles import profiles

__all__ = [
    "contest",
    "crossed",
    "effect_matrix",
    "grid",
    "heatmaps",
    "profiles",
    "singular_values",
    "spectrum",
    "strip",
    "to_uint8",
]
