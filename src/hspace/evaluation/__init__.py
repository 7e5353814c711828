"""Measuring: what directions do to attributes, and how far samples are from data."""

from hspace.evaluation.distances import frechet_distance, ks_distance
from hspace.evaluation.effects import Effects, effects

__all__ = ["Effects", "effects", "frechet_distance", "ks_distance"]
