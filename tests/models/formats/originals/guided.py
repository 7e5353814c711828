"""`UNetModel` of https://github.com/openai/guided-diffusion, guided_diffusion/unet.py."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sinusoids(t: Tensor, width: int) -> Tensor:
    half = width // 2
    frequencies = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float32) / half)
    angles = t[:, None].float() * frequencies[None]
    return torch.cat([angles.cos(), angles.sin()], -1)


class ResBlock(nn.Module):
    def __init__(
        self, inputs: int, time: int, outputs: int, scale_shift: bool, up: bool = False, down: bool = False
    ) -> None:
        super().__init__()
        self.up, self.down, self.scale_shift = up, down, scale_shift
        self.in_layers = nn.Sequential(nn.GroupNorm(32, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * outputs if scale_shift else outputs))
        self.out_layers = nn.Sequential(
            nn.GroupNorm(32, outputs), nn.SiLU(), nn.Dropout(0.0), nn.Conv2d(outputs, outputs, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def resized(self, x: Tensor) -> Tensor:
        if self.up:
            return F.interpolate(x, scale_factor=2, mode="nearest")
        return F.avg_pool2d(x, 2, 2) if self.down else x

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        norm_in, act, conv_in = self.in_layers
        h = conv_in(self.resized(act(norm_in(x))))
        time = self.emb_layers(emb)[:, :, None, None]
        norm_out, *rest = self.out_layers
        if self.scale_shift:
            scale, shift = time.chunk(2, 1)
            h = norm_out(h) * (1 + scale) + shift
        else:
            h = norm_out(h + time)
        for layer in rest:
            h = layer(h)
        return self.skip_connection(self.resized(x)) + h


class AttentionBlock(nn.Module):
    def __init__(self, channels: int, heads: int, new_order: bool) -> None:
        super().__init__()
        self.heads, self.new_order = heads, new_order
        self.norm = nn.GroupNorm(32, channels)
        self.qkv, self.proj_out = nn.Conv1d(channels, 3 * channels, 1), nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, channels = x.shape[:2]
        flat = x.reshape(n, channels, -1)
        qkv = self.qkv(self.norm(flat))
        size = channels // self.heads
        if self.new_order:  # QKVAttention: all q, all k, all v, then heads
            q, k, v = (part.reshape(n * self.heads, size, -1) for part in qkv.chunk(3, 1))
        else:  # QKVAttentionLegacy: heads, then q, k, v of each
            q, k, v = qkv.reshape(n * self.heads, 3 * size, -1).split(size, 1)
        scale = size**-0.25
        weight = torch.einsum("bct,bcs->bts", q * scale, k * scale).softmax(-1)
        a = torch.einsum("bts,bcs->bct", weight, v).reshape(n, channels, -1)
        return (flat + self.proj_out(a)).reshape(x.shape)


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class UNetModel(nn.Module):
    def __init__(
        self,
        model_channels: int = 32,
        out_channels: int = 3,
        num_res_blocks: int = 1,
        attention_resolutions: Sequence[int] = (2,),
        channel_mult: Sequence[float] = (1, 2),
        num_classes: int | None = None,
        num_heads: int = 1,
        num_head_channels: int = -1,
        use_scale_shift_norm: bool = False,
        resblock_updown: bool = False,
        use_new_attention_order: bool = False,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        self.model_channels = model_channels
        time, scale_shift = 4 * model_channels, use_scale_shift_norm
        self.time_embed = nn.Sequential(nn.Linear(model_channels, time), nn.SiLU(), nn.Linear(time, time))
        self.label_emb = None if num_classes is None else nn.Embedding(num_classes, time)

        def attention(channels: int) -> AttentionBlock:
            heads = num_heads if num_head_channels == -1 else channels // num_head_channels
            return AttentionBlock(channels, heads, use_new_attention_order)

        widths = [int(mult * model_channels) for mult in channel_mult]
        here, stride = widths[0], 1
        skips = [here]
        self.input_blocks = nn.ModuleList([nn.ModuleList([nn.Conv2d(in_channels, here, 3, padding=1)])])
        for level, width in enumerate(widths):
            for _ in range(num_res_blocks):
                layers: list[nn.Module] = [ResBlock(here, time, width, scale_shift)]
                here = width
                if stride in attention_resolutions:
                    layers.append(attention(here))
                self.input_blocks.append(nn.ModuleList(layers))
                skips.append(here)
            if level + 1 < len(widths):
                down = ResBlock(here, time, here, scale_shift, down=True) if resblock_updown else Downsample(here)
                self.input_blocks.append(nn.ModuleList([down]))
                skips.append(here)
                stride *= 2
        first, last = (ResBlock(here, time, here, scale_shift) for _ in range(2))
        self.middle_block = nn.ModuleList([first, attention(here), last])
        self.output_blocks = nn.ModuleList()
        for level, width in reversed(list(enumerate(widths))):
            for i in range(num_res_blocks + 1):
                layers = [ResBlock(here + skips.pop(), time, width, scale_shift)]
                here = width
                if stride in attention_resolutions:
                    layers.append(attention(here))
                if level and i == num_res_blocks:
                    up = ResBlock(here, time, here, scale_shift, up=True) if resblock_updown else Upsample(here)
                    layers.append(up)
                    stride //= 2
                self.output_blocks.append(nn.ModuleList(layers))
        self.out = nn.Sequential(nn.GroupNorm(32, here), nn.SiLU(), nn.Conv2d(here, out_channels, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        emb = self.time_embed(sinusoids(t, self.model_channels).to(x))
        if self.label_emb is not None:
            emb = emb + self.label_emb(y)
        h, skips = x, []
        for block in self.input_blocks:
            h = run(block, h, emb)
            skips.append(h)
        h = run(self.middle_block, h, emb)
        for block in self.output_blocks:
            h = run(block, torch.cat([h, skips.pop()], 1), emb)
        return self.out(h)


def run(layers: nn.Module, h: Tensor, emb: Tensor) -> Tensor:
    for layer in layers.children():
        h = layer(h, emb) if isinstance(layer, ResBlock) else layer(h)
    return h
