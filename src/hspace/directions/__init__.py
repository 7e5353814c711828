"""Directions of h over all timesteps: algebra, retiming, the unit of strength, files, edits and their recipes."""

from hspace.directions.arithmetic import swap, transfer
from hspace.directions.bundled import BUNDLED
from hspace.directions.collection import Directions
from hspace.directions.direction import Direction
from hspace.directions.edit import Edit, Term
from hspace.directions.recipe import Recipe

__all__ = ["BUNDLED", "Direction", "Directions", "Edit", "Recipe", "Term", "swap", "transfer"]
