"""A checkpoint becomes a Denoiser: load it, tap its h, encode once and decode many times."""

from hspace.models.denoiser import Denoiser, Encoding, Prediction
from hspace.models.load import load
from hspace.models.tap import Tap

__all__ = ["Denoiser", "Encoding", "Prediction", "Tap", "load"]
