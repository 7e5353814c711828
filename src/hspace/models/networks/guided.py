"""What guided-diffusion's U-Net can do beyond diffusers' `UNet2DModel`, with which it shares the rest.

Source: Dhariwal & Nichol, arXiv 2105.05233, and their code, https://github.com/openai/guided-diffusion.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from diffusers import UNet2DModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import TimestepEmbedding, Timesteps

__all__ = ["GuidedUNet2DModel"]


def _registered(init: Callable[..., None]) -> Callable[..., None]:
    """diffusers writes and reads those options in config.json that the signature names: the parent's, and ours."""
    parents = inspect.signature(UNet2DModel.__init__).parameters.values()
    _, *ours = (each for each in inspect.signature(init).parameters.values() if each.kind is not each.VAR_KEYWORD)
    keywords = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in ours]
    init.__signature__ = inspect.Signature([*parents, *keywords])  # type: ignore[attr-defined]
    registered: Callable[..., None] = register_to_config(init)
    return registered


class GuidedUNet2DModel(UNet2DModel):  # type: ignore[misc]
    """A `UNet2DModel` with a number of heads instead of their size, and its own width and scale of the time embedding.

    Args:
        num_attention_heads: Heads of every attention; None: channels / `attention_head_dim`, as in diffusers.
        time_channels: Width of the sinusoids; None: `block_out_channels[0]`, as in diffusers.
        timestep_scale: The sinusoids see timestep * scale (`rescale_timesteps`: 1000 / T).
        config: As in `UNet2DModel`.

    Example:
        >>> import torch
        >>> from hspace.models.networks import GuidedUNet2DModel
        >>> net = GuidedUNet2DModel(num_attention_heads=4, time_channels=16, sample_size=8, block_out_channels=(32, 64),
        ...     down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"))
        >>> net.mid_block.attentions[0].heads, net(torch.zeros(1, 3, 8, 8), 5).sample.shape
        (4, torch.Size([1, 3, 8, 8]))
    """

    @_registered
    def __init__(
        self,
        num_attention_heads: int | None = None,
        time_channels: int | None = None,
        timestep_scale: float = 1.0,
        **config: Any,
    ) -> None:
        super().__init__(**config)
        if num_attention_heads is not None:  # the weights are the same, whatever they are split into
            for module in self.modules():
                if isinstance(module, Attention):
                    module.heads = module.sliceable_head_dim = num_attention_heads
                    module.scale = (module.inner_dim / num_attention_heads) ** -0.5
        options: Any = self.config
        first: int = options.block_out_channels[0]
        width = time_channels or first
        self.time_proj = Timesteps(width, options.flip_sin_to_cos, options.freq_shift, scale=timestep_scale)
        self.time_embedding = TimestepEmbedding(width, options.time_embedding_dim or 4 * first)
