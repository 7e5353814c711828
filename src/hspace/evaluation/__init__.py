"""Measuring: what directions do to attributes and where in the picture, and how far samples are from data."""

from hspace.evaluation.content import Content, content, ssim
from hspace.evaluation.controls import Verdict, verdicts
from hspace.evaluation.distances import frechet_distance, ks_distance
from hspace.evaluation.effects import Effects, effects
from hspace.evaluation.evaluate import Evaluation, evaluate
from hspace.evaluation.locality import inside_share
from hspace.evaluation.naming import named, told
from hspace.evaluation.response import Response, respond, spread
from hspace.evaluation.scores import Score, scores

__all__ = [
    "Content",
    "Effects",
    "Evaluation",
    "Response",
    "Score",
    "Verdict",
    "content",
    "effects",
    "evaluate",
    "frechet_distance",
    "inside_share",
    "ks_distance",
    "named",
    "respond",
    "scores",
    "spread",
    "ssim",
    "told",
    "verdicts",
]
