"""Small real models: a diffusers U-Net of a few thousand weights, a network of one's own, a closed form."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jaxtyping
import torch
from diffusers import DDIMScheduler, UNet2DModel
from torch import Tensor, nn

import hspace
from hspace.diffusion import Injection, Setting, ShiftAt
from hspace.models import Denoiser

IMAGE_SHAPE = (3, 8, 8)
TRAIN_TIMESTEPS = 100
PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


def unet(seed: int = 0, *, dtype: torch.dtype = torch.float64, **config: Any) -> UNet2DModel:
    """Attention on both sides and in the middle; h of the mid block is (8, 4, 4)."""
    options = {
        "sample_size": 8,
        "block_out_channels": (4, 8),
        "layers_per_block": 1,
        "norm_num_groups": 2,
        "attention_head_dim": 4,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
        "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return UNet2DModel(**{**options, **config}).to(dtype).eval()


def scheduler(prediction_type: str = "epsilon", **config: Any) -> DDIMScheduler:
    """100 timesteps that end near pure noise."""
    options = {"num_train_timesteps": TRAIN_TIMESTEPS, "beta_start": 1e-3, "beta_end": 0.1, "clip_sample": False}
    return DDIMScheduler(prediction_type=prediction_type, **{**options, **config})


def save(folder: Path) -> None:
    """A model in float32 as a folder in diffusers' layout."""
    unet(dtype=torch.float32).save_pretrained(folder / "unet")
    scheduler().save_pretrained(folder / "scheduler")


def denoiser(
    prediction_type: str = "epsilon",
    *,
    seed: int = 0,
    tap: str = "mid_block",
    dtype: torch.dtype = torch.float64,
    schedule: Mapping[str, Any] | None = None,
    **config: Any,
) -> Denoiser:
    """The U-Net with its scheduler."""
    pair = (unet(seed, dtype=dtype, **config), scheduler(prediction_type, **(schedule or {})))
    return hspace.load(pair, tap=tap)


class PlainNetwork(nn.Module):
    """A network of one's own: no diffusers, a skip connection, an activation in place right behind h."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.time = nn.Linear(2, 6)
        self.down = nn.Conv2d(channels, 6, 4, stride=2, padding=1)
        self.inner = nn.Conv2d(6, 6, 3, padding=1)
        self.activation = nn.ReLU(inplace=True)
        self.up = nn.ConvTranspose2d(6, channels, 4, stride=2, padding=1)
        self.never = nn.Linear(1, 1)

    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        angle = timesteps.to(x_t)[:, None] / 10
        time = self.time(torch.cat([angle.sin(), angle.cos()], 1))
        h = self.activation(self.inner(self.down(x_t) + time[:, :, None, None]))
        return self.up(h) + 0.5 * x_t


def plain_denoiser(
    seed: int = 0, *, image_shape: Sequence[int] = IMAGE_SHAPE, dtype: torch.dtype = torch.float64, **options: Any
) -> Denoiser:
    """The adapter around it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = PlainNetwork(image_shape[0]).to(dtype)
    return Denoiser(
        network, scheduler().alphas_cumprod, image_shape=image_shape, **{"tap": "inner", "model_id": "plain", **options}
    )


class GaussianNetwork(nn.Module):
    r"""The exact eps for x_0 ~ N(mu, s^2 I); it has no weights at all.

    x_t ~ N(sqrt(alpha) mu, v) with v = alpha s^2 + 1 - alpha, so that
    E[eps | x_t] = sqrt(1 - alpha) (x_t - sqrt(alpha) mu) / v.
    """

    def __init__(self, alphas_cumprod: Tensor, mean: float, std: float) -> None:
        super().__init__()
        self.inner = nn.Identity()
        self.register_buffer("alphas", alphas_cumprod.double())
        self.mean, self.std = mean, std

    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        alpha = self.alphas[timesteps][:, None, None, None]
        variance = alpha * self.std**2 + 1 - alpha
        return (1 - alpha).sqrt() * (self.inner(x_t) - alpha.sqrt() * self.mean) / variance


def gaussian_denoiser(mean: float, std: float, *, size: int = 8) -> Denoiser:
    """DDPM's schedule of 1000 timesteps."""
    alphas = DDIMScheduler().alphas_cumprod
    network = GaussianNetwork(alphas, mean, std)
    return Denoiser(network, alphas, image_shape=(1, size, size), tap="inner", spacing="trailing")


@dataclass
class Shift:
    """An intervention written out: what is added to h at which timestep."""

    shifts: Mapping[int, Tensor]
    injection: Injection | None = None

    def bind(self, setting: Setting, device: torch.device) -> ShiftAt:
        return self.shifts.get

    def bind_start(self, setting: Setting, device: torch.device) -> None:
        return None


@dataclass
class FixedLatents:
    """Latents that are tensors: x_T (n, c, h, w) and z by timestep."""

    start: Tensor
    noise: Mapping[int, Tensor]

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, rows: slice | Sequence[int]) -> FixedLatents:
        return FixedLatents(self.start[rows], {t: z[rows] for t, z in self.noise.items()})

    def x_T(self) -> Tensor:
        return self.start

    def z(self, timestep: int) -> Tensor:
        return self.noise[timestep]

    def remainder(self) -> None:
        return None


def in_double(diffusers_scheduler: Any) -> Any:
    """A copy that calculates in float64, from the same float32 schedule."""
    exact = copy.deepcopy(diffusers_scheduler)
    for name in ("betas", "alphas", "alphas_cumprod", "final_alpha_cumprod", "one"):
        if hasattr(exact, name):
            setattr(exact, name, getattr(exact, name).double())
    return exact


def h_shifts(model: Denoiser, timesteps: Sequence[int], seed: int = 0, scale: float = 1.0) -> dict[int, Tensor]:
    """A random shift of h for every timestep."""
    generator = torch.Generator().manual_seed(seed)
    return {t: scale * torch.randn(model.h_shape, generator=generator, dtype=torch.float64) for t in timesteps}


def coefficients(model: Denoiser, timestep: int) -> tuple[float, float]:
    """sqrt(alpha_t), sqrt(1 - alpha_t)."""
    alpha = float(model.alphas_cumprod[timestep])
    return math.sqrt(alpha), math.sqrt(1 - alpha)


@contextmanager
def unchecked_types() -> Iterator[None]:
    """As on a user's machine, where no beartype comes before our own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
