"""From a checkpoint file to a folder: read, recognise, account for every tensor, write."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, cast

from diffusers import DDIMPipeline, DDIMScheduler
from torch import nn

from hspace.atomic import check_new_folder, writing_folder
from hspace.errors import HspaceError
from hspace.models.formats import ddpm, denoising_diffusion, guided
from hspace.models.formats.accounting import account
from hspace.models.formats.layout import Blueprint, Checkpoint, Format, build, names
from hspace.models.formats.reading import Weights, read_checkpoint
from hspace.models.formats.schedules import Beta
from hspace.models.prediction import PredictionType

__all__ = ["FORMATS", "Conversion", "convert"]

FORMATS: tuple[Format, ...] = cast("tuple[Format, ...]", (ddpm, guided, denoising_diffusion))
"""The layouts that are known, each a module."""


@dataclass(frozen=True)
class Conversion:
    """What came of it.

    Args:
        folder: What `hspace.load` opens.
        format: Title of the layout of the file.
        network: Class of the network: diffusers' UNet2DModel or one of `hspace.models.networks`.
        parameters: How many numbers it has.
        notes: What was assumed since the file doesn't say it.
    """

    folder: Path
    format: str
    network: str
    parameters: int
    notes: tuple[str, ...]


def convert(
    source: str | PathLike[str],
    folder: str | PathLike[str],
    *,
    image_size: int | None = None,
    heads: int | None = None,
    head_channels: int | None = None,
    new_attention_order: bool | None = None,
    schedule: Beta | None = None,
    train_timesteps: int | None = None,
    rescale_timesteps: bool | None = None,
    prediction_type: PredictionType | None = None,
    package_version: str | None = None,
    weights: Weights | None = None,
) -> Conversion:
    """Convert a checkpoint of DDPM-PyTorch, guided-diffusion or denoising-diffusion-pytorch to diffusers' layout.

    The layout is recognised by the names of the tensors. Every tensor is accounted for: none missing, none left over,
    each of the shape that the network needs. What a file can't tell is an option; those a layout doesn't know are
    refused.

    Args:
        source: .pt, .pth, .ckpt (tensors only: nothing in it is run) or .safetensors.
        folder: A new or empty one; it appears whole or not at all.
        image_size: Height and width of the pictures.
        heads: Number of attention heads (guided-diffusion's num_heads).
        head_channels: Channels of one head (num_head_channels).
        new_attention_order: use_new_attention_order of guided-diffusion.
        schedule: Of the betas; default linear, or the file's.
        train_timesteps: How many there are; default 1000, or as many as the file has betas.
        rescale_timesteps: rescale_timesteps of guided-diffusion: the network sees t * 1000 / train_timesteps.
        prediction_type: What the network predicts; default epsilon, or what the file tells.
        package_version: Of denoising-diffusion-pytorch, for files that don't hold it.
        weights: Those of the moving average or of the last step; default "ema" where there are such.

    Raises:
        HspaceError: No readable checkpoint, an unknown layout, tensors that don't fit it, options missing or unknown to
            it; a folder that isn't empty or can't be written.

    Example:
        >>> from hspace.models import convert
        >>> convert("celeba_hq.ckpt", "celeba-hq")
        Traceback (most recent call last):
        hspace.errors.HspaceError: celeba_hq.ckpt: expected a checkpoint file, found nothing
    """
    given = {
        "image_size": image_size,
        "heads": heads,
        "head_channels": head_channels,
        "new_attention_order": new_attention_order,
        "schedule": schedule,
        "train_timesteps": train_timesteps,
        "rescale_timesteps": rescale_timesteps,
        "prediction_type": prediction_type,
        "package_version": package_version,
    }
    options = {name: value for name, value in given.items() if value is not None}
    if image_size is not None and image_size < 1:
        raise HspaceError(f"image_size must be at least 1, not {image_size}")
    check_new_folder(folder)
    checkpoint = read_checkpoint(Path(source), weights)
    layout = _recognised(checkpoint)
    if unknown := options.keys() - layout.OPTIONS:
        raise HspaceError(f"{checkpoint.file}: {names(unknown)}: no option of {layout.TITLE} checkpoints")
    blueprint = layout.blueprint(checkpoint, options)
    network = build(blueprint)
    state = account(checkpoint, blueprint, {name: x.shape for name, x in network.state_dict().items()})
    network.load_state_dict(state, assign=True)
    _write(network, blueprint, Path(folder))
    count = sum(tensor.numel() for tensor in network.parameters())
    return Conversion(Path(folder), layout.TITLE, blueprint.network, count, blueprint.notes)


def _recognised(checkpoint: Checkpoint) -> Format:
    keys = frozenset(checkpoint.tensors)
    found = next((layout for layout in FORMATS if layout.recognises(keys)), None)
    if found is None:
        known = ", ".join(layout.TITLE for layout in FORMATS)
        raise HspaceError(f"{checkpoint.file}: expected a checkpoint of {known}, found tensors {names(keys)}")
    return found


def _write(network: nn.Module, blueprint: Blueprint, folder: Path) -> None:
    unet: Any = network
    scheduler = DDIMScheduler(**blueprint.schedule)
    with writing_folder(folder) as partial:
        if _runs_in_a_pipeline(blueprint):
            DDIMPipeline(unet, scheduler).save_pretrained(partial)
        else:
            unet.save_pretrained(partial / "unet")
            scheduler.save_pretrained(partial / "scheduler")


def _runs_in_a_pipeline(blueprint: Blueprint) -> bool:
    """Whether diffusers' own pipeline can: it knows no labels and no learned variance."""
    config = blueprint.config
    simple = config["in_channels"] == config["out_channels"] and "num_class_embeds" not in config
    return blueprint.network == "UNet2DModel" and simple
