r"""The U-Net of lucidrains' denoising-diffusion-pytorch, versions 1.0 to 2.3, after the published code.

Source: https://github.com/lucidrains/denoising-diffusion-pytorch (MIT), written anew in the shape of diffusers' U-Nets,
so that taps have the same names and the encoder runs once for many decodings.

Linear attention (Shen et al., arXiv 1812.01243), on every level that has no full one:

    q = softmax_channels(W_q x) / sqrt(d),  k = softmax_pixels(W_k x),  attention = W (k^T v)^T q

Weight standardisation (Qiao et al., arXiv 1903.10520), eps 1e-5, for each output channel:

    (w - mean(w)) / sqrt(var(w) + eps)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ModelMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["DenoisingDiffusionUNet"]

_EPS = 1e-5


class DenoisingDiffusionUNet(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """The whole network: eps, v or x_0 of x_t and t.

    Args:
        sample_size: Height and width of x_t.
        in_channels: Channels of x_t.
        out_channels: Channels of the output; twice as many with a learned variance.
        time_channels: `dim`: width of the sinusoids.
        channels: `init_dim`, then the width behind each level.
        full_attention: For each level, whether its attention is full or linear.
        attention_heads: For each level.
        attention_head_dims: For each level.
        memory_tokens: Learned keys and values beside those of the pixels (since 1.9); 0 for none.
        block_norm: "rms" (since 2.0) or "group", eight groups, in residual blocks.
        attention_norm: "rms" (since 1.7) or "layer", around attention.
        weight_standardized: Whether convolutions of residual blocks are (before 1.7.2).
        mean_values: Whether linear attention divides v by the number of pixels (before 1.7.4).

    Example:
        >>> import torch
        >>> from hspace.models.networks import DenoisingDiffusionUNet
        >>> net = DenoisingDiffusionUNet(sample_size=8, time_channels=8, channels=(8, 8, 16),
        ...     full_attention=(False, True), attention_heads=(2, 2), attention_head_dims=(4, 4))
        >>> net(torch.zeros(1, 3, 8, 8), torch.tensor([5])).sample.shape
        torch.Size([1, 3, 8, 8])
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        sample_size: int | Sequence[int],
        in_channels: int = 3,
        out_channels: int = 3,
        time_channels: int = 64,
        channels: Sequence[int] = (64, 64, 128, 256, 512),
        full_attention: Sequence[bool] = (False, False, False, True),
        attention_heads: Sequence[int] = (4, 4, 4, 4),
        attention_head_dims: Sequence[int] = (32, 32, 32, 32),
        memory_tokens: int = 4,
        block_norm: str = "rms",
        attention_norm: str = "rms",
        weight_standardized: bool = False,
        mean_values: bool = False,
    ) -> None:
        super().__init__()
        width = 4 * time_channels

        def resnet(inputs: int, outputs: int) -> _Resnet:
            return _Resnet(inputs, outputs, width, block_norm, weight_standardized)

        def attention(level: int, width: int, *, full: bool) -> nn.Module:
            norm = {"rms": _RMSNorm, "layer": _LayerNorm}[attention_norm]
            heads, head_dim = attention_heads[level], attention_head_dims[level]
            if full:
                return _Attention(width, heads, head_dim, memory_tokens, norm)
            return _LinearAttention(width, heads, head_dim, memory_tokens, norm, mean_values)

        last = len(channels) - 2
        levels = list(enumerate(pairwise(channels)))
        self.time_embedding = nn.Sequential(nn.Linear(time_channels, width), nn.GELU(), nn.Linear(width, width))
        self.conv_in = nn.Conv2d(in_channels, channels[0], 7, padding=3)
        self.down_blocks = nn.ModuleList(
            _DownBlock(
                [resnet(here, here), resnet(here, here)],
                attention(level, here, full=full_attention[level]),
                nn.Conv2d(here, behind, 3, padding=1)
                if level == last
                else nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * here, behind, 1)),
            )
            for level, (here, behind) in levels
        )
        middle = channels[-1]
        self.mid_block = _MidBlock([resnet(middle, middle), resnet(middle, middle)], attention(last, middle, full=True))
        self.up_blocks = nn.ModuleList(
            _UpBlock(
                [resnet(behind + here, behind), resnet(behind + here, behind)],
                attention(level, behind, full=full_attention[level]),
                nn.Conv2d(behind, here, 3, padding=1)
                if level == 0
                else nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(behind, here, 3, padding=1)),
            )
            for level, (here, behind) in reversed(levels)
        )
        self.resnet_out = resnet(2 * channels[0], channels[0])
        self.conv_out = nn.Conv2d(channels[0], out_channels, 1)

    def forward(self, sample: Float[Tensor, "n c y x"], timestep: Tensor) -> UNet2DOutput:
        """The output of the network, as diffusers has it.

        Args:
            sample: x_t; height and width are multiples of 2 to the number of levels less one.
            timestep: (n,) training timesteps.
        """
        time = self._time(sample, timestep)
        x = first = self.conv_in(sample)
        skips: tuple[Tensor, ...] = ()
        for down_block in self.down_blocks:
            x, skipped = down_block(x, time)
            skips += skipped
        x = self.mid_block(x, time)
        for up_block in self.up_blocks:
            x, skips = up_block(x, skips[-2:], time), skips[:-2]
        x = self.resnet_out(torch.cat([x, first], 1), time)
        return UNet2DOutput(sample=self.conv_out(x))

    def _time(self, sample: Tensor, timestep: Tensor) -> Tensor:
        half = self.config.time_channels // 2
        frequencies = torch.exp(torch.arange(half, device=sample.device) * (-math.log(10_000) / (half - 1)))
        angles = timestep[:, None] * frequencies[None, :]  # in float32, as the original has them
        embedding: Tensor = self.time_embedding(torch.cat([angles.sin(), angles.cos()], dim=-1).to(sample))
        return embedding


