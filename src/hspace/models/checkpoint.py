"""diffusers' folders: a network and a scheduler, with an autoencoder and text encoders where the model has them.

Converted checkpoints may hold one of `hspace.models.networks` instead. What can be known without reading weights comes
first (`hspace.models.parts`, `hspace.models.weightfiles`), then tokenizers, then weights, small ones first.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
import torch

from hspace.device import put
from hspace.errors import HspaceError
from hspace.hub import AGAIN, short
from hspace.models.denoiser import Denoiser
from hspace.models.parts import LEFT_OUT, Part, Parts, parts_of
from hspace.models.pipelines import codec_of, denoiser_of, denoiser_of_pipeline
from hspace.models.quiet import quietly
from hspace.models.weightfiles import WeightFiles, check_no_pointer, check_weights

__all__ = ["denoiser_of_folder"]


def denoiser_of_folder(folder: Path, model_id: str, *, tap: str | None) -> Denoiser:
    """A pipeline's folder, or a network and a scheduler in subfolders or side by side.

    Raises:
        HspaceError: No model in it, or one that can't be used, or not all of one.
    """
    parts = parts_of(folder)
    files = {part.name: check_weights(part.folder, part.library) for part in parts.weights}
    read: dict[str, Any] = {part.name: _tokenizer(part) for part in parts.tokenizers}
    read |= {part.name: _read(part, files[part.name]) for part in parts.weights}
    network = read[parts.network.name]
    autoencoder = None if parts.autoencoder is None else read[parts.autoencoder.name]
    if parts.text_encoders:
        model = denoiser_of_pipeline(
            _pipeline(folder, parts, {**read, "scheduler": parts.scheduler}), model_id=model_id, tap=tap
        )
    else:
        codec, notes = (None, ()) if autoencoder is None else codec_of(autoencoder)
        model = denoiser_of(network, parts.scheduler, model_id=model_id, tap=tap, codec=codec, notes=notes)
    variants = sorted({f"{name} {of.variant}" for name, of in files.items() if of.variant is not None})
    if variants:
        model.notes = (*model.notes, f"the folder has a variant of the weights only: {', '.join(variants)}")
    return model


def _pipeline(folder: Path, parts: Parts, given: dict[str, Any]) -> Any:
    """The pipeline of a folder around parts that are read already, for what it does with its text encoders."""
    left_out = {name: None for name, part in parts.index.items() if name in LEFT_OUT or part == [None, None]}
    try:
        with quietly("diffusers", "transformers"):
            return diffusers.DiffusionPipeline.from_pretrained(folder, local_files_only=True, **given, **left_out)
    except Exception as error:  # of diffusers, whatever it makes of model_index.json
        raise HspaceError(f"{folder}: the pipeline can't be read ({short(error)})") from error


def _tokenizer(part: Part) -> Any:
    """transformers makes do without a vocabulary: then every word is unknown, and all prompts are the same."""
    try:
        files = [path for path in part.folder.iterdir() if path.is_file()]
        for path in files:
            check_no_pointer(path)
        if "tokenizer.json" not in {path.name for path in files} and any(path.suffix == ".model" for path in files):
            _require_sentencepiece(part.folder)
        with quietly("transformers"):
            tokenizer = part.kind.from_pretrained(part.folder, local_files_only=True)
        words = len(tokenizer) - len(tokenizer.all_special_ids)
    except HspaceError:
        raise
    except Exception as error:  # of tokenizers, of JSON, of sentencepiece
        raise HspaceError(f"{part.folder}: the tokenizer can't be read ({short(error)}); {AGAIN}") from error
    if words < 1:
        found = ", ".join(sorted(path.name for path in files))
        raise HspaceError(
            f"{part.folder}: no vocabulary: expected tokenizer.json (or vocab.json, merges.txt), found {found}; {AGAIN}"
        )
    return tokenizer


def _require_sentencepiece(folder: Path) -> None:
    """T5's vocabulary in PixArt's repositories; what transformers says without it leads elsewhere."""
    if find_spec("sentencepiece") is None:
        raise HspaceError(f"{folder}: its vocabulary needs sentencepiece: pip install sentencepiece protobuf")


def _read(part: Part, files: WeightFiles) -> Any:
    """A network whose weights are all there, fit, and are finite."""
    options: dict[str, Any] = {"output_loading_info": True, "local_files_only": True}
    faults = ["missing_keys", "mismatched_keys", "error_msgs"]
    if part.library == "diffusers":
        options["low_cpu_mem_usage"] = False  # it would fill in what is missing later; and so weights become float32
        faults.insert(1, "unexpected_keys")  # transformers' text encoders may lie in the file of the whole model
    else:
        options["ignore_mismatched_sizes"] = True  # they are told as a fault, below
    try:
        with quietly(part.library):
            loaded: Any = part.kind.from_pretrained(
                part.folder, variant=files.variant, use_safetensors=files.safetensors, **options
            )
        network, info = loaded
    except Exception as error:  # wrong shapes, no such option: each library has its own
        raise HspaceError(f"{part.folder}: the weights can't be read ({short(error)})") from error
    for fault in faults:
        if info.get(fault):
            first = str(sorted(map(str, info[fault]))[0])
            raise HspaceError(
                f"{part.folder}: weights don't fit config.json ({len(info[fault])} {fault}: {first}, ...)"
            )
    for name, tensor in network.state_dict().items():
        if not bool(tensor.isfinite().all()):
            raise HspaceError(f"{part.folder}: weight {name} holds NaN or infinite numbers")
    put(network, str(part.folder), dtype=torch.float32)  # text encoders come as they were stored
    return network
