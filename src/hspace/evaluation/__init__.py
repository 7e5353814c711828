"""Measuring: what directions do to attributes and where in the picture, and how far samples are from data."""

from hspace.evaluation.distances import frechet_distance, ks_distance
from hspace.evaluation.effects import Effects, effects
from hspace.evaluation.locality import inside_share
from hspace.evaluation.naming import named, told

__all__ = ["Effects", "effects", "frechet_distance", "inside_share", "ks_distance", "named", "told"]