class _RMSNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        normalized: Tensor = F.normalize(x, dim=1) * self.g * x.shape[1] ** 0.5
        return normalized


class _LayerNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
        normalized: Tensor = (x - mean) * (variance + _EPS).rsqrt() * self.g
        return normalized


class _StandardizedConv2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), correction=0, keepdim=True)
        weight: Tensor = (self.weight - mean) * (variance + _EPS).rsqrt()
        out: Tensor = self._conv_forward(x, weight, self.bias)
        return out


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, norm: str, standardized: bool) -> None:
        super().__init__()
        self.proj = (_StandardizedConv2d if standardized else nn.Conv2d)(inputs, outputs, 3, padding=1)
        self.norm = _RMSNorm(outputs) if norm == "rms" else nn.GroupNorm(8, outputs)

    def forward(self, x: Tensor, scale_shift: tuple[Tensor, Tensor] | None = None) -> Tensor:
        normalized: Tensor = self.norm(self.proj(x))
        if scale_shift is not None:
            scale, shift = scale_shift
            normalized = normalized * (scale + 1) + shift
        return F.silu(normalized)


class _Resnet(nn.Module):
    def __init__(self, inputs: int, outputs: int, time: int, norm: str, standardized: bool) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * outputs))
        self.block1 = _Block(inputs, outputs, norm, standardized)
        self.block2 = _Block(outputs, outputs, norm, standardized)
        self.res_conv = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.mlp(time)[:, :, None, None].chunk(2, dim=1)
        residual: Tensor = self.res_conv(x)
        out: Tensor = self.block2(self.block1(x, (scale, shift))) + residual
        return out


