"""Between latents and pictures: scale and shift, devices and precisions, batches of a bounded size."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, VQModel
from torch import Tensor

from hspace.models.codec import Codec


def autoencoder(kind: type[Any] = AutoencoderKL, **config: Any) -> Any:
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind(**blocks, block_out_channels=(4, 8), norm_num_groups=2, latent_channels=4, **config)


def latents(n: int, size: int = 8) -> Tensor:
    return torch.randn(n, 4, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", [AutoencoderKL, VQModel])
def test_scale_and_shift(kind: type[Any]) -> None:
    network = autoencoder(kind, scaling_factor=0.5)
    codec, x_0 = Codec(network, shift=0.25), latents(2)
    assert (codec.scale, codec.cell, codec.picture_shape((4, 8, 6))) == (0.5, 2, (3, 16, 12))
    pictures = codec.decode(x_0)
    with torch.no_grad():
        assert torch.equal(pictures, network.decode(x_0 / 0.5 + 0.25).sample)
        encoded = network.encode(pictures)
    mode = encoded.latent_dist.mode() if kind is AutoencoderKL else encoded.latents
    assert torch.equal(codec.encode(pictures), (mode - 0.25) * 0.5)


def test_no_weight_of_it_learns_and_no_graph_is_kept() -> None:
    codec = Codec(autoencoder())
    assert not any(p.requires_grad for p in codec.autoencoder.parameters())
    assert not codec.decode(latents(1).requires_grad_()).requires_grad


def test_what_goes_in_in_float64_comes_out_in_float64() -> None:
    codec, x_0 = Codec(autoencoder()), latents(2)
    pictures = codec.decode(x_0.double())
    assert pictures.dtype == codec.encode(pictures).dtype == torch.float64
    assert torch.equal(pictures.float(), codec.decode(x_0))


@pytest.mark.parametrize(
    ("n", "size", "passes"), [(3, 8, [3]), (5, 128, [4, 1]), (3, 256, [1, 1, 1]), (2, 264, [1, 1])]
)
def test_a_pass_has_few_pixels(n: int, size: int, passes: list[int]) -> None:
    """However many pictures there are: 512 x 512 pixels, or one picture that has more."""
    codec, seen = Codec(autoencoder(mid_block_add_attention=False)), []
    for part in (codec.autoencoder.decoder, codec.autoencoder.encoder):
        part.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    pictures = codec.decode(latents(n, size))
    assert seen == passes
    seen.clear()
    assert tuple(codec.encode(pictures).shape) == (n, 4, size, size)
    assert seen == passes


def test_tiles_of_diffusers_work_too() -> None:
    network = autoencoder(sample_size=16)
    codec, x_0 = Codec(network), latents(1, 16)
    whole = codec.decode(x_0)
    network.enable_tiling()
    tiled = codec.decode(x_0)
    assert tiled.shape == whole.shape
    assert not torch.equal(tiled, whole)  # group norms of a tile know nothing of the others
