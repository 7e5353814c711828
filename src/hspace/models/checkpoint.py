"""diffusers' folders: a network and a scheduler, with an autoencoder and text encoders where the model has them.

Converted checkpoints may hold one of `hspace.models.networks` instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import nn

from hspace.device import put
from hspace.errors import HspaceError
from hspace.hub import read_json, short, snapshot
from hspace.models.bundled import BUNDLED
from hspace.models.denoiser import Denoiser
from hspace.models.pipelines import AUTOENCODERS, KINDS, codec_of, denoiser_of, denoiser_of_pipeline
from hspace.models.quiet import quietly

__all__ = ["denoiser_of_folder", "download"]

_NEEDS_TEXT = ("UNet2DConditionModel", "PixArtTransformer2DModel", "SD3Transformer2DModel")
_LEFT_OUT = ("safety_checker", "feature_extractor", "image_encoder")


def download(hub_id: str) -> Path:
    """The local copy of a hub repository, downloaded if need be; weights as safetensors where there are any.

    Raises:
        HspaceError: No such repository, a gated one, or no network and no local copy.
    """
    known = f"the bundled models are {', '.join(BUNDLED)}; a folder of that name does not exist"

    def wanted(files: Sequence[str]) -> list[str]:
        kinds = ["json", "txt", "model", "safetensors"]  # tokenizers have merges.txt and spiece.model
        if not any(name.endswith(".safetensors") for name in files):
            kinds.append("bin")  # read by diffusers with weights_only
        return [pattern for kind in kinds for pattern in (f"*.{kind}", f"*/*.{kind}")]

    return snapshot(hub_id, wanted, known).folder


def denoiser_of_folder(folder: Path, model_id: str, *, tap: str | None) -> Denoiser:
    """A pipeline's folder, or a network and a scheduler in subfolders or side by side.

    Raises:
        HspaceError: No model in it, or one that can't be used.
    """
    network_folder = next((folder / name for name in ("unet", "transformer") if (folder / name).is_dir()), folder)
    config = read_json(network_folder / "config.json", _no_model(folder))
    name = str(config.get("_class_name"))
    kinds = {kind.__name__: kind for kind in KINDS}
    if name not in kinds:
        raise HspaceError(f"{folder}: expected one of {', '.join(kinds)}, found {name}")
    scheduler = _scheduler(folder)
    network = _read(kinds[name], network_folder)
    autoencoder = _autoencoder(folder)
    if name in _NEEDS_TEXT:
        pipeline = _pipeline(folder, network_folder.name, network, autoencoder)
        return denoiser_of_pipeline(pipeline, model_id=model_id, tap=tap)
    codec, notes = (None, ()) if autoencoder is None else codec_of(autoencoder)
    return denoiser_of(network, scheduler, model_id=model_id, tap=tap, codec=codec, notes=notes)


def _no_model(folder: Path) -> str:
    """What to say of a folder without a network: a pipeline of another kind, or no model at all."""
    index = folder / "model_index.json"
    if not index.is_file():
        return f"{folder}: no model: expected unet/config.json or config.json"
    parts = read_json(index, "")
    names = ", ".join(name for name, part in parts.items() if isinstance(part, list)) or "none"
    if "unet" in parts or "transformer" in parts:
        return f"{folder}: the download is incomplete: model_index.json names a network that is not there"
    return (
        f"{folder}: a {parts.get('_class_name', 'pipeline')} has no U-Net (or transformer) to edit; its parts: {names}"
    )


def _scheduler(folder: Path) -> Any:
    scheduler_folder = folder / "scheduler" if (folder / "scheduler").is_dir() else folder
    schedule = read_json(
        scheduler_folder / "scheduler_config.json", f"{folder}: no schedule: expected scheduler_config.json"
    )
    scheduler_class = getattr(diffusers, schedule.get("_class_name", "DDIMScheduler"), None)
    if scheduler_class is None:
        raise HspaceError(f"{scheduler_folder}: diffusers has no scheduler {schedule['_class_name']}")
    try:
        return scheduler_class.from_config(schedule)
    except Exception as error:  # what its constructor makes of the file's values
        raise HspaceError(f"{scheduler_folder}: the schedule can't be used ({short(error)})") from error


def _autoencoder(folder: Path) -> Any:
    """None where there is none."""
    for name in AUTOENCODERS:
        if (folder / name).is_dir():
            config = read_json(folder / name / "config.json", f"{folder / name}: no autoencoder: expected config.json")
            kind = getattr(diffusers, str(config.get("_class_name")), None)
            if kind is None:
                raise HspaceError(f"{folder / name}: diffusers has no autoencoder {config.get('_class_name')}")
            return _read(kind, folder / name)
    return None


def _pipeline(folder: Path, network_name: str, network: nn.Module, autoencoder: Any) -> Any:
    """The pipeline of a folder around networks that are read already, for its text encoders."""
    index = read_json(folder / "model_index.json", f"{folder}: no text encoder: expected model_index.json")
    if find_spec("transformers") is None:
        raise HspaceError(f"{folder}: text-to-image needs transformers: pip install 'hspace[transformers]'")
    given = {network_name: network, **{name: autoencoder for name in AUTOENCODERS if name in index}}
    left_out = {name: None for name, part in index.items() if name in _LEFT_OUT or part == [None, None]}
    try:
        with quietly("diffusers", "transformers"):
            pipeline: Any = diffusers.DiffusionPipeline.from_pretrained(
                folder, local_files_only=True, **given, **left_out
            )
    except Exception as error:  # of diffusers, transformers and tokenizers, each its own
        raise HspaceError(f"{folder}: the pipeline can't be read ({short(error)})") from error
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            put(part, str(folder), dtype=torch.float32)  # text encoders come as they were stored
    return pipeline


def _read(kind: Any, folder: Path) -> Any:
    """A network whose weights are all there, fit, and are finite."""
    try:
        with quietly("diffusers"):
            loaded: Any = kind.from_pretrained(
                folder,
                low_cpu_mem_usage=False,  # it would fill in what is missing later; and so the weights become float32
                output_loading_info=True,
            )
        network, info = loaded
    except Exception as error:  # truncated, wrong shapes, not there: diffusers and safetensors each have their own
        raise HspaceError(f"{folder}: the weights can't be read ({short(error)})") from error
    for fault in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs"):
        if info.get(fault):
            first = str(sorted(map(str, info[fault]))[0])
            raise HspaceError(f"{folder}: weights don't fit config.json ({len(info[fault])} {fault}: {first}, ...)")
    for name, tensor in network.state_dict().items():
        if not bool(tensor.isfinite().all()):
            raise HspaceError(f"{folder}: weight {name} holds NaN or infinite numbers")
    return network
