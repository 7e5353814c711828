"""Scorers: what turns images into named scores. Regions: what turns them into named masks.

Any callable of the shape of `Scorer` or `hspace.masks.Regions` will do; `load_scorer("portraits")` and
`load_regions("portraits")` are the bundled ones.
"""

from hspace.attributes.portraits import Moments, PortraitScorer
from hspace.attributes.protocol import Scorer
from hspace.attributes.regions import portrait_regions
from hspace.attributes.registry import load_regions, load_scorer

__all__ = ["Moments", "PortraitScorer", "Scorer", "load_regions", "load_scorer", "portrait_regions"]
