"""guided-diffusion (ADM) and what descends from the same code: improved-diffusion, P2-weighting.

Sources: Dhariwal & Nichol, arXiv 2105.05233, https://github.com/openai/guided-diffusion; Nichol & Dhariwal,
arXiv 2102.09672, https://github.com/openai/improved-diffusion; Choi et al., arXiv 2204.00227,
https://github.com/jychoi118/P2-weighting.

diffusers' `UNet2DModel` says it with cosine before sine, frequencies over half the width, scale and shift behind the
second group norm, residual blocks that down- and upsample, and heads of one size. Where it can't (a number of heads
while attended levels differ in width, a first level narrower than the time embedding, timesteps rescaled to 1000), the
network is a `hspace.models.networks.GuidedUNet2DModel`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from hspace.errors import HspaceError
from hspace.models.formats import schedules
from hspace.models.formats.layout import Blueprint, Checkpoint, Origin, choose

__all__ = ["OPTIONS", "TITLE", "blueprint", "recognises"]

TITLE = "guided-diffusion"
OPTIONS = (
    frozenset({"image_size", "heads", "head_channels", "new_attention_order", "rescale_timesteps"}) | schedules.OPTIONS
)

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


class _Shape(NamedTuple):
    """What keys and shapes tell.

    Args:
        channels: Of each level.
        layers: Residual blocks of a level.
        attended: Levels with attention.
        resnet_updown: Whether residual blocks down- and upsample.
    """

    channels: tuple[int, ...]
    layers: int
    attended: tuple[int, ...]
    resnet_updown: bool


def recognises(keys: frozenset[str]) -> bool:
    """Whether a network with tensors of these names is of this layout."""
    return {"time_embed.0.weight", "input_blocks.0.0.weight", "middle_block.0.in_layers.0.weight"} <= keys


def blueprint(checkpoint: Checkpoint, options: Mapping[str, Any]) -> Blueprint:
    """What it becomes.

    Raises:
        HspaceError: A classifier, an upsampler, a variant that is not supported; options are missing.
    """
    shape = _shape(checkpoint)
    levels, (channels, layers, attended, _) = len(shape.channels), shape
    conv_in, conv_out = choose(checkpoint, "input_blocks.0.0.weight"), choose(checkpoint, "out.2.weight")
    if conv_in.shape[1] not in (conv_out.shape[0], conv_out.shape[0] / 2) or conv_in.shape[1] > 4:
        raise HspaceError(
            f"{checkpoint.file}: {conv_in.shape[1]} channels in, {conv_out.shape[0]} out: networks that are given "
            "another picture beside x_t (upsamplers) are not supported"
        )
    if "image_size" not in options:
        raise HspaceError(f"{checkpoint.file}: doesn't say how large its pictures are: give the image size")
    heads_of = _heads(checkpoint, options)
    heads = {level: heads_of(channels[level]) for level in (*attended, levels - 1)}
    head_dims = {channels[level] // number for level, number in heads.items()}
    time_channels = choose(checkpoint, "time_embed.0.weight").shape[1]
    scale = 1000 / options.get("train_timesteps", 1000) if options.get("rescale_timesteps") else 1.0
    config: dict[str, Any] = {
        "sample_size": options["image_size"],
        "in_channels": conv_in.shape[1],
        "out_channels": conv_out.shape[0],
        "block_out_channels": channels,
        "layers_per_block": layers,
        "down_block_types": [_block("Down", level, shape) for level in range(levels)],
        "up_block_types": [_block("Up", level, shape) for level in reversed(range(levels))],
        "downsample_type": "resnet" if shape.resnet_updown else "conv",
        "upsample_type": "resnet" if shape.resnet_updown else "conv",
        "attention_head_dim": head_dims.pop() if len(head_dims) == 1 else None,
        "attn_norm_num_groups": 32,
        "resnet_time_scale_shift": _time_scale_shift(checkpoint, channels[0]),
    }
    if "label_emb.weight" in checkpoint.tensors:
        config["num_class_embeds"] = checkpoint.tensors["label_emb.weight"].shape[0]
    beyond: dict[str, Any] = {}
    if config["attention_head_dim"] is None:
        beyond["num_attention_heads"] = options["heads"]
    if time_channels != channels[0]:
        beyond["time_channels"] = time_channels
        config["time_embedding_dim"] = choose(checkpoint, "time_embed.0.weight").shape[0]
    if scale != 1:
        beyond["timestep_scale"] = scale
    new_order = bool(options.get("new_attention_order"))
    return Blueprint(
        network="GuidedUNet2DModel" if beyond else "UNet2DModel",
        config=config | beyond,
        origins=dict(_modules(shape, heads, new_order)),
        schedule=schedules.schedule(options, clip_sample=True),
        notes=schedules.described(options),
    )


def _shape(checkpoint: Checkpoint) -> _Shape:
    """The last block of each level but the outermost ends in an upsampling, and there is one block more than layers."""
    keys = checkpoint.tensors.keys()
    number = len({match[1] for key in keys if (match := re.match(r"output_blocks\.(\d+)\.", key))})
    if not number:
        raise HspaceError(f"{checkpoint.file}: has no output_blocks: a classifier, not a denoiser")
    upsampling = [
        i
        for i in range(number)
        if any(re.match(rf"output_blocks\.{i}\.[12]\.(conv|in_layers\.2)\.weight", key) for key in keys)
    ]
    each = upsampling[0] + 1 if upsampling else number
    if number % each or upsampling != list(range(each - 1, number - 1, each)):
        raise HspaceError(f"{checkpoint.file}: down- and upsampling without convolution is not supported")
    layers, levels = each - 1, number // each
    first = [1 + level * each for level in range(levels)]  # of input_blocks, which downsample last
    channels = tuple(choose(checkpoint, f"input_blocks.{i}.0.out_layers.3.weight").shape[0] for i in first)
    attended = tuple(level for level, i in enumerate(first) if f"input_blocks.{i}.1.qkv.weight" in keys)
    return _Shape(channels, layers, attended, f"input_blocks.{each}.0.in_layers.0.weight" in keys and levels > 1)


def _heads(checkpoint: Checkpoint, options: Mapping[str, Any]) -> Callable[[int], int]:
    """Number of heads by width."""
    heads: int | None = options.get("heads")
    head_channels: int = options.get("head_channels", 0)
    if (heads is None) == ("head_channels" not in options):
        raise HspaceError(
            f"{checkpoint.file}: doesn't say into how many heads attention is split: give either their channels "
            "(num_head_channels: 64 for ADM at 256 and 512, LSUN, P2) or their number (num_heads: 4 for ADM at 128)"
        )

    def of(channels: int) -> int:
        number = heads if heads is not None else channels // max(head_channels, 1)
        if number < 1 or channels % number or (heads is None and channels != number * head_channels):
            size = f"{heads} heads" if heads is not None else f"heads of {head_channels} channels"
            raise HspaceError(f"{checkpoint.file}: attention over {channels} channels can't be split into {size}")
        return number

    return of


def _time_scale_shift(checkpoint: Checkpoint, channels: int) -> str:
    outputs = choose(checkpoint, "input_blocks.1.0.emb_layers.1.weight").shape[0]
    return "scale_shift" if outputs == 2 * channels else "default"


def _block(kind: str, level: int, shape: _Shape) -> str:
    if level in shape.attended:
        return f"Attn{kind}Block2D"
    return f"Resnet{kind}sampleBlock2D" if shape.resnet_updown else f"{kind}Block2D"


def _modules(shape: _Shape, heads: Mapping[int, int], new_order: bool) -> Iterator[tuple[str, Origin]]:
    levels, each = len(shape.channels), shape.layers + 1
    attention = {level: partial(_attention, heads=number, new_order=new_order) for level, number in heads.items()}
    for name, module in (
        ("conv_in", "input_blocks.0.0"),
        ("time_embedding.linear_1", "time_embed.0"),
        ("time_embedding.linear_2", "time_embed.2"),
        ("class_embedding", "label_emb"),
        ("conv_norm_out", "out.0"),
        ("conv_out", "out.2"),
    ):
        yield name, Origin(module)
    yield from _resnet("mid_block.resnets.0", "middle_block.0")
    yield from attention[levels - 1]("mid_block.attentions.0", "middle_block.1")
    yield from _resnet("mid_block.resnets.1", "middle_block.2")
    for level in range(levels):
        down, up = f"down_blocks.{level}", f"up_blocks.{levels - 1 - level}"
        first_in, first_out = 1 + level * each, (levels - 1 - level) * each
        for block, originals in (
            (down, [f"input_blocks.{first_in + i}" for i in range(shape.layers)]),
            (up, [f"output_blocks.{first_out + i}" for i in range(each)]),
        ):
            for i, original in enumerate(originals):
                yield from _resnet(f"{block}.resnets.{i}", f"{original}.0")
                if level in shape.attended:
                    yield from attention[level](f"{block}.attentions.{i}", f"{original}.1")
        downsampler = f"input_blocks.{first_in + shape.layers}.0"
        upsampler = f"output_blocks.{first_out + shape.layers}.{2 if level in shape.attended else 1}"
        if shape.resnet_updown:
            yield from _resnet(f"{down}.downsamplers.0", downsampler)
            yield from _resnet(f"{up}.upsamplers.0", upsampler)
        else:
            yield f"{down}.downsamplers.0.conv", Origin(f"{downsampler}.op")
            yield f"{up}.upsamplers.0.conv", Origin(f"{upsampler}.conv")


def _resnet(name: str, module: str) -> Iterator[tuple[str, Origin]]:
    yield from ((f"{name}.{part}", Origin(f"{module}.{original}")) for part, original in _RESNET.items())


def _attention(name: str, module: str, *, heads: int, new_order: bool) -> Iterator[tuple[str, Origin]]:
    yield f"{name}.group_norm", Origin(f"{module}.norm")
    yield f"{name}.to_out.0", Origin(f"{module}.proj_out")
    for index, part in enumerate(("to_q", "to_k", "to_v")):
        yield f"{name}.{part}", Origin(f"{module}.qkv", partial(_one_of_qkv, index=index, heads=heads, new=new_order))


def _one_of_qkv(qkv: Tensor, *, index: int, heads: int, new: bool) -> Tensor:
    """Rows of q, k or v: in the new order all of q come first, in the old one each head has its own q, k and v."""
    if new:
        return qkv.chunk(3)[index]
    each = qkv.reshape(heads, 3, -1, *qkv.shape[1:])
    return each[:, index].flatten(0, 1)
