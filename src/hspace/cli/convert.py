"""`hspace convert`: a checkpoint in the layout of its original code becomes a folder that `--model` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from hspace.cli.session import say
from hspace.models import convert
from hspace.models.formats.reading import Weights
from hspace.models.formats.schedules import Beta
from hspace.models.prediction import PredictionType

__all__ = ["command"]


def command(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Checkpoint: .pt, .pth, .ckpt or .safetensors.")],
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="New folder, in diffusers' layout.")],
    image_size: Annotated[int | None, typer.Option(help="Height and width of the pictures.")] = None,
    heads: Annotated[int | None, typer.Option(help="Attention heads: num_heads of guided-diffusion.")] = None,
    head_channels: Annotated[
        int | None, typer.Option(help="Channels of one head: num_head_channels of guided-diffusion; 64 for P2.")
    ] = None,
    new_attention_order: Annotated[
        bool, typer.Option("--new-attention-order", help="use_new_attention_order of guided-diffusion.")
    ] = False,
    schedule: Annotated[
        str | None, typer.Option(help="linear, cosine or sigmoid. Default: the file's, else linear.")
    ] = None,
    train_timesteps: Annotated[
        int | None, typer.Option(help="Training timesteps. Default: the file's, or 1000.")
    ] = None,
    rescale_timesteps: Annotated[
        bool, typer.Option("--rescale-timesteps", help="rescale_timesteps of improved- and guided-diffusion.")
    ] = False,
    prediction: Annotated[
        str | None, typer.Option(help="epsilon, v_prediction or sample. Default: the file's, else epsilon.")
    ] = None,
    package_version: Annotated[
        str | None, typer.Option(help="Of denoising-diffusion-pytorch, for files that don't hold it.")
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="ema (the moving average) or model. Default: ema where there are such.")
    ] = None,
) -> None:
    """Convert a checkpoint of DDPM-PyTorch, guided-diffusion (ADM, P2) or denoising-diffusion-pytorch."""
    done = convert(
        source,
        folder,
        image_size=image_size,
        heads=heads,
        head_channels=head_channels,
        new_attention_order=new_attention_order or None,
        schedule=cast("Beta | None", schedule),  # checked by `convert`, in one line
        train_timesteps=train_timesteps,
        rescale_timesteps=rescale_timesteps or None,
        prediction_type=cast("PredictionType | None", prediction),
        package_version=package_version,
        weights=cast("Weights | None", weights),
    )
    for note in done.notes:
        say(f"note: {note}")
    size = f"{done.parameters / 1e6:.1f} M parameters"
    say(f"{done.format}, {size}, every tensor accounted for; opens with --model {folder}")
