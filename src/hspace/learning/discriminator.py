r"""The discriminator, which keeps shifted samples realistic (after Zhang et al., arXiv 2310.09912).

Non-saturating losses (Goodfellow et al., arXiv 1406.2661) with D in logits, and the R1 penalty on real pictures
(Mescheder et al., arXiv 1801.04406):

    shift control module:  softplus(-D(x_0'))
    discriminator:         softplus(D(x_0')) + softplus(-D(x)) + gamma / 2 |grad_x D(x)|^2

The network is ours: 4x4 convolutions of stride 2 with leaky ReLU down to 4 pixels, then one dense layer.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Discriminator", "discriminator_loss", "realism_losses"]


class Discriminator(nn.Module):
    """Logits of a picture being real.

    Args:
        channels: Of x_0.
        image_size: Its side, the shorter one.
        width: Channels of the first layer; doubled by every other up to eight times.
        seed: Of the start.

    Example:
        >>> import torch
        >>> from hspace.learning import Discriminator
        >>> Discriminator(3, 32, seed=0)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2])
    """

    def __init__(self, channels: int, image_size: int, width: int = 32, *, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            layers: list[nn.Module] = []
            before, after, side = channels, width, image_size
            while side > 4:
                layers += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.2)]
                before, after, side = after, min(2 * after, 8 * width), side // 2
            layers += [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * before, 1)]
            self.layers = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "b c y x"]) -> Float[Tensor, " b"]:
        """The logits."""
        logits: Tensor = self.layers(x)[:, 0]
        return logits


def realism_losses(discriminator: Discriminator, shifted: Float[Tensor, "b c y x"]) -> Float[Tensor, " b"]:
    """What shifted samples pay for not looking real."""
    return functional.softplus(-discriminator(shifted))


def discriminator_loss(
    discriminator: Discriminator,
    real: Float[Tensor, "b c y x"],
    shifted: Float[Tensor, "b c y x"],
    r1_weight: float,
) -> Float[Tensor, ""]:
    """Of the discriminator, the R1 penalty included.

    Args:
        discriminator: The network.
        real: Unshifted generations or real pictures.
        shifted: Samples, detached.
        r1_weight: gamma.
    """
    real = real.detach().requires_grad_()
    logits = discriminator(real)
    (gradient,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    penalty = gradient.square().flatten(1).sum(1).mean()
    loss = functional.softplus(discriminator(shifted)).mean() + functional.softplus(-logits).mean()
    return loss + r1_weight / 2 * penalty
