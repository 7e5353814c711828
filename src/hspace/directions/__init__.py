"""Directions of h over all timesteps: algebra, retiming, the unit of strength, files, edits."""

from hspace.directions.collection import Directions
from hspace.directions.direction import Direction
from hspace.directions.edit import Edit, Term

__all__ = ["Direction", "Directions", "Edit", "Term"]
