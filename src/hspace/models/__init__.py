"""A checkpoint becomes a Denoiser: load it, tap its h, encode once and decode many times; other layouts convert."""

from hspace.models.conditioning import Condition, Shifted
from hspace.models.denoiser import Denoiser, Encoding
from hspace.models.formats import Conversion, convert
from hspace.models.load import load
from hspace.models.prediction import Prediction
from hspace.models.tap import Tap

__all__ = ["Condition", "Conversion", "Denoiser", "Encoding", "Prediction", "Shifted", "Tap", "convert", "load"]
