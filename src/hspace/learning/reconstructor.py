"""Reconstructors: from a picture and its shifted version to the type and the strength of the shift.

Two heads on one network, as in the parent technique (Voynov and Babenko, arXiv 2002.03754), of the size of ResNet-18 or
of LeNet. Ours: the network sees x_0 and the change x_0' - x_0 on its channels instead of both pictures (the same
information, learned in fewer steps), the latter scaled to 1, and normalises by groups, so that a picture's answer does
not depend on its batch.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from hspace.errors import HspaceError

__all__ = ["Answer", "Reconstructor", "ReconstructorSize", "check_size", "reconstruction_losses"]

ReconstructorSize = Literal["resnet18", "lenet"]


def check_size(size: str) -> None:
    """Whether there is such a reconstructor.

    Raises:
        HspaceError: There is not.
    """
    if size not in get_args(ReconstructorSize):
        raise HspaceError(f"reconstructor must be one of {', '.join(get_args(ReconstructorSize))}, not {size!r}")


class Answer(NamedTuple):
    """What a reconstructor says.

    Attributes:
        kinds: (b, K) logits of the type.
        strengths: (b,) in the unit of strength.
    """

    kinds: Float[Tensor, "b k"]
    strengths: Float[Tensor, " b"]


class Reconstructor(nn.Module):
    """Tells type and strength of a shift.

    Args:
        channels: Of x_0.
        n: Number of types K.
        size: resnet18 or lenet.
        image_size: Side of x_0, the shorter one; small ones go through ResNet without the first reduction.
        seed: Of the start.

    Raises:
        HspaceError: An unknown size.

    Example:
        >>> import torch
        >>> from hspace.learning import Reconstructor
        >>> reconstructor = Reconstructor(3, 10, "lenet", 32, seed=0)
        >>> answer = reconstructor(torch.zeros(2, 3, 32, 32), torch.ones(2, 3, 32, 32))
        >>> answer.kinds.shape, answer.strengths.shape
        (torch.Size([2, 10]), torch.Size([2]))
    """

    def __init__(self, channels: int, n: int, size: ReconstructorSize, image_size: int, *, seed: int) -> None:
        super().__init__()
        check_size(size)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.features, width = _resnet18(2 * channels, image_size) if size == "resnet18" else _lenet(2 * channels)
            self.kind, self.strength = nn.Linear(width, n), nn.Linear(width, 1)
        self.gain: Tensor
        self.register_buffer("gain", torch.ones(()))

    def forward(self, x_0: Float[Tensor, "b c y x"], shifted: Float[Tensor, "b c y x"]) -> Answer:
        """The answer for every pair."""
        features = self.features(torch.cat([x_0, (shifted - x_0) * self.gain], 1))
        return Answer(self.kind(features), self.strength(features)[:, 0])

    def scale_to(self, x_0: Float[Tensor, "b c y x"], shifted: Float[Tensor, "b c y x"]) -> None:
        """Bring changes like those of these pairs to a root mean square of 1: small ones are learned as soon."""
        rms = float((shifted - x_0).square().mean().sqrt())
        if 0 < rms < float("inf"):
            self.gain.fill_(1 / rms)


def reconstruction_losses(
    answer: Answer, kinds: Int[Tensor, " b"], strengths: Float[Tensor, " b"]
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """Cross entropy of the types and absolute error of the strengths, for every pair."""
    error = (answer.strengths - strengths.to(answer.strengths)).abs()
    return functional.cross_entropy(answer.kinds, kinds, reduction="none"), error


class _Residual(nn.Module):
    """The basic block of He et al., arXiv 1512.03385."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.straight = nn.Sequential(
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.GroupNorm(32, after),
            nn.ReLU(),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.GroupNorm(32, after),
        )
        same = before == after and stride == 1
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.GroupNorm(32, after))
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.straight(x) + self.shortcut(x))


def _resnet18(channels: int, image_size: int) -> tuple[nn.Module, int]:
    """Two basic blocks at each of four widths, 11 million weights."""
    small = image_size < 64
    stem: list[nn.Module] = [
        nn.Conv2d(channels, 64, 3, 1, 1, bias=False) if small else nn.Conv2d(channels, 64, 7, 2, 3, bias=False),
        nn.GroupNorm(32, 64),
        nn.ReLU(),
    ]
    if not small:
        stem.append(nn.MaxPool2d(3, 2, 1))
    blocks: list[nn.Module] = []
    for before, after, stride in ((64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)):
        blocks += [_Residual(before, after, stride), _Residual(after, after, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten()), 512


def _lenet(channels: int) -> tuple[nn.Module, int]:
    """Two convolutions and two dense layers, about 60 thousand weights (LeCun et al., 1998), with ReLU."""
    layers = [
        nn.Conv2d(channels, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5, padding=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(5),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
    ]
    return nn.Sequential(*layers), 84
