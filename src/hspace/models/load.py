"""A checkpoint, wherever it is, becomes a Denoiser."""

from __future__ import annotations

import stat
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hspace.device import default_device
from hspace.errors import HspaceError
from hspace.models.bundled import BUNDLED, bundled_folder
from hspace.models.checkpoint import denoiser_of_folder
from hspace.models.conditioning import Shifted
from hspace.models.denoiser import Denoiser
from hspace.models.pipelines import denoiser_of, denoiser_of_pipeline
from hspace.models.repository import download
from hspace.models.singlefile import not_a_folder
from hspace.models.wrappers import network_of, unwrapped
from hspace.usercode import import_function, names_function

__all__ = ["load"]

_SLOW = "float16 takes tens of times longer than float32 on a CPU: bfloat16 is for it"


def load(
    source: str | PathLike[str] | Denoiser | Any,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    tap: str | None = None,
    *,
    prompt: str | None = None,
    negative_prompt: str | None = None,
    label: int | None = None,
    guidance_scale: float | None = None,
    shifted: Shifted | None = None,
    channels_last: bool = False,
    compile: bool = False,
) -> Denoiser:
    """Load a diffusion model.

    Args:
        source: One of

            * `"faces64"`, the bundled model;
            * a folder in diffusers' layout: a pipeline, or a UNet and a scheduler (in `unet/` and `scheduler/`, or
              side by side);
            * a hub id such as `"google/ddpm-ema-celebahq-256"`;
            * `"package.module:function"` or `"file.py:function"`, a function without arguments that returns a
              `Denoiser` (or any other source);
            * a pipeline object with `.unet` (or `.transformer`) and `.scheduler`, or a pair `(unet, scheduler)`;
            * a `Denoiser`, the adapter for a network of your own.
        device: Default: the GPU if there is one; objects and what functions return stay where they are.
        dtype: In which the network computes. Default: float32; objects and what functions return keep theirs.
        tap: Where h is: `"mid_block"`, `"before"`, `"middle"`, `"after"` or any module's name. Default: `"mid_block"`,
            of a transformer the block in the middle; a `Denoiser` keeps its own.
        prompt: For text-to-image models; default "". This and the following as in `Denoiser.conditioned`, which gives
            the same model other ones.
        negative_prompt: Text to guide away from.
        label: Class, for class-conditional models.
        guidance_scale: How strongly the prompt or class guides. Default: that of the model's pipeline where a prompt or
            label is given, else 1.
        shifted: Whether shifts of h go into "both" passes of guidance or into the "conditional" one. Default: both.
        channels_last: Whether the network lies in memory channels last: `Denoiser.channels_last`.
        compile: Whether its stages run through torch.compile: `Denoiser.compiled`.

    Raises:
        HspaceError: Nothing of that name; no model in the folder; unreadable, truncated or non-finite weights;
            weights that don't fit the configuration; a kind of model that isn't supported; no such tap; a prompt or
            label of a model that takes none.

    Example:
        >>> import hspace
        >>> model = hspace.load("faces64", device="cpu")
        >>> model.image_shape, model.h_shape
        ((3, 64, 64), (128, 8, 8))
    """
    model = _loaded(source, device, dtype, tap)
    if any(value is not None for value in (prompt, negative_prompt, label, guidance_scale, shifted)):
        model = model.conditioned(
            prompt, negative_prompt=negative_prompt, label=label, guidance_scale=guidance_scale, shifted=shifted
        )
    if model.dtype == torch.float16 and model.device.type == "cpu" and _SLOW not in model.notes:
        model.notes = (*model.notes, _SLOW)
    if channels_last:
        model = model.channels_last()
    return model.compiled() if compile else model


def _loaded(
    source: str | PathLike[str] | Denoiser | Any,
    device: str | torch.device | None,
    dtype: torch.dtype | None,
    tap: str | None,
) -> Denoiser:
    if isinstance(source, Denoiser):
        return (source if tap is None else source.tapped(tap)).to(device, dtype)
    if isinstance(source, (str, PathLike)):
        if names_function(str(source)):
            return _loaded(import_function(str(source))(), device or default_device(), dtype, tap)
        return _named(str(source), tap).to(device or default_device(), dtype)
    if isinstance(source, tuple) and len(source) == 2 and isinstance(source[0], nn.Module):
        network, scheduler = source
        return denoiser_of(network, scheduler, model_id=_name_of(unwrapped(network)), tap=tap).to(device, dtype)
    if not hasattr(source, "scheduler"):
        raise HspaceError(
            f"{type(source).__name__} is no model: expected a name, a folder, a pipeline with .unet and .scheduler, "
            "a pair (unet, scheduler) or a Denoiser"
        )
    return denoiser_of_pipeline(source, model_id=_name_of(network_of(source)), tap=tap).to(device, dtype)


def _name_of(network: Any) -> str:
    return str(getattr(network, "name_or_path", "") or type(network).__name__)


def _named(name: str, tap: str | None) -> Denoiser:
    """The model of a name: bundled, then a folder, then the hub."""
    if name in BUNDLED:
        return denoiser_of_folder(bundled_folder(name), name, tap=tap)
    if not name:  # as a path it would be the folder that one is in
        return _of_hub(name, tap)
    try:
        kind = Path(name).stat().st_mode
    except PermissionError as error:
        raise HspaceError(f"{name}: can't be read ({error.strerror})") from error
    except (OSError, ValueError):  # not there, too long, or of no file's name at all
        return _of_hub(name, tap)
    if not stat.S_ISDIR(kind):
        raise HspaceError(not_a_folder(Path(name)))
    return denoiser_of_folder(Path(name), Path(name).resolve().name, tap=tap)


def _of_hub(name: str, tap: str | None) -> Denoiser:
    found = download(name)
    try:
        return denoiser_of_folder(found.folder, name, tap=tap)
    except HspaceError as error:
        if found.problem is None:
            raise
        raise HspaceError(f"{error}; {name!r} can't be completed from the hub ({found.problem})") from error
