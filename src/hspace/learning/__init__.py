"""Networks that learn directions: shift control module, reconstructor, discriminator, and their training."""

from hspace.learning.discriminator import Discriminator
from hspace.learning.log import Log
from hspace.learning.network import ShiftNetwork
from hspace.learning.population import Population
from hspace.learning.reconstructor import Reconstructor
from hspace.learning.shift import BlockShift, GlobalShift, Shift, make_shift
from hspace.learning.span import Span
from hspace.learning.training import FIELDS, Options, Stopped, Trainer

__all__ = [
    "FIELDS",
    "BlockShift",
    "Discriminator",
    "GlobalShift",
    "Log",
    "Options",
    "Population",
    "Reconstructor",
    "Shift",
    "ShiftNetwork",
    "Span",
    "Stopped",
    "Trainer",
    "make_shift",
]
