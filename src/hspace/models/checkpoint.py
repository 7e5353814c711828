"""diffusers' folders and objects: unconditional `UNet2DModel`s with any scheduler that has `alphas_cumprod`.

Converted checkpoints may hold one of `hspace.models.networks` instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import UNet2DModel
from torch import nn

from hspace.errors import HspaceError
from hspace.hub import read_json, short, snapshot
from hspace.models.bundled import BUNDLED
from hspace.models.denoiser import Denoiser
from hspace.models.networks import NETWORKS

__all__ = ["denoiser_of", "denoiser_of_folder", "download"]


def download(hub_id: str) -> Path:
    """The local copy of a hub repository, downloaded if need be; weights as safetensors where there are any.

    Raises:
        HspaceError: No such repository, a gated one, or no network and no local copy.
    """
    known = f"the bundled models are {', '.join(BUNDLED)}; a folder of that name does not exist"

    def wanted(files: Sequence[str]) -> list[str]:
        kinds = ["json", "safetensors"]
        if not any(name.endswith(".safetensors") for name in files):
            kinds.append("bin")  # read by diffusers with weights_only
        return [pattern for kind in kinds for pattern in (f"*.{kind}", f"*/*.{kind}")]

    return snapshot(hub_id, wanted, known).folder


def denoiser_of_folder(folder: Path, model_id: str, *, tap: str) -> Denoiser:
    """A pipeline's folder, or a UNet and a scheduler in subfolders or side by side.

    Raises:
        HspaceError: No model in it, or one that can't be used.
    """
    unet_folder = folder / "unet" if (folder / "unet").is_dir() else folder
    scheduler_folder = folder / "scheduler" if (folder / "scheduler").is_dir() else folder
    config = read_json(unet_folder / "config.json", f"{folder}: no model: expected unet/config.json or config.json")
    kinds = {"UNet2DModel": UNet2DModel, **NETWORKS}
    if config.get("_class_name") not in kinds:
        raise HspaceError(f"{folder}: expected an unconditional UNet2DModel, found {config.get('_class_name')}")
    schedule = read_json(
        scheduler_folder / "scheduler_config.json", f"{folder}: no schedule: expected scheduler_config.json"
    )
    scheduler_class = getattr(diffusers, schedule.get("_class_name", "DDIMScheduler"), None)
    if scheduler_class is None:
        raise HspaceError(f"{scheduler_folder}: diffusers has no scheduler {schedule['_class_name']}")
    try:
        scheduler = scheduler_class.from_config(schedule)
    except Exception as error:  # what its constructor makes of the file's values
        raise HspaceError(f"{scheduler_folder}: the schedule can't be used ({short(error)})") from error
    try:
        loaded: Any = kinds[config["_class_name"]].from_pretrained(
            unet_folder,
            torch_dtype=torch.float32,
            low_cpu_mem_usage=False,  # it would ask for accelerate
            output_loading_info=True,
        )
        unet, info = loaded
    except Exception as error:  # truncated, wrong shapes, not there: diffusers and safetensors each have their own
        raise HspaceError(f"{unet_folder}: the weights can't be read ({short(error)})") from error
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if info.get(kind):
            first = str(sorted(map(str, info[kind]))[0])
            raise HspaceError(f"{unet_folder}: weights don't fit config.json ({len(info[kind])} {kind}: {first}, ...)")
    for name, tensor in unet.state_dict().items():
        if not bool(tensor.isfinite().all()):
            raise HspaceError(f"{unet_folder}: weight {name} holds NaN or infinite numbers")
    return denoiser_of(unet, scheduler, model_id=model_id, tap=tap)


def denoiser_of(unet: nn.Module, scheduler: Any, *, model_id: str, tap: str) -> Denoiser:
    """A UNet object with its scheduler.

    Raises:
        HspaceError: Class- or text-conditional, without a size, or a scheduler without alphas_cumprod.
    """
    config: Any = getattr(unet, "config", None)
    if not isinstance(unet, (UNet2DModel, *NETWORKS.values())):
        raise HspaceError(
            f"expected an unconditional UNet2DModel, found {type(unet).__name__}; "
            "wrap a network of your own in hspace.Denoiser"
        )
    if config.get("class_embed_type") is not None or config.get("num_class_embeds") is not None:
        raise HspaceError(f"{model_id}: class-conditional models aren't supported yet")
    alphas_cumprod = getattr(scheduler, "alphas_cumprod", None)
    if alphas_cumprod is None:
        found = type(scheduler).__name__
        raise HspaceError(f"{model_id}: {found} has no alphas_cumprod; expected a discrete schedule such as DDPM's")
    options: Any = scheduler.config
    notes = []
    if options.get("clip_sample") or options.get("thresholding"):
        notes.append("clip_sample is switched off: clipping x_0 would hide what a direction does")
    size = config.sample_size
    if size is None:
        raise HspaceError(f"{model_id}: the UNet's configuration has no sample_size, so that pictures have no size")
    height, width = (size, size) if isinstance(size, int) else size
    return Denoiser(
        unet,
        torch.as_tensor(alphas_cumprod),
        image_shape=(config.in_channels, height, width),
        tap=tap,
        prediction_type=options.get("prediction_type", "epsilon"),
        spacing=options.get("timestep_spacing", "leading"),
        steps_offset=options.get("steps_offset", 0),
        final_alpha=1.0 if options.get("set_alpha_to_one", True) else float(alphas_cumprod[0]),
        model_id=model_id,
        notes=notes,
    )
