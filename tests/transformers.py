"""Transformers of diffusers without a bottleneck, a few hundred weights each, as networks of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import DiTTransformer2DModel, PixArtTransformer2DModel, SD3Transformer2DModel
from tests import tiny
from torch import Tensor, nn

from hspace.models import Denoiser

IMAGE_SHAPE = (3, 8, 8)
TOKENS, D = (16, 8)
BLOCKS = 3
_SIZES = {
    "sample_size": 8,
    "patch_size": 2,
    "in_channels": 3,
    "num_layers": BLOCKS,
    "num_attention_heads": 2,
    "attention_head_dim": 4,
}


class _Adapter(nn.Module):
    """network(x_t, timesteps) for a transformer that takes conditions beside them, the same for all rows."""

    def __init__(self, transformer: nn.Module, **conditions: Tensor) -> None:
        super().__init__()
        self.transformer = transformer
        self.names = list(conditions)
        for name, value in conditions.items():
            self.register_buffer(name, value)

    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        n = len(x_t)
        conditions = {name: getattr(self, name).expand(n, *getattr(self, name).shape) for name in self.names}
        output: Tensor = self.transformer(x_t, timestep=timesteps, **conditions).sample
        return output


def dit() -> nn.Module:
    """Class-conditional, with learned variance, as DiT-XL."""
    transformer = DiTTransformer2DModel(**_SIZES, out_channels=6, norm_num_groups=2, num_embeds_ada_norm=10)
    return _Adapter(transformer, class_labels=torch.tensor(3))


def pixart() -> nn.Module:
    """Text comes in by cross-attention."""
    transformer = PixArtTransformer2DModel(
        **_SIZES,
        out_channels=6,
        norm_num_groups=2,
        cross_attention_dim=D,
        caption_channels=6,
        use_additional_conditions=False,
    )
    return _Adapter(transformer, encoder_hidden_states=torch.randn(5, 6))


def sd3() -> nn.Module:
    """Text and picture are two streams of tokens through the same blocks."""
    transformer = SD3Transformer2DModel(
        **_SIZES,
        out_channels=3,
        joint_attention_dim=6,
        caption_projection_dim=D,
        pooled_projection_dim=4,
        pos_embed_max_size=8,
    )
    return _Adapter(transformer, encoder_hidden_states=torch.randn(5, 6), pooled_projections=torch.randn(4))


KINDS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "dit": (dit, "transformer.transformer_blocks.1"),
    "pixart": (pixart, "transformer.transformer_blocks.1"),
    "sd3": (sd3, "transformer.transformer_blocks.1:1"),
}


def denoiser(kind: str, tap: str | None = None, *, dtype: torch.dtype = torch.float64, **options: Any) -> Denoiser:
    """The adapter, weights at random: also those that start at 0, so that every block matters."""
    make, block = KINDS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make()
        for weight in network.parameters():
            if weight.ndim > 1:
                nn.init.normal_(weight, std=0.3)
    alphas = tiny.scheduler().alphas_cumprod
    given = {"image_shape": IMAGE_SHAPE, "tap": tap or block, "model_id": kind, **options}
    return Denoiser(network.to(dtype), alphas, **given)
