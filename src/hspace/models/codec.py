r"""Latent diffusion (Rombach et al., arXiv 2112.10752): x_0 is not the picture, but what an autoencoder makes of it.

x_0 = (E(picture) - shift) * scale,    picture = D(x_0 / scale + shift)
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hspace.device import put

__all__ = ["Codec"]

_PIXELS = 2**18  # in one pass of the autoencoder: a picture of 512 x 512, which takes about 1 GB in float32


class Codec:
    """An autoencoder of diffusers between latents and pictures.

    It works in batches of its own, of so few pixels that its memory does not grow with the number of pictures, and
    stays in float32 whatever the network computes in: those of SDXL overflow in float16.

    Args:
        autoencoder: `AutoencoderKL`, `VQModel` and the like.
        scale: Of the latents; default: its configuration's `scaling_factor`.
        shift: Of the latents; default: its configuration's `shift_factor`.

    Attributes:
        scale: May be set, for a checkpoint whose configuration has a wrong one.
        shift: Likewise.

    Example:
        >>> import torch
        >>> from diffusers import AutoencoderKL
        >>> from hspace.models.codec import Codec
        >>> codec = Codec(AutoencoderKL(block_out_channels=(4, 4), norm_num_groups=2, latent_channels=4,
        ...     down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2))
        >>> codec.cell, codec.decode(torch.zeros(1, 4, 8, 8)).shape
        (2, torch.Size([1, 3, 16, 16]))
    """

    def __init__(self, autoencoder: nn.Module, scale: float | None = None, shift: float | None = None) -> None:
        self.autoencoder: Any = autoencoder.eval().requires_grad_(False)
        config: Any = self.autoencoder.config
        self.scale = float(config.get("scaling_factor") or 1.0) if scale is None else scale
        self.shift = float(config.get("shift_factor") or 0.0) if shift is None else shift

    @property
    def cell(self) -> int:
        """Pixels of the picture along one cell of the latents."""
        config: Any = self.autoencoder.config
        levels: int = len(config.get("block_out_channels") or config.encoder_block_out_channels)
        return int(2 ** (levels - 1))

    def picture_shape(self, latent_shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(c, h, w) of the picture of a latent."""
        return (int(self.autoencoder.config.out_channels), latent_shape[1] * self.cell, latent_shape[2] * self.cell)

    @torch.no_grad()
    def decode(self, latents: Float[Tensor, "n c y x"]) -> Float[Tensor, "n k h w"]:
        """Pictures within about [-1, 1], on the latents' device and in their dtype."""
        per_pass = max(1, _PIXELS // (latents[0, 0].numel() * self.cell**2))
        parts = [
            self.autoencoder.decode(part.to(self._weight) / self.scale + self.shift).sample.to(latents)
            for part in latents.split(per_pass)
        ]
        return torch.cat(parts).contiguous()  # convolutions may leave another layout, and layouts differ in last bits

    @torch.no_grad()
    def encode(self, pictures: Float[Tensor, "n k h w"]) -> Float[Tensor, "n c y x"]:
        """Latents of pictures within [-1, 1], the most likely ones; on the pictures' device and in their dtype."""
        per_pass = max(1, _PIXELS // pictures[0, 0].numel())
        parts = []
        for part in pictures.split(per_pass):
            encoded = self.autoencoder.encode(part.to(self._weight))
            latents = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
            parts.append(((latents - self.shift) * self.scale).to(pictures))
        return torch.cat(parts).contiguous()

    def to(self, device: torch.device | str | None, name: str = "the autoencoder") -> Codec:
        """Moves it in place.

        Raises:
            HspaceError: There is no such device.
        """
        put(self.autoencoder, name, device)
        return self

    @property
    def _weight(self) -> Tensor:
        """Any of them: where it is, and in which precision."""
        weight: Tensor = next(self.autoencoder.parameters())
        return weight
