"""Networks of converted checkpoints that diffusers' own classes can't express; `config.json` names their class."""

from __future__ import annotations

from typing import Any

from hspace.models.networks.denoising_diffusion import DenoisingDiffusionUNet
from hspace.models.networks.guided import GuidedUNet2DModel

__all__ = ["NETWORKS", "DenoisingDiffusionUNet", "GuidedUNet2DModel"]

NETWORKS: dict[str, Any] = {kind.__name__: kind for kind in (DenoisingDiffusionUNet, GuidedUNet2DModel)}
"""By the name that `config.json` has."""
