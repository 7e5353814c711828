"""Scores by an image classifier of transformers."""

from __future__ import annotations

from collections import Counter
from os import PathLike

import torch
from jaxtyping import Float
from torch import Tensor

from hspace.attributes.pretrained import Pretrained, transformers_package
from hspace.attributes.repository import Checkpoint, find
from hspace.errors import HspaceError

__all__ = ["ImageClassifier", "log_odds"]


class ImageClassifier:
    """An image classifier as a scorer: one attribute for each of its labels.

    The score is a label's log-odds, which goes on where the probability p has come close to 0 or 1. With logits z:

    * one label of many (softmax): log(p_i / (1 - p_i)) = z_i - logsumexp of the other z;
    * each label for itself (sigmoid; `problem_type` "multi_label_classification", or a single label): z_i;
    * regression: the network's number itself.

    Pictures are rounded to bytes and go through the model's own image processor (size, crop, normalization), which
    has no gradient. Labels that two classes share get their class number, as in "crane (517)".

    Args:
        model: Folder or hub id of a model of transformers' `AutoModelForImageClassification`.
        device: Default: the GPU if there is one.

    Attributes:
        model_id: As given.
        names: The attributes, in the order of the model's classes.

    Raises:
        HspaceError: transformers is missing; nothing of that name, or no network and no local copy; no classifier;
            unreadable or incomplete weights.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from transformers import ViTConfig, ViTForImageClassification
        >>> from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
        >>> from hspace.attributes import ImageClassifier
        >>> folder = tempfile.mkdtemp()
        >>> sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
        >>> config = ViTConfig(**sizes, image_size=16, patch_size=8, id2label={0: "plain", 1: "smile"})
        >>> ViTForImageClassification(config).save_pretrained(folder)
        >>> _ = ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
        >>> scores = ImageClassifier(folder, device="cpu")(torch.zeros(4, 3, 64, 64))
        >>> list(scores), scores["smile"].shape
        (['plain', 'smile'], torch.Size([4]))
    """

    def __init__(self, model: str | PathLike[str], device: str | torch.device | None = None) -> None:
        transformers_package()  # before a download
        checkpoint = find(model)
        _check_kind(checkpoint)
        self.model_id = checkpoint.name
        self._pretrained = Pretrained(checkpoint, "AutoModelForImageClassification", device=device)
        config = self._pretrained.network.config
        labels = [str(config.id2label[i]) for i in range(config.num_labels)]
        counts = Counter(labels)
        self.names = tuple(f"{label} ({i})" if counts[label] > 1 else label for i, label in enumerate(labels))
        exclusive = config.problem_type in (None, "single_label_classification") and config.num_labels > 1
        self._of_logits = log_odds if exclusive else _as_is

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
        return self._of_logits(self._pretrained.network(pixel_values=pixel_values).logits)


def log_odds(logits: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """log(p / (1 - p)) of the softmax p, that is z_i - logsumexp of the other z; computed in float64.

    Nothing saturates: for the largest logit the sum is over the others themselves, and for the rest 1 - p >= 1/2.

    Example:
        >>> import torch
        >>> from hspace.attributes.classifier import log_odds
        >>> log_odds(torch.tensor([[100.0, -100.0]])).tolist()
        [[200.0, -200.0]]
    """
    z = logits.double()
    log_p = z.log_softmax(1)
    largest = z.argmax(1, keepdim=True)
    of_largest = z.gather(1, largest) - z.scatter(1, largest, -torch.inf).logsumexp(1, keepdim=True)
    rest = log_p - torch.log1p(-log_p.exp().clamp(max=0.5))  # the clamp touches the largest only, replaced below
    return rest.scatter(1, largest, of_largest)


def _as_is(logits: Tensor) -> Tensor:
    return logits


def _check_kind(checkpoint: Checkpoint) -> None:
    found = checkpoint.architecture
    if "ForImageClassification" in found:
        return
    if checkpoint.config.get("model_type") == "clip":
        raise HspaceError(
            f"{checkpoint.name} is a CLIP model, which needs prompts: for each attribute a pair such as "
            "{'smile': ('a smiling face', 'a serious face')}"
        )
    raise HspaceError(f"{checkpoint.name}: expected an image classifier or CLIP, found {found}")
