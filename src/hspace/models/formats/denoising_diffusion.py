"""lucidrains' denoising-diffusion-pytorch 1.0 to 2.3: `Unet` in `GaussianDiffusion`, as its `Trainer` saves it.

Source: https://github.com/lucidrains/denoising-diffusion-pytorch. Its linear attention is beyond diffusers'
`UNet2DModel`: the network is a `hspace.models.networks.DenoisingDiffusionUNet`. What its versions do differently shows
in the names of the tensors from 1.8 on; before, the version says it (files of the `Trainer` hold it).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

import torch
from torch import Tensor

from hspace.errors import HspaceError
from hspace.models.formats import schedules
from hspace.models.formats.layout import Blueprint, Checkpoint, Origin, choose

__all__ = ["OPTIONS", "TITLE", "blueprint", "recognises"]

TITLE = "denoising-diffusion-pytorch"
OPTIONS = frozenset({"image_size", "package_version"}) | schedules.OPTIONS

_BUFFERS = re.compile(
    r"betas|alphas_cumprod(_prev)?|(sqrt|log)_one_minus_alphas_cumprod|sqrt_alphas_cumprod|sqrt_recipm?1?_alphas_cumprod"
    r"|posterior_(variance|log_variance_clipped|mean_coef[12])|loss_weight|p2_loss_weight"
)
_LAYER_NORM_UNTIL, _STANDARDIZED_UNTIL, _MEAN_VALUES_UNTIL = (1, 7, 0), (1, 7, 2), (1, 7, 4)


def recognises(keys: frozenset[str]) -> bool:
    """Whether a network with tensors of these names is of this layout."""
    return {"init_conv.weight", "downs.0.0.block1.proj.weight", "mid_block1.block1.proj.weight"} <= keys


def blueprint(checkpoint: Checkpoint, options: Mapping[str, Any]) -> Blueprint:
    """What it becomes.

    Raises:
        HspaceError: A variant that is not supported; options are missing.
    """
    keys = checkpoint.tensors.keys()
    _check(checkpoint)
    if "image_size" not in options:
        raise HspaceError(f"{checkpoint.file}: doesn't say how large its pictures are: give the image size")
    levels = next(i for i in count() if f"downs.{i}.0.block1.proj.weight" not in keys)
    prenorm = "mid_attn.fn.fn.to_qkv.weight" in keys
    version = _version(checkpoint, options) if prenorm else (2, 0, 0)
    attentions = [_attention(i, prenorm) for i in range(levels)]
    full = [f"{attention}.to_out.weight" in keys for attention in attentions]
    heads = [_heads(checkpoint, attention) for attention in attentions]
    widths = [choose(checkpoint, f"downs.{i}.0.block1.proj.weight").shape[1] for i in range(levels)]
    memory = checkpoint.tensors.get("mid_attn.mem_kv")
    return Blueprint(
        network="DenoisingDiffusionUNet",
        config={
            "sample_size": options["image_size"],
            "in_channels": choose(checkpoint, "init_conv.weight").shape[1],
            "out_channels": choose(checkpoint, "final_conv.weight").shape[0],
            "time_channels": choose(checkpoint, "time_mlp.1.weight").shape[1],
            "channels": [*widths, choose(checkpoint, "mid_block1.block1.proj.weight").shape[0]],
            "full_attention": full,
            "attention_heads": [number for number, _ in heads],
            "attention_head_dims": [size for _, size in heads],
            "memory_tokens": 0 if memory is None else memory.shape[2],
            "block_norm": "rms" if "mid_block1.block1.norm.g" in keys else "group",
            "attention_norm": "layer" if version < _LAYER_NORM_UNTIL else "rms",
            "weight_standardized": version < _STANDARDIZED_UNTIL,
            "mean_values": version < _MEAN_VALUES_UNTIL,
        },
        origins={name: Origin(module) for name, module in _modules(levels, prenorm)},
        schedule=_schedule(checkpoint, options),
        buffers=frozenset(filter(_BUFFERS.fullmatch, checkpoint.buffers)),
    )


def _check(checkpoint: Checkpoint) -> None:
    keys, file = checkpoint.tensors.keys(), checkpoint.file
    if "downs.0.3.1.weight" not in keys and "downs.1.0.block1.proj.weight" in keys:
        raise HspaceError(f"{file}: written by a version before 1.0 of {TITLE}, which is not supported")
    if "time_mlp.0.weights" in keys:
        raise HspaceError(f"{file}: random or learned Fourier features of t are not supported")
    channels, outputs = (
        choose(checkpoint, "init_conv.weight").shape[1],
        choose(checkpoint, "final_conv.weight").shape[0],
    )
    if outputs not in (channels, 2 * channels):
        raise HspaceError(f"{file}: {channels} channels in, {outputs} out: self-conditioning is not supported")


def _version(checkpoint: Checkpoint, options: Mapping[str, Any]) -> tuple[int, ...]:
    """Of the package; the same names have had different arithmetic."""
    text = options.get("package_version") or checkpoint.version
    if text is None:
        raise HspaceError(
            f"{checkpoint.file}: written before version 1.8 of {TITLE}, but doesn't say by which: "
            "give the package version"
        )
    if not re.fullmatch(r"\d+\.\d+\.\d+", text):
        raise HspaceError(f"package version must look like 1.5.4, not {text!r}")
    version = tuple(int(part) for part in text.split("."))
    if not (1, 0, 0) <= version < (1, 8, 0):
        raise HspaceError(
            f"{checkpoint.file}: has the layout of versions before 1.8 of {TITLE}, of which those from 1.0 on are "
            f"supported, not {text}"
        )
    if version == (1, 7, 1):  # it alone clamps the variance
        raise HspaceError(f"{checkpoint.file}: written by version 1.7.1 of {TITLE}, which is not supported")
    return version


def _attention(level: int, prenorm: bool) -> str:
    return f"downs.{level}.2.fn.fn" if prenorm else f"downs.{level}.2"


def _heads(checkpoint: Checkpoint, attention: str) -> tuple[int, int]:
    """Number and size: the memory says it; before there was one, the package had 4 heads of 32 and no option."""
    memory = checkpoint.tensors.get(f"{attention}.mem_kv")
    inner = choose(checkpoint, f"{attention}.to_qkv.weight").shape[0] // 3
    heads = 4 if memory is None else memory.shape[1]
    return heads, inner // heads


def _schedule(checkpoint: Checkpoint, options: Mapping[str, Any]) -> dict[str, Any]:
    betas = checkpoint.buffers.get("betas")
    if betas is not None and (given := {"schedule", "train_timesteps"} & options.keys()):
        raise HspaceError(f"{checkpoint.file}: has betas of its own: leave out {' and '.join(sorted(given))}")
    if betas is None and "schedule" not in options:
        raise HspaceError(f"{checkpoint.file}: holds no betas: give the schedule (linear, cosine or sigmoid)")
    prediction = options.get("prediction_type") or _prediction(checkpoint.buffers)
    if prediction is None:
        raise HspaceError(
            f"{checkpoint.file}: doesn't say what the network predicts: give the prediction type "
            "(objective pred_noise: epsilon, pred_v: v_prediction, pred_x0: sample)"
        )
    return schedules.schedule(options, clip_sample=True, betas=betas, prediction_type=prediction)


def _prediction(buffers: Mapping[str, Tensor]) -> str | None:
    """Told by the loss weight that newer files have, which differs where noise prevails: 1, snr or snr / (snr + 1)."""
    weight, alphas_cumprod = buffers.get("loss_weight"), buffers.get("alphas_cumprod")
    if weight is None or alphas_cumprod is None or weight.shape != alphas_cumprod.shape:
        return None
    snr = (alphas_cumprod / (1 - alphas_cumprod)).double()
    noisy = (snr > 0.05) & (snr < 1)  # below any clip, and not where all of them vanish
    kinds = {"epsilon": torch.ones_like(snr), "sample": snr, "v_prediction": snr / (snr + 1)}
    fitting = [
        kind for kind, w in kinds.items() if noisy.any() and torch.allclose(weight.double()[noisy], w[noisy], rtol=1e-3)
    ]
    return fitting[0] if len(fitting) == 1 else None


def _modules(levels: int, prenorm: bool) -> Iterator[tuple[str, str]]:
    yield from (
        ("conv_in", "init_conv"),
        ("time_embedding.0", "time_mlp.1"),
        ("time_embedding.2", "time_mlp.3"),
        ("mid_block.resnets.0", "mid_block1"),
        ("mid_block.resnets.1", "mid_block2"),
        ("resnet_out", "final_res_block"),
        ("conv_out", "final_conv"),
    )
    yield from _attention_modules("mid_block.attentions.0", "mid_attn", prenorm)
    for level in range(levels):
        for block, original, resample in (
            (f"down_blocks.{level}", f"downs.{level}", "downsample"),
            (f"up_blocks.{level}", f"ups.{level}", "upsample"),
        ):
            yield f"{block}.resnets.0", f"{original}.0"
            yield f"{block}.resnets.1", f"{original}.1"
            yield from _attention_modules(f"{block}.attentions.0", f"{original}.2", prenorm)
            yield f"{block}.{resample}", f"{original}.3"


def _attention_modules(name: str, module: str, prenorm: bool) -> Iterator[tuple[str, str]]:
    yield name, f"{module}.fn.fn" if prenorm else module
    if prenorm:
        yield f"{name}.norm", f"{module}.fn.norm"
