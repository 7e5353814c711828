"""`Unet` and the buffers of `GaussianDiffusion` of https://github.com/lucidrains/denoising-diffusion-pytorch.

What changed between versions 1.0 and 2.3 is told apart by `version`; float64 has float32's eps here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, einsum, nn

Version = tuple[int, int, int]


class Identity(nn.Module):
    """Stands where the original has a layer without weights, so that the numbers of those behind it are right."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class LayerNorm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, dim, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(1, keepdim=True)
        return centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt() * self.g


class RMSNorm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.g = nn.Parameter(torch.ones(1, dim, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x / x.norm(dim=1, keepdim=True).clamp(min=1e-12) * self.g * math.sqrt(x.shape[1])


class WeightStandardizedConv2d(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        flat = self.weight.flatten(1)
        centred = flat - flat.mean(1, keepdim=True)
        weight = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt()
        return F.conv2d(x, weight.reshape(self.weight.shape), self.bias, padding=1)


class Block(nn.Module):
    def __init__(self, dim: int, dim_out: int, version: Version) -> None:
        super().__init__()
        conv = WeightStandardizedConv2d if version <= (1, 7, 1) else nn.Conv2d
        self.proj = conv(dim, dim_out, 3, padding=1)
        self.norm = RMSNorm(dim_out) if version >= (2, 0, 0) else nn.GroupNorm(8, dim_out)

    def forward(self, x: Tensor, scale: Tensor | float = 0.0, shift: Tensor | float = 0.0) -> Tensor:
        x = self.norm(self.proj(x)) * (scale + 1) + shift
        return x * x.sigmoid()


class ResnetBlock(nn.Module):
    def __init__(self, dim: int, dim_out: int, time: int, version: Version) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * dim_out))
        self.block1, self.block2 = Block(dim, dim_out, version), Block(dim_out, dim_out, version)
        self.res_conv = nn.Conv2d(dim, dim_out, 1) if dim != dim_out else nn.Identity()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        scale, shift = self.mlp(t)[..., None, None].chunk(2, 1)
        return self.block2(self.block1(x, scale, shift)) + self.res_conv(x)


class Attention(nn.Module):
    """Linear or full; before 1.8 the norm before it is outside."""

    def __init__(self, dim: int, heads: int, dim_head: int, full: bool, version: Version) -> None:
        super().__init__()
        norm = LayerNorm if version < (1, 7, 0) else RMSNorm
        self.heads, self.full, self.version, hidden = heads, full, version, heads * dim_head
        if version >= (1, 8, 0):
            self.norm = norm(dim)
        if version >= (1, 9, 0):
            self.mem_kv = nn.Parameter(torch.randn(2, heads, *((4, dim_head) if full else (dim_head, 4))))
        self.to_qkv = nn.Conv2d(dim, 3 * hidden, 1, bias=False)
        self.to_out = nn.Conv2d(hidden, dim, 1) if full else nn.Sequential(nn.Conv2d(hidden, dim, 1), norm(dim))

    def forward(self, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        x = self.norm(x) if hasattr(self, "norm") else x
        q, k, v = (part.reshape(n, self.heads, -1, height * width) for part in self.to_qkv(x).chunk(3, 1))
        size = q.shape[2]
        if hasattr(self, "mem_kv"):
            memory = self.mem_kv.transpose(-1, -2) if self.full else self.mem_kv
            k, v = (torch.cat([m.repeat(n, 1, 1, 1), part], -1) for m, part in zip(memory, (k, v), strict=True))
        if self.full:
            weight = einsum("bhdi,bhdj->bhij", q * size**-0.5, k).softmax(-1)
            out = einsum("bhij,bhdj->bhdi", weight, v)
        else:
            v = v / (height * width) if self.version <= (1, 7, 3) else v
            context = einsum("bhdn,bhen->bhde", k.softmax(-1), v)
            out = einsum("bhde,bhdn->bhen", context, q.softmax(-2) * size**-0.5)
        return self.to_out(out.reshape(n, -1, height, width))


class PreNorm(nn.Module):
    def __init__(self, dim: int, fn: nn.Module, version: Version) -> None:
        super().__init__()
        self.fn = fn
        self.norm = LayerNorm(dim) if version < (1, 7, 0) else RMSNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(self.norm(x))


class Residual(nn.Module):
    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(x)


class Unet(nn.Module):
    def __init__(
        self,
        dim: int = 8,
        version: Version = (2, 3, 4),
        dim_mults: Sequence[int] = (1, 2),
        channels: int = 3,
        out_dim: int | None = None,
        init_dim: int | None = None,
        attn_heads: int = 4,
        attn_dim_head: int = 32,
        full_attn: Sequence[bool] | None = None,
    ) -> None:
        super().__init__()
        self.dim, time, last = dim, 4 * dim, len(dim_mults) - 1
        init_dim = init_dim or dim
        dims = [init_dim, *(dim * mult for mult in dim_mults)]
        full_attn = full_attn or [version >= (1, 8, 0) and level == last for level in range(last + 1)]

        def attention(width: int, full: bool) -> nn.Module:
            inner = Attention(width, attn_heads, attn_dim_head, full, version)
            return inner if version >= (1, 8, 0) else Residual(PreNorm(width, inner, version))

        def resnet(inputs: int, outputs: int) -> nn.Module:
            return ResnetBlock(inputs, outputs, time, version)

        self.init_conv = nn.Conv2d(channels, init_dim, 7, padding=3)
        self.time_mlp = nn.Sequential(Identity(), nn.Linear(dim, time), nn.GELU(), nn.Linear(time, time))
        self.downs, self.ups = nn.ModuleList(), nn.ModuleList()
        for level, (here, behind) in enumerate(pairwise(dims)):
            down = nn.Sequential(Identity(), nn.Conv2d(4 * here, behind, 1))
            up = nn.Sequential(Identity(), nn.Conv2d(behind, here, 3, padding=1))
            self.downs.append(
                nn.ModuleList(
                    [
                        resnet(here, here),
                        resnet(here, here),
                        attention(here, full_attn[level]),
                        down if level < last else nn.Conv2d(here, behind, 3, padding=1),
                    ]
                )
            )
            self.ups.insert(
                0,
                nn.ModuleList(
                    [
                        resnet(behind + here, behind),
                        resnet(behind + here, behind),
                        attention(behind, full_attn[level]),
                        up if level else nn.Conv2d(behind, here, 3, padding=1),
                    ]
                ),
            )
        self.mid_block1, self.mid_block2 = resnet(dims[-1], dims[-1]), resnet(dims[-1], dims[-1])
        self.mid_attn = attention(dims[-1], True)
        self.final_res_block = resnet(2 * init_dim, init_dim)
        self.final_conv = nn.Conv2d(init_dim, out_dim or channels, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        half = self.dim // 2
        angles = time[:, None] * torch.exp(torch.arange(half) * -(math.log(10000) / (half - 1)))[None]
        t = self.time_mlp(torch.cat([angles.sin(), angles.cos()], -1).to(x))
        x = first = self.init_conv(x)
        skips = []
        for block1, block2, attn, downsample in self.downs:
            x = block1(x, t)
            skips.append(x)
            x = block2(x, t)
            x = attn(x) + x
            skips.append(x)
            x = downsample(folded(x) if isinstance(downsample, nn.Sequential) else x)
        x = self.mid_block1(x, t)
        x = self.mid_block2(self.mid_attn(x) + x, t)
        for block1, block2, attn, upsample in self.ups:
            x = block1(torch.cat([x, skips.pop()], 1), t)
            x = block2(torch.cat([x, skips.pop()], 1), t)
            x = attn(x) + x
            doubled = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
            x = upsample(doubled if isinstance(upsample, nn.Sequential) else x)
        return self.final_conv(self.final_res_block(torch.cat([x, first], 1), t))


def folded(x: Tensor) -> Tensor:
    """b c (h p1) (w p2) -> b (c p1 p2) h w."""
    n, c, height, width = x.shape
    parts = x.reshape(n, c, height // 2, 2, width // 2, 2)
    return parts.permute(0, 1, 3, 5, 2, 4).reshape(n, 4 * c, height // 2, width // 2)


def buffers(betas: Tensor, objective: str, min_snr_gamma: float = math.inf) -> dict[str, Tensor]:
    """Of `GaussianDiffusion` in newer versions; older ones have a `p2_loss_weight` instead of the last."""
    alphas = 1 - betas
    bar = alphas.cumprod(0)
    before = F.pad(bar[:-1], (1, 0), value=1.0)
    variance = betas * (1 - before) / (1 - bar)
    snr = bar / (1 - bar)
    clipped = snr.clamp(max=min_snr_gamma)
    weight = {"pred_noise": clipped / snr, "pred_x0": clipped, "pred_v": clipped / (snr + 1)}
    named: dict[str, Any] = {
        "betas": betas,
        "alphas_cumprod": bar,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": bar.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - bar).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - bar).log(),
        "sqrt_recip_alphas_cumprod": (1 / bar).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / bar - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp(min=1e-20).log(),
        "posterior_mean_coef1": betas * before.sqrt() / (1 - bar),
        "posterior_mean_coef2": (1 - before) * alphas.sqrt() / (1 - bar),
        "loss_weight": weight[objective],
    }
    return {name: value.float() for name, value in named.items()}
