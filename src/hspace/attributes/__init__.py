"""Scorers: what turns images into named scores.

Any callable of the shape of `Scorer` will do; `load_scorer("portraits")` is the bundled one.
"""

from hspace.attributes.portraits import Moments, PortraitScorer
from hspace.attributes.protocol import Scorer
from hspace.attributes.registry import load_scorer

__all__ = ["Moments", "PortraitScorer", "Scorer", "load_scorer"]
