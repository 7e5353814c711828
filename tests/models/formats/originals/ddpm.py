"""`Model` of https://github.com/ermongroup/SDEdit and https://github.com/pesser/pytorch_diffusion."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def sinusoids(t: Tensor, width: int) -> Tensor:
    half = width // 2
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32) * -(math.log(10000) / (half - 1)))
    angles = t.float()[:, None] * frequencies[None]
    return torch.cat([angles.sin(), angles.cos()], 1)


def swish(x: Tensor) -> Tensor:
    return x * x.sigmoid()


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels, eps=1e-6)


class ResnetBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, time: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = norm(inputs), nn.Conv2d(inputs, outputs, 3, padding=1)
        self.temb_proj = nn.Linear(time, outputs)
        self.norm2, self.conv2 = norm(outputs), nn.Conv2d(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.nin_shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, temb: Tensor) -> Tensor:
        h = self.conv1(swish(self.norm1(x))) + self.temb_proj(swish(temb))[:, :, None, None]
        h = self.conv2(swish(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class AttnBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2) for layer in (self.q, self.k, self.v))
        weight = (torch.einsum("nci,ncj->nij", q, k) * x.shape[1] ** -0.5).softmax(dim=2)
        return x + self.proj_out(torch.einsum("ncj,nij->nci", v, weight).reshape(x.shape))


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))  # right and below only


class Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3))


class Model(nn.Module):
    def __init__(
        self,
        resolution: int,
        ch: int = 32,
        ch_mult: Sequence[int] = (1, 2),
        num_res_blocks: int = 2,
        attn_resolutions: Sequence[int] = (16,),
        channels: int = 3,
    ) -> None:
        super().__init__()
        self.ch, self.levels = ch, len(ch_mult)
        self.temb = nn.Module()
        self.temb.dense = nn.ModuleList([nn.Linear(ch, 4 * ch), nn.Linear(4 * ch, 4 * ch)])
        self.conv_in = nn.Conv2d(channels, ch, 3, padding=1)
        widths, here, skips = [ch * mult for mult in ch_mult], ch, [ch]
        self.down, self.up, self.mid = nn.ModuleList(), nn.ModuleList(), nn.Module()
        attended = [resolution // 2**level in attn_resolutions for level in range(self.levels)]
        for level, width in enumerate(widths):
            stage = nn.Module()
            stage.block, stage.attn = nn.ModuleList(), nn.ModuleList()
            for _ in range(num_res_blocks):
                stage.block.append(ResnetBlock(here, width, 4 * ch))
                here = width
                skips.append(here)
                if attended[level]:
                    stage.attn.append(AttnBlock(here))
            if level + 1 < self.levels:
                stage.downsample = Downsample(here)
                skips.append(here)
            self.down.append(stage)
        self.mid.block_1, self.mid.block_2 = (ResnetBlock(here, here, 4 * ch) for _ in range(2))
        self.mid.attn_1 = AttnBlock(here)
        for level in reversed(range(self.levels)):
            stage = nn.Module()
            stage.block, stage.attn = nn.ModuleList(), nn.ModuleList()
            for _ in range(num_res_blocks + 1):
                stage.block.append(ResnetBlock(here + skips.pop(), widths[level], 4 * ch))
                here = widths[level]
                if attended[level]:
                    stage.attn.append(AttnBlock(here))
            if level:
                stage.upsample = Upsample(here)
            self.up.insert(0, stage)
        self.norm_out, self.conv_out = norm(here), nn.Conv2d(here, channels, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        temb = self.temb.dense[1](swish(self.temb.dense[0](sinusoids(t, self.ch).to(x))))
        h = self.conv_in(x)
        skips = [h]
        for level, stage in enumerate(self.down):
            for i, block in enumerate(stage.block):
                h = block(h, temb)
                h = stage.attn[i](h) if len(stage.attn) else h
                skips.append(h)
            if level + 1 < self.levels:
                h = stage.downsample(h)
                skips.append(h)
        h = self.mid.block_2(self.mid.attn_1(self.mid.block_1(h, temb)), temb)
        for level, stage in reversed(list(enumerate(self.up))):
            for i, block in enumerate(stage.block):
                h = block(torch.cat([h, skips.pop()], 1), temb)
                h = stage.attn[i](h) if len(stage.attn) else h
            h = stage.upsample(h) if level else h
        return self.conv_out(swish(self.norm_out(h)))
