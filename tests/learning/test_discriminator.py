"""The discriminator's losses against their formulas, its penalty against a gradient in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hspace.learning import Discriminator
from hspace.learning.discriminator import discriminator_loss, realism_losses

SHAPE = (3, 4, 4)


def pictures(n: int, seed: int, side: int = 4, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, channels, side, side, generator=generator, dtype=torch.float64)


def linear(weight: Tensor, bias: float) -> Discriminator:
    """D(x) = <w, x> + b: 4 px pictures have no convolution before the dense layer."""
    found = Discriminator(3, 4, seed=0).double()
    dense = found.layers[-1]
    assert isinstance(dense, nn.Linear)
    with torch.no_grad():
        dense.weight.copy_(weight.reshape(1, -1))
        dense.bias.fill_(bias)
    return found


def softplus(x: Tensor) -> NDArray[np.float64]:
    return np.asarray(np.logaddexp(0, x.numpy()))


def test_losses_of_a_linear_discriminator() -> None:
    weight, bias = pictures(1, 0)[0], 0.3
    network, real, fake = linear(weight, bias), pictures(5, 1), pictures(5, 2)
    of_real, of_fake = ((x * weight).sum((1, 2, 3)) + bias for x in (real, fake))
    np.testing.assert_allclose(realism_losses(network, fake).detach().numpy(), softplus(-of_fake), rtol=1e-12)
    plain = softplus(of_fake).mean() + softplus(-of_real).mean()
    for gamma in (0.0, 1.0, 10.0):
        expected = plain + gamma / 2 * float(weight.square().sum())  # the gradient is w everywhere
        assert float(discriminator_loss(network, real, fake, gamma).detach()) == pytest.approx(expected, rel=1e-12)


def test_the_penalty_is_trained() -> None:
    """d/dw gamma / 2 |w|^2 = gamma w."""
    weight = pictures(1, 0)[0]
    gradients = []
    for gamma in (0.0, 3.0):
        network = linear(weight, 0.3)
        discriminator_loss(network, pictures(5, 1), pictures(5, 2), gamma).backward()
        dense = network.layers[-1]
        assert isinstance(dense, nn.Linear)
        assert dense.weight.grad is not None
        gradients.append(dense.weight.grad)
    torch.testing.assert_close(gradients[1] - gradients[0], 3 * weight.reshape(1, -1))


def test_the_penalty_is_the_mean_over_real_pictures() -> None:
    network, real, fake = Discriminator(3, 8, 4, seed=1).double(), pictures(5, 1, 8), pictures(5, 2, 8)
    step = 1e-5
    squares = []
    with torch.no_grad():
        for x in real:  # the gradient by central differences
            moves = step * torch.eye(x.numel()).double().reshape(-1, *x.shape)
            squares.append(((network(x + moves) - network(x - moves)) / (2 * step)).square().sum())
    with_penalty, without = (discriminator_loss(network, real, fake, gamma) for gamma in (2.0, 0.0))
    penalty = float((with_penalty - without).detach())
    assert penalty == pytest.approx(float(torch.stack(squares).mean()), rel=1e-6)
    assert penalty > 1e-6


def test_neither_set_of_pictures_gets_a_gradient_from_the_discriminators_loss() -> None:
    real = pictures(5, 1).requires_grad_()
    discriminator_loss(linear(pictures(1, 0)[0], 0.0), real, pictures(5, 2), 1.0).backward()
    assert real.grad is None


def test_realism_pushes_pictures_towards_real_ones() -> None:
    weight = pictures(1, 0)[0]
    fake = pictures(5, 2).requires_grad_()
    realism_losses(linear(weight, 0.0), fake).sum().backward()
    assert fake.grad is not None
    descent = (-fake.grad * weight).sum((1, 2, 3))
    assert bool((descent > 0).all())


def test_training_separates_two_sets() -> None:
    network = Discriminator(1, 8, 4, seed=0).double()
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    real, fake = pictures(16, 1, 8, 1) + 1, pictures(16, 2, 8, 1) - 1
    for _ in range(30):
        optimizer.zero_grad()
        discriminator_loss(network, real, fake, 0.1).backward()
        optimizer.step()
    assert float(network(real).detach().min()) > float(network(fake).detach().max())


@pytest.mark.parametrize("side", [4, 8, 28, 64])
@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_every_picture_has_its_own_logit(side: int, channels: int) -> None:
    network, x = Discriminator(channels, side, 8, seed=0).double(), pictures(3, 1, side, channels)
    logits = network(x)
    assert logits.shape == (3,)
    torch.testing.assert_close(torch.cat([network(x[i : i + 1]) for i in range(3)]), logits)
    assert float(logits.std()) > 0


def test_a_seed_is_a_start_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = Discriminator(3, 8, seed=1)
    assert torch.equal(torch.rand(3), expected)
    again, other = (Discriminator(3, 8, seed=seed) for seed in (1, 2))
    x = pictures(2, 0, 8).float()
    assert torch.equal(first(x), again(x))
    assert not torch.equal(first(x), other(x))
