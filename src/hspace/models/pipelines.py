"""diffusers' objects: a network with its scheduler, or a pipeline with an autoencoder and text encoders beside them.

| network | condition | pictures |
|---|---|---|
| `UNet2DModel` | none; a class where it has `num_class_embeds` | x_0, or through a `vqvae` or `vae` |
| `UNet2DConditionModel` (Stable Diffusion 1.x, 2.x, XL) | a prompt | through the `vae` |
| `DiTTransformer2DModel` | a class | through the `vae` |
| `PixArtTransformer2DModel`, `SD3Transformer2DModel` | a prompt | through the `vae` |
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import torch
from diffusers import (
    DiTPipeline,
    DiTTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    UNet2DModel,
)
from torch import Tensor, nn

from hspace.errors import HspaceError
from hspace.models.codec import Codec
from hspace.models.conditioning import Conditioner, Labels, Prompts, usual_guidance_scale
from hspace.models.denoiser import Denoiser
from hspace.models.networks import NETWORKS
from hspace.models.prediction import PredictionType, alphas_of_flow
from hspace.models.wrappers import network_of, unwrapped

__all__ = [
    "AUTOENCODERS",
    "KINDS",
    "NEED_TEXT",
    "alphas_of",
    "check_network",
    "codec_of",
    "denoiser_of",
    "denoiser_of_pipeline",
]

AUTOENCODERS = ("vae", "vqvae")
"""Names of a pipeline's autoencoder."""

_MORE_THAN_TEXT = (
    *("class_embed_type", "num_class_embeds", "encoder_hid_dim_type", "time_cond_proj_dim"),
    "addition_embed_type",  # text_time, of SDXL, is known
)
"""Of upscalers, of unCLIP, of DeepFloyd IF, of networks distilled for guidance (LCM), and of Kandinsky."""

_SMALLEST = 2.0**-24  # for schedules that end at 0, as diffusers' EulerDiscreteScheduler has it


def denoiser_of_pipeline(pipeline: Any, *, model_id: str, tap: str | None) -> Denoiser:
    """A pipeline object.

    Raises:
        HspaceError: Without a network or a scheduler, or with ones that aren't supported.
    """
    network = network_of(pipeline)
    scheduler = getattr(pipeline, "scheduler", None)
    if not isinstance(network, nn.Module) or scheduler is None:
        components: Mapping[str, Any] = getattr(pipeline, "components", {})
        parts = ", ".join(name if part is not None else f"{name} (None)" for name, part in components.items())
        raise HspaceError(
            f"{type(pipeline).__name__} is no model: expected .unet (or .transformer) and .scheduler; "
            f"it has {parts or 'neither'}"
        )
    autoencoder = next((part for name in AUTOENCODERS if (part := getattr(pipeline, name, None)) is not None), None)
    codec, notes = (None, ()) if autoencoder is None else codec_of(unwrapped(autoencoder))
    return denoiser_of(
        network, scheduler, model_id=model_id, tap=tap, codec=codec, pipeline=pipeline, notes=notes
    )  # fmt: skip


def codec_of(autoencoder: Any) -> tuple[Codec, tuple[str, ...]]:
    """The autoencoder, and a note where its scale had to be guessed.

    The VQ-VAE of `CompVis/ldm-celebahq-256` has no scaling_factor in its file, and needs none. diffusers fills in
    0.18215, and since 0.22 its LDMPipeline divides by it, which spoils the pictures (diffusers' issues 5166, 6725).
    """
    config: Any = autoencoder.config
    filled_in = "scaling_factor" in (config.get("_use_default_values") or ())
    from_file = bool(getattr(autoencoder, "name_or_path", "") or config.get("_name_or_path"))
    if type(autoencoder).__name__ == "VQModel" and filled_in and from_file:
        return Codec(autoencoder, scale=1.0), (
            "the VQ-VAE's file has no scaling_factor: 1 is taken, as by its authors",
        )
    return Codec(autoencoder), ()


def denoiser_of(
    network: nn.Module,
    scheduler: Any,
    *,
    model_id: str,
    tap: str | None = None,
    codec: Codec | None = None,
    pipeline: Any = None,
    notes: Sequence[str] = (),
) -> Denoiser:
    """A network object with its scheduler.

    Args:
        network: Of a kind in `KINDS`.
        scheduler: With alphas_cumprod, or of flow matching.
        model_id: Name of the model.
        tap: Where h is; None for the middle of the network.
        codec: For latent diffusion.
        pipeline: What encodes prompts.
        notes: What a user should know.

    Raises:
        HspaceError: Another kind of network, without a size or made for more than x_t; a scheduler without
            alphas_cumprod.
    """
    network = unwrapped(network)
    config: Any = getattr(network, "config", None)
    kind = next((conditioner_of for kind, conditioner_of in KINDS.items() if isinstance(network, kind)), None)
    if kind is None:
        known = ", ".join(kind.__name__ for kind in KINDS)
        raise HspaceError(
            f"{model_id}: expected one of {known}, found {type(network).__name__}; "
            "wrap a network of your own in hspace.Denoiser"
        )
    check_network(type(network), config, model_id)
    if any(weight.is_meta for weight in network.parameters()):
        raise HspaceError(f"{model_id}: the weights are offloaded: load the pipeline without sequential offload")
    alphas_cumprod = alphas_of(scheduler, model_id)
    flow = isinstance(scheduler, FlowMatchEulerDiscreteScheduler)
    options: Any = scheduler.config
    if options.get("clip_sample") or options.get("thresholding"):
        notes = (*notes, "clip_sample is switched off: clipping x_0 would hide what a direction does")
    size = config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    return Denoiser(
        network,
        alphas_cumprod.clamp_min(0.0 if flow else _SMALLEST),
        image_shape=(config.in_channels, height, width),
        tap=_middle(network) if tap is None else tap,
        prediction_type="flow" if flow else options.get("prediction_type", "epsilon"),
        spacing=options.get("timestep_spacing", "trailing" if flow else "leading"),
        steps_offset=options.get("steps_offset", 0),
        final_alpha=1.0 if options.get("set_alpha_to_one", True) else float(alphas_cumprod[0]),
        codec=codec,
        conditioner=kind(network, pipeline, model_id),
        model_id=model_id,
        notes=notes,
    )


