"""Text-to-image models of diffusers: their own pipeline encodes the prompt."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from hspace.errors import HspaceError
from hspace.hub import short
from hspace.models.conditioning.branches import Branches, Inputs
from hspace.models.conditioning.condition import Condition
from hspace.models.wrappers import network_of

__all__ = ["Prompts", "usual_guidance_scale"]

Encoded = list[Inputs]
"""Of the conditional pass, and with guidance of the unconditional one behind it."""


class Prompts:
    """Condition by text.

    Args:
        pipeline: With `encode_prompt` and a network of a kind in `KINDS`.
        encode: How the network's arguments are made of what the pipeline's `encode_prompt` gives.

    Example:
        ```python
        model = hspace.load("stable-diffusion-v1-5/stable-diffusion-v1-5", prompt="a portrait", guidance_scale=7.5)
        ```
    """

    default: Condition | None = Condition(prompt="")
    wanted = "a prompt"

    def __init__(self, pipeline: Any, encode: Callable[[Any, Condition], Encoded] | None = None) -> None:
        self.pipeline = pipeline
        self.guidance_scale = usual_guidance_scale(type(pipeline))
        kind = _kind(pipeline)
        if encode is None and kind not in KINDS:
            raise HspaceError(f"{type(pipeline).__name__}: prompts of a {kind} aren't supported")
        lacking = [name for name in ("encode_prompt", "text_encoder", "tokenizer") if not _has(pipeline, name)]
        if encode is None and lacking:
            raise HspaceError(f"{type(pipeline).__name__} has no {', '.join(lacking)}: prompts need the whole pipeline")
        self._encode = encode or KINDS[kind]

    def branches(self, condition: Condition) -> Branches:
        """One pass, or with guidance two.

        Raises:
            HspaceError: No prompt, a label, or a pipeline that can't encode it.
        """
        if condition.label is not None:
            raise HspaceError("the model takes a prompt, no label")
        if condition.prompt is None:
            raise HspaceError("the model takes a prompt; found none")
        try:
            with torch.no_grad():
                own, *others = self._encode(self.pipeline, condition)
        except Exception as error:  # of text encoders and tokenizers, each its own
            raise HspaceError(f"{type(self.pipeline).__name__} can't encode the prompt ({short(error)})") from error
        self._check_width(own["encoder_hidden_states"].shape[-1])
        return Branches((*others, own), condition.guidance_scale, condition.shifted == "both")

    def _check_width(self, found: int) -> None:
        """Parts of different models, as SD 1's U-Net beside SD 2's text encoder, differ here first."""
        config: Any = network_of(self.pipeline).config
        names = (
            ("cross_attention_dim",) if hasattr(self.pipeline, "unet") else ("caption_channels", "joint_attention_dim")
        )
        expected = next((config[name] for name in names if name in config), None)
        if isinstance(expected, int) and expected != found:
            raise HspaceError(
                f"{type(self.pipeline).__name__}: the network takes {expected} numbers of each token, its text "
                f"encoders give {found}: they are parts of different models, or one is missing"
            )


def usual_guidance_scale(kind: Any) -> float:
    """What a class of pipelines takes by default."""
    asked = inspect.signature(kind.__call__).parameters.get("guidance_scale")
    return float(asked.default) if asked is not None and isinstance(asked.default, (int, float)) else 1.0


def _kind(pipeline: Any) -> str:
    network = network_of(pipeline)
    if type(network).__name__ == "UNet2DConditionModel" and network.config.addition_embed_type == "text_time":
        return "UNet2DConditionModel with text_time"
    return type(network).__name__


def _has(pipeline: Any, name: str) -> bool:
    """Some pipelines have a second text encoder only."""
    return any(getattr(pipeline, each, None) is not None for each in (name, f"{name}_2"))


def _device(pipeline: Any) -> torch.device:
    """Where its text encoder is; what it encodes goes to the network's device later."""
    encoder: Any = getattr(pipeline, "text_encoder", None) or getattr(pipeline, "text_encoder_2", None)
    return next(encoder.parameters()).device if encoder is not None else torch.device("cpu")


def _stable_diffusion(pipeline: Any, condition: Condition) -> Encoded:
    own, none = pipeline.encode_prompt(
        condition.prompt, _device(pipeline), 1, condition.guided, negative_prompt=condition.negative_prompt
    )
    return [{"encoder_hidden_states": each} for each in ((own, none) if condition.guided else (own,))]


def _stable_diffusion_xl(pipeline: Any, condition: Condition) -> Encoded:
    """Size and crop that its network asks for are those of the picture it makes, uncropped."""
    own, none, pooled, none_pooled = pipeline.encode_prompt(
        condition.prompt,
        device=_device(pipeline),
        num_images_per_prompt=1,
        do_classifier_free_guidance=condition.guided,
        # as its own pipeline: no text and "" are not the same where force_zeros_for_empty_prompt is set
        negative_prompt=condition.negative_prompt or None,
    )
    height, width = _picture_size(pipeline)
    times = torch.tensor([[height, width, 0, 0, height, width]], dtype=own.dtype)
    pairs = [(own, pooled), (none, none_pooled)][: 1 + condition.guided]
    return [
        {"encoder_hidden_states": text, "added_cond_kwargs": {"text_embeds": whole, "time_ids": times}}
        for text, whole in pairs
    ]


def _stable_diffusion_3(pipeline: Any, condition: Condition) -> Encoded:
    own, none, pooled, none_pooled = pipeline.encode_prompt(
        condition.prompt,
        prompt_2=None,
        prompt_3=None,
        device=_device(pipeline),
        do_classifier_free_guidance=condition.guided,
        negative_prompt=condition.negative_prompt,
    )
    pairs = [(own, pooled), (none, none_pooled)][: 1 + condition.guided]
    return [{"encoder_hidden_states": text, "pooled_projections": whole} for text, whole in pairs]


def _pixart(pipeline: Any, condition: Condition) -> Encoded:
    own, mask, none, none_mask = pipeline.encode_prompt(
        condition.prompt,
        condition.guided,
        negative_prompt=condition.negative_prompt,
        device=_device(pipeline),
    )
    added: dict[str, Any] = {"resolution": None, "aspect_ratio": None}
    if pipeline.transformer.config.sample_size == 128:  # the network of 1024 pixels asks for the size, as its pipeline
        height, width = _picture_size(pipeline)
        added = {"resolution": torch.tensor([[float(height), width]]), "aspect_ratio": torch.tensor([[height / width]])}
    pairs = [(own, mask), (none, none_mask)][: 1 + condition.guided]
    return [
        {"encoder_hidden_states": text, "encoder_attention_mask": seen, "added_cond_kwargs": added}
        for text, seen in pairs
    ]


def _picture_size(pipeline: Any) -> tuple[int, int]:
    size = network_of(pipeline).config.sample_size
    height, width = (size, size) if isinstance(size, int) else size
    return height * pipeline.vae_scale_factor, width * pipeline.vae_scale_factor


KINDS: dict[str, Callable[[Any, Condition], Encoded]] = {
    "UNet2DConditionModel": _stable_diffusion,
    "UNet2DConditionModel with text_time": _stable_diffusion_xl,
    "PixArtTransformer2DModel": _pixart,
    "SD3Transformer2DModel": _stable_diffusion_3,
}
"""By the network of the pipeline."""
