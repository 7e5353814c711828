"""What a folder in diffusers' layout holds, by its JSON files alone: whether it is a model, and what is read of it.

    model_index.json                      the pipeline's class, and its parts: name, library, class
    unet/ or transformer/                 the network
    scheduler/scheduler_config.json       its schedule
    vae/ or vqvae/                        of latent diffusion
    text_encoder/, tokenizer/, ..._2/     of text-to-image

The first two rows may lie side by side in the folder itself, without model_index.json.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers

from hspace.errors import HspaceError
from hspace.hub import AGAIN, read_json, short
from hspace.models.pipelines import AUTOENCODERS, KINDS, NEED_TEXT, alphas_of, check_network
from hspace.models.quiet import quietly
from hspace.models.weightfiles import Library

__all__ = ["LEFT_OUT", "Part", "Parts", "no_model", "parts_of"]

LEFT_OUT = ("safety_checker", "feature_extractor", "image_encoder")
"""Parts of text-to-image pipelines that prompts don't need."""

_NETWORKS = ("unet", "transformer")
_RENAMED = {
    ("Transformer2DModel", "ada_norm_zero"): "DiTTransformer2DModel",
    ("Transformer2DModel", "ada_norm_single"): "PixArtTransformer2DModel",
}
"""By `norm_type`, since diffusers 0.28; the files of facebook/DiT-XL-2-256 and PixArt-alpha have the old name."""
_SCHEDULE = "scheduler_config.json"
_GET_IT_ALL = "load the whole pipeline's folder"


@dataclass(frozen=True)
class Part:
    """A network or a tokenizer with a folder of its own.

    Args:
        name: As in model_index.json.
        folder: Where it is.
        kind: Its class, of diffusers or transformers.
        config: What config.json says; of a tokenizer nothing.
    """

    name: str
    folder: Path
    kind: Any
    config: dict[str, Any]

    @property
    def library(self) -> Library:
        """Whose it is."""
        of_transformers = self.kind.__module__.partition(".")[0] == "transformers"
        return "transformers" if of_transformers else "diffusers"


@dataclass(frozen=True)
class Parts:
    """A model's parts.

    Args:
        network: That denoises.
        scheduler: diffusers' object.
        autoencoder: None for a pixel model.
        text_encoders: Of text-to-image.
        tokenizers: Of text-to-image.
        index: What model_index.json says; nothing where there is none.
    """

    network: Part
    scheduler: Any
    autoencoder: Part | None
    text_encoders: tuple[Part, ...]
    tokenizers: tuple[Part, ...]
    index: dict[str, Any]

    @property
    def weights(self) -> tuple[Part, ...]:
        """Those with weights, small ones first."""
        autoencoder = () if self.autoencoder is None else (self.autoencoder,)
        return (*autoencoder, *self.text_encoders, self.network)


def parts_of(folder: Path) -> Parts:
    """The parts of the model in a folder; only JSON files are opened.

    Raises:
        HspaceError: No model in it, one of a kind that isn't supported, or one whose folder lacks a part.
    """
    found = _names(folder)
    index = read_json(folder / "model_index.json", "") if "model_index.json" in found else {}
    network = _network(folder, found, index)
    scheduler = _scheduler(folder)
    autoencoder = _autoencoder(folder, index)
    if network.kind.__name__ not in NEED_TEXT:
        return Parts(network, scheduler, autoencoder, (), (), index)
    text_encoders, tokenizers = _text_parts(folder, index, network)
    return Parts(network, scheduler, autoencoder, text_encoders, tokenizers, index)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise HspaceError(f"{folder}: can't be read ({error.strerror})") from error


def _network(folder: Path, found: list[str], index: dict[str, Any]) -> Part:
    name = next((name for name in _NETWORKS if name in found), "")
    if not name and (named := next((name for name in _NETWORKS if _is_named(index, name)), "")):
        if "config.json" not in found:  # side by side, as in google/ddpm-celebahq-256
            raise HspaceError(f"{folder}: model_index.json names a {named}, but {named}/ is not there; {AGAIN}")
        name = named
    elif not name and index:
        raise HspaceError(f"{folder}: {_other_pipeline(index)}")
    elif not name and "config.json" not in found:
        raise HspaceError(no_model(folder, found))
    inside = folder / name if name in found else folder
    config = read_json(inside / "config.json", f"{inside}: no model: expected config.json; {AGAIN}")
    class_name = str(config.get("_class_name"))
    class_name = _RENAMED.get((class_name, str(config.get("norm_type"))), class_name)
    kind = {kind.__name__: kind for kind in KINDS}.get(class_name)
    if kind is None:
        raise HspaceError(f"{inside}: {_other_network(config)}")
    check_network(kind, config, str(inside))
    return Part(name or "unet", inside, kind, config)


def _is_named(index: dict[str, Any], name: str) -> bool:
    """Whether model_index.json says that there is such a part."""
    entry = index.get(name)
    return isinstance(entry, list) and len(entry) == 2 and None not in entry


def _other_pipeline(index: dict[str, Any]) -> str:
    names = ", ".join(name for name in index if _is_named(index, name)) or "none"
    return f"a {index.get('_class_name', 'pipeline')} has no U-Net (or transformer) to edit; its parts: {names}"


def no_model(folder: Path | str, found: Collection[str]) -> str:
    """What a folder or repository without a network is instead, of the names of its files."""
    return f"{folder}: no model: expected unet/config.json or config.json, {_other_folder(sorted(found))}"