class _Attention(nn.Module):
    """x + full attention of the pixels to each other and to the memory tokens."""

    def __init__(self, channels: int, heads: int, head_dim: int, memory_tokens: int, norm: Any) -> None:
        super().__init__()
        self.heads = heads
        self.norm = norm(channels)
        self.mem_kv = nn.Parameter(torch.randn(2, heads, memory_tokens, head_dim)) if memory_tokens else None
        self.to_qkv = nn.Conv2d(channels, 3 * heads * head_dim, 1, bias=False)
        self.to_out = nn.Conv2d(heads * head_dim, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.transpose(-1, -2) for part in _heads(self.to_qkv(self.norm(x)), self.heads))
        if self.mem_kv is not None:
            memory = self.mem_kv[:, None].expand(-1, len(x), -1, -1, -1)
            k, v = torch.cat([memory[0], k], dim=-2), torch.cat([memory[1], v], dim=-2)
        out = F.scaled_dot_product_attention(q.contiguous(), k, v)
        attended: Tensor = self.to_out(out.transpose(-1, -2).reshape(len(x), -1, *x.shape[2:]))
        return attended + x


class _LinearAttention(nn.Module):
    """x + linear attention, whose cost grows with the number of pixels, not with its square."""

    def __init__(
        self, channels: int, heads: int, head_dim: int, memory_tokens: int, norm: Any, mean_values: bool
    ) -> None:
        super().__init__()
        self.heads, self.scale, self.mean_values = heads, head_dim**-0.5, mean_values
        self.norm = norm(channels)
        self.mem_kv = nn.Parameter(torch.randn(2, heads, head_dim, memory_tokens)) if memory_tokens else None
        self.to_qkv = nn.Conv2d(channels, 3 * heads * head_dim, 1, bias=False)
        self.to_out = nn.Sequential(nn.Conv2d(heads * head_dim, channels, 1), norm(channels))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = _heads(self.to_qkv(self.norm(x)), self.heads)
        if self.mem_kv is not None:
            memory = self.mem_kv[:, None].expand(-1, len(x), -1, -1, -1)
            k, v = torch.cat([memory[0], k], dim=-1), torch.cat([memory[1], v], dim=-1)
        if self.mean_values:
            v = v / (x.shape[2] * x.shape[3])
        context = k.softmax(dim=-1) @ v.transpose(-1, -2)  # (n, heads, d of k, d of v)
        out = context.transpose(-1, -2) @ (q.softmax(dim=-2) * self.scale)
        attended: Tensor = self.to_out(out.reshape(len(x), -1, *x.shape[2:]))
        return attended + x


class _DownBlock(nn.Module):
    def __init__(self, resnets: Sequence[nn.Module], attention: nn.Module, downsample: nn.Module) -> None:
        super().__init__()
        self.resnets, self.attentions = nn.ModuleList(resnets), nn.ModuleList([attention])
        self.downsample = downsample

    def forward(self, x: Tensor, time: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        first = self.resnets[0](x, time)
        second = self.attentions[0](self.resnets[1](first, time))
        return self.downsample(second), (first, second)


class _MidBlock(nn.Module):
    def __init__(self, resnets: Sequence[nn.Module], attention: nn.Module) -> None:
        super().__init__()
        self.resnets, self.attentions = nn.ModuleList(resnets), nn.ModuleList([attention])

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        out: Tensor = self.resnets[1](self.attentions[0](self.resnets[0](x, time)), time)
        return out


class _UpBlock(nn.Module):
    def __init__(self, resnets: Sequence[nn.Module], attention: nn.Module, upsample: nn.Module) -> None:
        super().__init__()
        self.resnets, self.attentions = nn.ModuleList(resnets), nn.ModuleList([attention])
        self.upsample = upsample

    def forward(self, x: Tensor, skips: tuple[Tensor, ...], time: Tensor) -> Tensor:
        for resnet, skip in zip(self.resnets, reversed(skips), strict=True):
            x = resnet(torch.cat([x, skip], dim=1), time)
        out: Tensor = self.upsample(self.attentions[0](x))
        return out


def _heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v, each (n, heads, d, pixels)."""
    q, k, v = qkv.flatten(2).unflatten(1, (3, heads, -1)).unbind(1)
    return q, k, v
