"""diffusers' folders and objects: unconditional `UNet2DModel`s with any scheduler that has `alphas_cumprod`."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import UNet2DModel
from torch import nn

from hspace.errors import HspaceError
from hspace.models.bundled import BUNDLED
from hspace.models.denoiser import Denoiser

__all__ = ["denoiser_of", "denoiser_of_folder", "download"]

_TIMEOUT = 10  # seconds for the hub's first answer


def download(hub_id: str) -> Path:
    """The local copy of a hub repository, downloaded if need be; weights as safetensors where there are any.

    The hub is asked first, so that an interrupted download goes on; without a network the local copy has to do.

    Raises:
        HspaceError: No such repository, a gated one, or no network and no local copy.
    """
    from huggingface_hub import model_info, snapshot_download
    from huggingface_hub.errors import HFValidationError

    known = f"the bundled models are {', '.join(BUNDLED)}; a folder of that name does not exist"
    if hub_id.count("/") != 1:
        raise HspaceError(f"unknown model {hub_id!r}: {known}; hub ids look like owner/name")
    patterns = ["*.json", "*.safetensors", "*/*.json", "*/*.safetensors"]
    try:
        info = model_info(hub_id, timeout=_TIMEOUT)
        if not any(file.rfilename.endswith(".safetensors") for file in info.siblings or ()):
            patterns += ["*.bin", "*/*.bin"]  # read by diffusers with weights_only
        return Path(snapshot_download(hub_id, revision=info.sha, allow_patterns=patterns))
    except HFValidationError as error:
        raise HspaceError(f"unknown model {hub_id!r}: {known} and it is no hub id") from error
    except Exception as error:  # the hub's client has a dozen kinds for "not there" and "no network"
        try:
            return Path(snapshot_download(hub_id, local_files_only=True))
        except OSError:
            raise HspaceError(f"can't get model {hub_id!r} from the hub ({_short(error)}); {known}") from error


def denoiser_of_folder(folder: Path, model_id: str, *, tap: str) -> Denoiser:
    """A pipeline's folder, or a UNet and a scheduler in subfolders or side by side.

    Raises:
        HspaceError: No model in it, or one that can't be used.
    """
    unet_folder = folder / "unet" if (folder / "unet").is_dir() else folder
    scheduler_folder = folder / "scheduler" if (folder / "scheduler").is_dir() else folder
    config = _json(unet_folder / "config.json", folder, "no model: expected unet/config.json or config.json")
    if config.get("_class_name") != "UNet2DModel":
        raise HspaceError(f"{folder}: expected an unconditional UNet2DModel, found {config.get('_class_name')}")
    schedule = _json(scheduler_folder / "scheduler_config.json", folder, "no schedule: expected scheduler_config.json")
    scheduler_class = getattr(diffusers, schedule.get("_class_name", "DDIMScheduler"), None)
    if scheduler_class is None:
        raise HspaceError(f"{scheduler_folder}: diffusers has no scheduler {schedule['_class_name']}")
    try:
        scheduler = scheduler_class.from_config(schedule)
    except Exception as error:  # what its constructor makes of the file's values
        raise HspaceError(f"{scheduler_folder}: the schedule can't be used ({_short(error)})") from error
    try:
        loaded: Any = UNet2DModel.from_pretrained(
            unet_folder,
            torch_dtype=torch.float32,
            low_cpu_mem_usage=False,  # it would ask for accelerate
            output_loading_info=True,
        )
        unet, info = loaded
    except Exception as error:  # truncated, wrong shapes, not there: diffusers and safetensors each have their own
        raise HspaceError(f"{unet_folder}: the weights can't be read ({_short(error)})") from error
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
    if not isinstance(unet, UNet2DModel):
        raise HspaceError(
            f"expected an unconditional UNet2DModel, found {type(unet).__name__}; "
            "wrap a network of your own in hspace.Denoiser"
        )
    if config.class_embed_type is not None or config.num_class_embeds is not None:
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


def _json(path: Path, folder: Path, missing: str) -> dict[str, Any]:
    if not path.is_file():
        raise HspaceError(f"{folder}: {missing}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise HspaceError(f"{path} is no JSON ({error})") from error
    if not isinstance(data, dict):
        raise HspaceError(f"{path} is no JSON object but {type(data).__name__}")
    return data


def _short(error: Exception) -> str:
    """What an error of another library says, on one line and no longer than people read."""
    return textwrap.shorten(str(error), 240, placeholder=" ...") or type(error).__name__
