"""Reads the twelve factors of a procedural portrait from its picture.

A small convolutional network, trained half on the correlated population of `hspace.faces` and half on independent
factors (so that it does not take one factor for another that goes along with it), on clean, noisy and blurred
pictures. `recipes/train_scorer.py` made the weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hspace.atomic import writing
from hspace.errors import HspaceError
from hspace.faces import FACTORS, IMAGE_SIZE

__all__ = ["Moments", "PortraitScorer"]

_CHUNK = 256  # images at a time: bounds the memory of the activations to about 50 MB
_CHANNELS = ((3, 32, 2), (32, 64, 2), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 128, 2))  # in, out, stride


class Moments(NamedTuple):
    """Mean and standard deviation of a factor over the population."""

    mean: float
    std: float


class PortraitScorer(nn.Module):
    """Factors of portraits in standard deviations of the population: 0 is its mean, 1 one standard deviation above.

    Args:
        population: Moments of each factor over the correlated population, the unit of the scores.
        held_out_correlation: Correlation of each score with the true factor on portraits not trained on.

    Example:
        >>> import torch
        >>> from hspace.attributes import load_scorer
        >>> from hspace.faces import render_seeds
        >>> images = torch.from_numpy(render_seeds(range(4))).permute(0, 3, 1, 2) / 127.5 - 1
        >>> scores = load_scorer("portraits")(images)
        >>> list(scores)[:3], scores["smile"].shape
        (['yaw', 'smile', 'mouth_open'], torch.Size([4]))
    """

    def __init__(
        self, population: Mapping[str, Moments], held_out_correlation: Mapping[str, float] | None = None
    ) -> None:
        super().__init__()
        self.population = {name: Moments(*population[name]) for name in FACTORS}
        self.held_out_correlation = dict(held_out_correlation or {})
        blocks = [
            nn.Sequential(nn.Conv2d(i, o, 3, stride, padding=1), nn.GroupNorm(8, o), nn.SiLU())
            for i, o, stride in _CHANNELS
        ]
        self.body = nn.Sequential(*blocks, nn.Flatten(), nn.Linear(128 * 4 * 4, 128), nn.SiLU())
        self.head = nn.Linear(128, len(FACTORS))

    def forward(self, images: Float[Tensor, "n c h w"]) -> dict[str, Tensor]:
        """Scores by name, each of shape (n,), float32, on the device of the images.

        Gradients reach the images if they require them.

        Args:
            images: Shape (n, 3, 64, 64), RGB in [-1, 1], any float dtype and device.

        Returns:
            One entry for each of `hspace.faces.FACTORS`, in population standard deviations.

        Raises:
            HspaceError: The images have another shape or are not floats.
        """
        table = self.table(images)
        return {name: table[:, i] for i, name in enumerate(FACTORS)}

    def table(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 12"]:
        """Scores as a table, columns in the order of `hspace.faces.FACTORS`; else as in a call."""
        features: Tensor = self.head(self._features(images))
        return features.float().to(images.device)

    def features(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 128"]:
        """Activations before the last layer, for Frechet distances; else as in a call."""
        return self._features(images).float().to(images.device)

    def _features(self, images: Tensor) -> Tensor:
        expected = (3, IMAGE_SIZE, IMAGE_SIZE)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise HspaceError(f"the portrait scorer reads images of shape (n, 3, 64, 64), not {tuple(images.shape)}")
        if not images.is_floating_point():
            raise HspaceError(f"the portrait scorer reads float images in [-1, 1], not {images.dtype}")
        weight = self.head.weight
        return torch.cat([self.body(chunk.to(weight)) for chunk in images.split(_CHUNK)])

    def save(self, path: Path) -> None:
        """Write weights (float16) and metadata to one safetensors file, through a temporary name."""
        metadata = {
            "kind": "hspace portrait scorer",
            "population": json.dumps({name: moments._asdict() for name, moments in self.population.items()}),
            "held_out_correlation": json.dumps(self.held_out_correlation),
        }
        tensors = {name: weight.detach().half().cpu().contiguous() for name, weight in self.state_dict().items()}
        with writing(path) as partial:
            save_file(tensors, partial, metadata)

    @classmethod
    def from_file(cls, path: Path) -> PortraitScorer:
        """Read what `save` wrote: float32, eval mode, weights without gradients.

        Raises:
            HspaceError: The file is missing, damaged or no portrait scorer.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata: dict[str, Any] = file.metadata() or {}
                weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (no mapping)
            population = {name: Moments(**moments) for name, moments in json.loads(metadata["population"]).items()}
            scorer = cls(population, json.loads(metadata["held_out_correlation"]))
            scorer.load_state_dict(weights)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise HspaceError(f"{path} is not a readable portrait scorer: {reason}") from error
        return scorer.eval().requires_grad_(False)