def _other_folder(found: Sequence[str]) -> str:
    if "adapter_config.json" in found or "pytorch_lora_weights.safetensors" in found:
        return "found a LoRA: load it into its pipeline (load_lora_weights) and give that pipeline to hspace.load"
    single = next((name for name in found if name.endswith((".safetensors", ".ckpt", ".pt", ".pth", ".gguf"))), None)
    if single is not None:
        return f"found the file {single}: `hspace convert` makes a folder of it where it knows its layout"
    if any(name.endswith((".incomplete", ".part", ".tmp")) for name in found):
        return f"found parts of files; {AGAIN}"
    return f"found {', '.join(found[:4])}{', ...' if len(found) > 4 else ''}" if found else "found an empty folder"


def _other_network(config: dict[str, Any]) -> str:
    """What a config.json of something else says."""
    name, known = config.get("_class_name"), ", ".join(kind.__name__ for kind in KINDS)
    if isinstance(name, str):
        if "ControlNet" in name or "Adapter" in name:
            return f"a {name} steers another network: load the model that it belongs to"
        if name in ("UNetUnconditionalModel", "UNetLDMModel", "UNetModel", "UNetConditionalModel"):
            return f"{name} is of diffusers before 0.2: get the current revision of the model"
        if name.startswith("Autoencoder") or name == "VQModel":
            return f"found {name} without its network: {_GET_IT_ALL}"
        return f"expected one of {known}, found {name}"
    model = (config.get("architectures") or [config.get("model_type")])[0]
    if model is not None:
        return f"expected one of {known}, found transformers' {model}"
    return f"expected one of {known}, found a config.json without _class_name, which is none of diffusers'"


def _scheduler(folder: Path) -> Any:
    inside = folder / "scheduler" if (folder / "scheduler").is_dir() else folder
    above = (folder.resolve().parent / "model_index.json").is_file()
    advice = "this is a part of a model, load the folder above it" if above else AGAIN
    schedule = read_json(
        inside / _SCHEDULE, f"{folder}: no schedule: expected scheduler/{_SCHEDULE} or {_SCHEDULE}; {advice}"
    )
    kind = _kind(schedule.get("_class_name", "DDIMScheduler"), diffusers.SchedulerMixin)
    if kind is None:
        raise HspaceError(f"{inside}: diffusers has no scheduler {schedule['_class_name']}")
    try:
        with quietly("diffusers"):
            scheduler = kind.from_config(schedule)
    except Exception as error:  # what its constructor makes of the file's values
        raise HspaceError(f"{inside}: the schedule can't be used ({short(error)})") from error
    alphas_of(scheduler, str(inside))
    return scheduler


def _autoencoder(folder: Path, index: dict[str, Any]) -> Part | None:
    name = next((name for name in AUTOENCODERS if (folder / name).is_dir() or _is_named(index, name)), None)
    if name is None:
        return None
    config = read_json(folder / name / "config.json", f"{folder / name}: no autoencoder: expected config.json; {AGAIN}")
    kind = _kind(config.get("_class_name"), diffusers.ModelMixin)
    if kind is None:
        raise HspaceError(f"{folder / name}: diffusers has no autoencoder {config.get('_class_name')}")
    return Part(name, folder / name, kind, config)


def _kind(name: Any, base: Any) -> Any:
    """diffusers' class of a name that a file has; None where there is none of that base."""
    kind = getattr(diffusers, str(name), None)
    return kind if isinstance(kind, type) and issubclass(kind, base) else None


def _text_parts(folder: Path, index: dict[str, Any], network: Part) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """Text encoders and tokenizers, as model_index.json names them."""
    kind = network.kind.__name__
    if not index:
        raise HspaceError(f"{folder}: a {kind} needs its text encoder: expected model_index.json; {_GET_IT_ALL}")
    pipeline, _ = index.get("_class_name"), _transformers(folder)
    with quietly("diffusers", "transformers"):  # a pipeline's module is imported here
        known = isinstance(pipeline, str) and hasattr(diffusers, pipeline)
    if not known:
        raise HspaceError(f"{folder / 'model_index.json'}: diffusers has no pipeline {pipeline}")
    named = {name: index[name] for name in index if _is_named(index, name)}
    others = named.keys() - {*_NETWORKS, *AUTOENCODERS, *LEFT_OUT, "scheduler"}
    encoders = sorted(name for name in others if name.startswith("text_encoder"))
    tokenizers = sorted(name for name in others if name.startswith("tokenizer"))
    if unknown := sorted(others - {*encoders, *tokenizers}):
        raise HspaceError(
            f"{folder}: {pipeline}'s {', '.join(unknown)} isn't supported; without it, its pipeline is a model"
        )
    if index.get("requires_aesthetics_score"):
        raise HspaceError(f"{folder}: a refiner, which finishes pictures of another model, isn't supported")
    if not encoders:
        raise HspaceError(f"{folder}: a {kind} needs its text encoder; model_index.json names none")
    text_encoders = tuple(_text_part(folder, name, named[name], "config.json") for name in encoders)
    return text_encoders, tuple(_text_part(folder, name, named[name], "tokenizer_config.json") for name in tokenizers)


def _transformers(folder: Path) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise HspaceError(
            f"{folder}: text-to-image models need transformers ({error}): pip install 'hspace[transformers]'"
        ) from error
    return transformers


def _text_part(folder: Path, name: str, entry: list[Any], description: str) -> Part:
    with quietly("transformers"):
        kind = getattr(_transformers(folder), str(entry[1]), None)
    if entry[0] != "transformers" or kind is None:
        raise HspaceError(f"{folder}: model_index.json: {entry[0]} has no {entry[1]} for {name}")
    missing = f"{folder}: model_index.json names a {name}, but {name}/{description} is not there; {AGAIN}"
    return Part(name, folder / name, kind, read_json(folder / name / description, missing))
