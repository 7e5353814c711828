"""Scores by prompts: zero-shot CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.attributes.pretrained import Pretrained, transformers_package
from hspace.attributes.repository import Checkpoint, find
from hspace.errors import HspaceError
from hspace.hub import short

__all__ = ["ClipEmbedding", "ZeroShot"]


class ZeroShot:
    """CLIP (Radford et al., arXiv 2103.00020) as a scorer: one attribute for each pair of prompts.

    With unit embeddings i of the picture, t+ of the prompt for much of the attribute and t- of the one for little,
    and the trained logit scale s, the score is s (i . t+ - i . t-): the log-odds of the first prompt against the
    second. A single prompt is no scale: its cosine depends on the picture's style more than on what it asks for.

    Pictures are rounded to bytes and go through the model's own image processor, which has no gradient.

    Args:
        model: Folder or hub id of a model of transformers' `CLIPModel`, such as `"openai/clip-vit-base-patch32"`.
        prompts: For each attribute the pair (prompt of much of it, prompt of little of it).
        device: Default: the GPU if there is one.

    Attributes:
        model_id: As given.
        names: The attributes, in the order of the prompts.
        prompts: As given.

    Raises:
        HspaceError: Prompts that are no pairs, are equal or longer than the model reads; transformers is missing;
            nothing of that name, or no network and no local copy; no CLIP model; unreadable or incomplete weights.

    Example:
        >>> from hspace.attributes import ZeroShot
        >>> ZeroShot("openai/clip-vit-base-patch32", {"smile": "a smiling face"})
        Traceback (most recent call last):
        hspace.errors.HspaceError: prompts of 'smile': expected a pair (much of it, little of it), such as ...
    """

    def __init__(
        self,
        model: str | PathLike[str],
        prompts: Mapping[str, Sequence[str]],
        device: str | torch.device | None = None,
    ) -> None:
        self.prompts = _pairs(prompts)
        self.names = tuple(self.prompts)
        checkpoint = _found(model)
        self.model_id = checkpoint.name
        self._pretrained = Pretrained(checkpoint, "CLIPModel", tokenizer=True, device=device)
        self._axes = self._encode()

    def __call__(self, images: Float[Tensor, "n c h w"], /) -> dict[str, Tensor]:
        """Scores by name, each of shape (n,), float32, on the device of the images.

        Args:
            images: RGB in [-1, 1], or grey with one channel; any size, float dtype and device.

        Raises:
            HspaceError: The images have another shape, are no floats or not finite.
        """
        table = self._pretrained.table(images, self._scores, len(self.names))
        return {name: table[:, i] for i, name in enumerate(self.names)}

    def _scores(self, pixel_values: Tensor) -> Tensor:
        return _unit(self._pretrained.network.get_image_features(pixel_values=pixel_values)) @ self._axes

    def _encode(self) -> Float[Tensor, "d k"]:
        """s (t+ - t-) of each attribute."""
        network: Any = self._pretrained.network
        tokenizer: Any = self._pretrained.tokenizer
        texts = [prompt for pair in self.prompts.values() for prompt in pair]
        try:
            tokens = tokenizer(texts, padding=True, return_tensors="pt")
        except Exception as error:  # a tokenizer's files that make no tokenizer, such as one without padding
            raise HspaceError(f"{self.model_id}: the tokenizer fails on the prompts ({short(error)})") from error
        longest = network.config.text_config.max_position_embeddings
        lengths = tokens["attention_mask"].sum(1).tolist()
        for text, length in zip(texts, lengths, strict=True):
            if length > longest:
                raise HspaceError(f"{self.model_id} reads prompts of at most {longest} tokens, not {length}: {text!r}")
        for i, (name, pair) in enumerate(self.prompts.items()):
            if torch.equal(tokens["input_ids"][2 * i], tokens["input_ids"][2 * i + 1]):
                raise HspaceError(f"prompts of {name!r}: {self.model_id} reads {pair[0]!r} and {pair[1]!r} alike")
        with torch.inference_mode():
            embedded = _unit(
                network.get_text_features(
                    input_ids=tokens["input_ids"].to(self._pretrained.device),
                    attention_mask=tokens["attention_mask"].to(self._pretrained.device),
                )
            )
            axes: Tensor = network.logit_scale.exp() * (embedded[0::2] - embedded[1::2]).T
        return axes


class ClipEmbedding:
    """Unit embeddings of pictures by CLIP (Radford et al., arXiv 2103.00020): their cosine says how alike two are.

    Args:
        model: Folder or hub id of a model of transformers' `CLIPModel`.
        device: Default: the GPU if there is one.

    Raises:
        HspaceError: As `ZeroShot`.

    Example:
        >>> from hspace.attributes import ClipEmbedding
        >>> ClipEmbedding("no/such-folder/clip")
        Traceback (most recent call last):
        hspace.errors.HspaceError: ...
    """

    def __init__(self, model: str | PathLike[str], device: str | torch.device | None = None) -> None:
        checkpoint = _found(model)
        self.model_id = checkpoint.name
        self._pretrained = Pretrained(checkpoint, "CLIPModel", device=device)

    def __call__(self, images: Float[Tensor, "n c h w"], /) -> Float[Tensor, "n d"]:
        """Of pictures in [-1, 1], RGB or grey, of any size."""
        network: Any = self._pretrained.network

        def embedded(pixel_values: Tensor) -> Tensor:
            return _unit(network.get_image_features(pixel_values=pixel_values))

        return self._pretrained.table(images, embedded, network.config.projection_dim)


def _found(model: str | PathLike[str]) -> Checkpoint:
    """A CLIP model's checkpoint."""
    transformers_package()  # before a download
    checkpoint = find(model)
    if "ForImageClassification" in checkpoint.architecture:
        raise HspaceError(
            f"{checkpoint.name} is a classifier ({checkpoint.architecture}) with labels of its own; it takes no prompts"
        )
    if checkpoint.config.get("model_type") != "clip":
        raise HspaceError(f"{checkpoint.name}: expected a CLIP model, found {checkpoint.architecture}")
    return checkpoint


def _unit(output: Any) -> Tensor:
    """transformers 4 answers with the embeddings, 5 with an object that holds them."""
    embedded: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return torch.nn.functional.normalize(embedded, dim=-1)


def _pairs(prompts: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, str]]:
    if not prompts:
        raise HspaceError("prompts: expected at least one attribute with its pair of prompts")
    found = {}
    for name, pair in prompts.items():
        if isinstance(pair, str) or len(pair) != 2 or not all(prompt.strip() for prompt in pair):
            example = "such as ('a smiling face', 'a serious face')"
            raise HspaceError(
                f"prompts of {name!r}: expected a pair (much of it, little of it), {example}, found {pair!r}"
            )
        found[name] = (pair[0], pair[1])
    return found
