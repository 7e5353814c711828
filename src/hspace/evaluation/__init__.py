"""Measuring: what directions do to attributes and where in the picture, and how far samples are from data."""

from hspace.evaluation.content import Distance, content, of_features, pixel, ssim
from hspace.evaluation.controls import Verdict, verdicts
from hspace.evaluation.distances import frechet_distance, ks_distance
from hspace.evaluation.effects import Effects, effects
from hspace.evaluation.entanglement import Leak, duplicates, leaks, likeness, projected, suggestions
from hspace.evaluation.evaluate import Evaluation, damage, evaluate
from hspace.evaluation.locality import inside_share
from hspace.evaluation.naming import named, told
from hspace.evaluation.perceptual import load_distance
from hspace.evaluation.response import Response, respond, spread
from hspace.evaluation.scores import Score, scores

__all__ = [
    "Distance",
    "Effects",
    "Evaluation",
    "Leak",
    "Response",
    "Score",
    "Verdict",
    "content",
    "damage",
    "duplicates",
    "effects",
    "evaluate",
    "frechet_distance",
    "inside_share",
    "ks_distance",
    "leaks",
    "likeness",
    "load_distance",
    "named",
    "of_features",
    "pixel",
    "projected",
    "respond",
    "scores",
    "spread",
    "ssim",
    "suggestions",
    "told",
    "verdicts",
]
