"""What a network is told beside x_t and t: prompts, class labels, and how strongly its prediction is guided by them."""

from hspace.models.conditioning.branches import UNCONDITIONAL, Branches, Inputs
from hspace.models.conditioning.condition import Condition, Shifted
from hspace.models.conditioning.conditioner import Conditioner
from hspace.models.conditioning.labels import Labels
from hspace.models.conditioning.prompts import Prompts, usual_guidance_scale

__all__ = [
    "UNCONDITIONAL",
    "Branches",
    "Condition",
    "Conditioner",
    "Inputs",
    "Labels",
    "Prompts",
    "Shifted",
    "usual_guidance_scale",
]
