"""Looking at it: grids of samples, strips along directions, curves over t."""

from hspace.plot.curves import spectrum
from hspace.plot.pictures import grid, strip, to_uint8

__all__ = ["grid", "spectrum", "strip", "to_uint8"]
