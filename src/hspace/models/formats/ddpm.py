"""DDPM in PyTorch: the U-Net of Ho et al. (arXiv 2006.11239) as pytorch_diffusion, DDIM and SDEdit have it.

Sources: https://github.com/pesser/pytorch_diffusion, https://github.com/ermongroup/ddim and
https://github.com/ermongroup/SDEdit (`celeba_hq.ckpt`, `bedroom.ckpt`, `church_outdoor.ckpt`). All of it can be said in
diffusers' `UNet2DModel`: sine before cosine with frequencies over (half - 1), group norms with eps 1e-6, a
downsampling that pads right and below, one head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from hspace.errors import HspaceError
from hspace.models.formats import schedules
from hspace.models.formats.layout import Blueprint, Checkpoint, Origin, choose

__all__ = ["OPTIONS", "TITLE", "blueprint", "recognises"]

TITLE = "DDPM-PyTorch"
OPTIONS = frozenset({"image_size"}) | schedules.OPTIONS

_RESNET = {
    "norm1": "norm1",
    "conv1": "conv1",
    "time_emb_proj": "temb_proj",
    "norm2": "norm2",
    "conv2": "conv2",
    "conv_shortcut": "nin_shortcut",
}
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def recognises(keys: frozenset[str]) -> bool:
    """Whether a network with tensors of these names is of this layout."""
    return {"temb.dense.0.weight", "conv_in.weight", "mid.block_1.conv1.weight"} <= keys


def blueprint(checkpoint: Checkpoint, options: Mapping[str, Any]) -> Blueprint:
    """What it becomes.

    Raises:
        HspaceError: A variant that is not supported; the size of the pictures is not given and can't be guessed.
    """
    keys = checkpoint.tensors.keys()
    levels = next(i for i in count() if f"down.{i}.block.0.conv1.weight" not in keys)
    if not levels:
        raise HspaceError(f"{checkpoint.file}: tensor down.0.block.0.conv1.weight is missing")
    layers = next(j for j in count() if f"down.0.block.{j}.conv1.weight" not in keys)
    channels = [choose(checkpoint, f"down.{i}.block.0.conv1.weight").shape[0] for i in range(levels)]
    attended = [i for i in range(levels) if f"down.{i}.attn.0.q.weight" in keys]
    conv_in, conv_out = choose(checkpoint, "conv_in.weight"), choose(checkpoint, "conv_out.weight")
    if levels > 1 and "down.0.downsample.conv.weight" not in keys:
        raise HspaceError(f"{checkpoint.file}: down- and upsampling without convolution is not supported")
    if conv_in.shape[0] != channels[0]:
        raise HspaceError(
            f"{checkpoint.file}: a first level of another width than conv_in ({channels[0]} and {conv_in.shape[0]} "
            "channels) is not supported"
        )
    notes = schedules.described(options)
    if "image_size" not in options:
        if len(attended) != 1:
            raise HspaceError(f"{checkpoint.file}: doesn't say how large its pictures are: give the image size")
        notes = (f"image size {16 * 2 ** attended[0]}, assuming that attention is at 16 x 16", *notes)
    return Blueprint(
        network="UNet2DModel",
        config={
            "sample_size": options.get("image_size") or 16 * 2 ** attended[0],
            "in_channels": conv_in.shape[1],
            "out_channels": conv_out.shape[0],
            "block_out_channels": channels,
            "layers_per_block": layers,
            "down_block_types": ["AttnDownBlock2D" if i in attended else "DownBlock2D" for i in range(levels)],
            "up_block_types": ["AttnUpBlock2D" if i in attended else "UpBlock2D" for i in reversed(range(levels))],
            "downsample_padding": 0,
            "flip_sin_to_cos": False,
            "freq_shift": 1,
            "norm_eps": 1e-6,
            "attention_head_dim": None,
        },
        origins={name: Origin(module) for name, module in _modules(levels, layers)},
        schedule=schedules.schedule(options, clip_sample=False),
        notes=notes,
    )


def _modules(levels: int, layers: int) -> Iterator[tuple[str, str]]:
    yield from (("conv_in", "conv_in"), ("conv_norm_out", "norm_out"), ("conv_out", "conv_out"))
    yield from (("time_embedding.linear_1", "temb.dense.0"), ("time_embedding.linear_2", "temb.dense.1"))
    yield from _inside(_RESNET, "mid_block.resnets.0", "mid.block_1")
    yield from _inside(_ATTENTION, "mid_block.attentions.0", "mid.attn_1")
    yield from _inside(_RESNET, "mid_block.resnets.1", "mid.block_2")
    for level in range(levels):
        down, up = f"down_blocks.{level}", f"up_blocks.{levels - 1 - level}"
        for block, original, number in ((down, f"down.{level}", layers), (up, f"up.{level}", layers + 1)):
            for layer in range(number):
                yield from _inside(_RESNET, f"{block}.resnets.{layer}", f"{original}.block.{layer}")
                yield from _inside(_ATTENTION, f"{block}.attentions.{layer}", f"{original}.attn.{layer}")
        yield f"{down}.downsamplers.0.conv", f"down.{level}.downsample.conv"
        yield f"{up}.upsamplers.0.conv", f"up.{level}.upsample.conv"


def _inside(parts: Mapping[str, str], name: str, module: str) -> Iterator[tuple[str, str]]:
    yield from ((f"{name}.{part}", f"{module}.{original}") for part, original in parts.items())