def check_network(kind: Any, config: Mapping[str, Any], title: str) -> None:
    """Whether a network is one that is supported, by its configuration alone.

    Args:
        kind: Its class, in `KINDS`.
        config: As in config.json; what is not in it is the class' default.
        title: Of the model, for errors.

    Raises:
        HspaceError: It takes more than x_t and t, or x_t has no size.
    """
    options = inspect.signature(kind.__init__).parameters
    config = {**{name: option.default for name, option in options.items()}, **config}
    taken, returned = config["in_channels"], config.get("out_channels")
    if returned not in (None, taken, 2 * taken):
        raise HspaceError(
            f"{title}: the network takes {taken} channels and returns {returned}: "
            "it needs more than x_t (for inpainting, say), which isn't supported"
        )
    if config.get("sample_size") is None:
        raise HspaceError(f"{title}: the network's configuration has no sample_size, so that pictures have no size")
    if issubclass(kind, UNet2DConditionModel):
        more = {key: config[key] for key in _MORE_THAN_TEXT if config.get(key) not in (None, "text_time")}
        if more:
            found = ", ".join(f"{key} {value}" for key, value in more.items())
            raise HspaceError(f"{title}: the network takes more than a prompt ({found}), which isn't supported")


def _middle(network: nn.Module) -> str:
    """The mid block; of a transformer, which has none, the block in the middle."""
    blocks: Any = getattr(network, "transformer_blocks", None)
    if blocks is None:
        return "mid_block"
    picture = ":1" if isinstance(network, SD3Transformer2DModel) else ""  # its blocks return the text's tokens first
    return f"transformer_blocks.{(len(blocks) - 1) // 2}{picture}"


def alphas_of(scheduler: Any, title: str) -> Tensor:
    """Its alphas_cumprod, or those that flow matching comes to.

    Args:
        scheduler: Of diffusers.
        title: Of the model, for errors.

    Raises:
        HspaceError: It has none, or is for networks that predict something else.
    """
    config: Any = getattr(scheduler, "config", {})
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        return _alphas_of_flow(config)
    found = getattr(scheduler, "alphas_cumprod", None)
    if found is None:
        kind = type(scheduler).__name__
        raise HspaceError(f"{title}: {kind} has no alphas_cumprod; expected a discrete schedule such as DDPM's")
    prediction, known = config.get("prediction_type", "epsilon"), get_args(PredictionType)
    if prediction not in known:
        raise HspaceError(f"{title}: expected a schedule of one of {', '.join(known)}, found {prediction}")
    return torch.as_tensor(found)


def _alphas_of_flow(config: Any) -> Tensor:
    """A shift that depends on the size of the picture is left out: it is a matter of the grid alone."""
    shift = 1.0 if config.get("use_dynamic_shifting") else float(config.get("shift", 1.0))
    return alphas_of_flow(config.num_train_timesteps, shift)


def _classes(network: nn.Module, pipeline: Any, model_id: str) -> Conditioner | None:
    config: Any = network.config
    if config.get("class_embed_type") is not None:
        raise HspaceError(f"{model_id}: a class embedding of type {config.class_embed_type!r} isn't supported")
    classes = config.get("num_class_embeds")
    return None if classes is None else Labels(classes)


def _classes_of_transformer(network: nn.Module, pipeline: Any, model_id: str) -> Conditioner:
    config: Any = network.config
    classes = config.num_embeds_ada_norm
    return Labels(classes, none=classes, guidance_scale=usual_guidance_scale(DiTPipeline))


def _prompts(network: nn.Module, pipeline: Any, model_id: str) -> Conditioner:
    if not hasattr(pipeline, "encode_prompt"):
        raise HspaceError(f"{model_id}: a {type(network).__name__} needs its text encoder: load the whole pipeline")
    return Prompts(pipeline)


KINDS: dict[Any, Callable[[nn.Module, Any, str], Conditioner | None]] = {
    UNet2DModel: _classes,
    **dict.fromkeys(NETWORKS.values(), _classes),
    UNet2DConditionModel: _prompts,
    DiTTransformer2DModel: _classes_of_transformer,
    PixArtTransformer2DModel: _prompts,
    SD3Transformer2DModel: _prompts,
}
"""Networks, and what each is told beside x_t and t."""

NEED_TEXT = tuple(kind.__name__ for kind, conditioner_of in KINDS.items() if conditioner_of is _prompts)
"""Names of those that need text encoders."""
