"""The reverse process: schedules, latents from seeds, and the sampler that records and edits h."""

from hspace.diffusion.ahead import Noise
from hspace.diffusion.backprop import Gradients, backpropagate
from hspace.diffusion.drawing import draw_each, draw_samples
from hspace.diffusion.intervention import Blend, ChangeOfH, Intervention, Recorder, RunChange, ShiftAt
from hspace.diffusion.inversion import Chosen, Inversion
from hspace.diffusion.latents import Latents, SeedLatents
from hspace.diffusion.prefix import Prefixes
from hspace.diffusion.sampler import Sampler
from hspace.diffusion.schedule import Injection, Schedule, make_schedule
from hspace.diffusion.setting import Setting, Space

__all__ = [
    "Blend",
    "ChangeOfH",
    "Chosen",
    "Gradients",
    "Injection",
    "Intervention",
    "Inversion",
    "Latents",
    "Noise",
    "Prefixes",
    "Recorder",
    "RunChange",
    "Sampler",
    "Schedule",
    "SeedLatents",
    "Setting",
    "ShiftAt",
    "Space",
    "backpropagate",
    "draw_each",
    "draw_samples",
    "make_schedule",
]
