"""Scorers: what turns images into named scores. Regions: what turns them into named masks.

Any callable of the shape of `Scorer` or `hspace.masks.Regions` will do; `load_scorer("portraits")` and
`load_regions("portraits")` are the bundled ones. `load_scorer` also makes scorers of transformers' image classifiers
and of CLIP with prompts, `scored` checks what a scorer answers, and `read_scores` reads scores by seed from a CSV file.
"""

from hspace.attributes.checked import scored
from hspace.attributes.classifier import ImageClassifier
from hspace.attributes.clip import ClipEmbedding, ZeroShot
from hspace.attributes.portraits import Moments, PortraitScorer
from hspace.attributes.protocol import Scorer
from hspace.attributes.regions import portrait_regions
from hspace.attributes.registry import load_regions, load_scorer
from hspace.attributes.table import read_scores, scores_of

__all__ = [
    "ClipEmbedding",
    "ImageClassifier",
    "Moments",
    "PortraitScorer",
    "Scorer",
    "ZeroShot",
    "load_regions",
    "load_scorer",
    "portrait_regions",
    "read_scores",
    "scored",
    "scores_of",
]
