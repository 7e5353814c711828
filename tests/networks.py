"""Networks of one's own, each with something about it that a replay of its modules has to get right, or to refuse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from tests import tiny
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from hspace.models import Denoiser

CHANNELS = 4


def denoiser(network: nn.Module, tap: str = "inner", *, image_shape: tuple[int, ...] = tiny.IMAGE_SHAPE) -> Denoiser:
    """The adapter, in float64 as the network."""
    return Denoiser(network.double(), tiny.scheduler().alphas_cumprod, image_shape=image_shape, tap=tap)


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """Always the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


class Base(nn.Module):
    """in -> inner -> out, with the time added in between; `middle` is what others change."""

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Linear(2, CHANNELS)
        self.first = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.inner = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.last = nn.Conv2d(CHANNELS, 3, 3, padding=1)

    def embedded(self, timesteps: Tensor) -> Tensor:
        angle = timesteps.to(self.time.weight)[:, None] / 10
        time: Tensor = self.time(torch.cat([angle.sin(), angle.cos()], 1))
        return time[:, :, None, None]

    def middle(self, x: Tensor) -> Tensor:
        h: Tensor = self.inner(x)
        return h

    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        x = self.first(x_t) + self.embedded(timesteps)
        eps: Tensor = self.last(torch.tanh(self.middle(x))) + 0.5 * x_t
        return eps


class InPlaceArithmetic(Base):
    """What a module returned is changed by += before the tap, and by *= behind it."""

    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        x = self.first(x_t)
        x += self.embedded(timesteps)
        h = torch.tanh(self.inner(x))
        x *= 0.5
        eps: Tensor = self.last(h + x)
        return eps


class InPlaceModules(Base):
    """An activation in place on either side of the tap."""

    def __init__(self) -> None:
        super().__init__()
        self.activation, self.other = nn.ReLU(inplace=True), nn.SiLU(inplace=True)

    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        x = self.activation(self.first(x_t))
        eps: Tensor = self.last(self.other(self.inner(x + self.embedded(timesteps))) + x)
        return eps


class Recurrent(Base):
    """One block before the tap and behind it, and inside another that runs before it."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.Tanh())
        self.holder = nn.Sequential(self.block, nn.Conv2d(CHANNELS, CHANNELS, 1))

    def middle(self, x: Tensor) -> Tensor:
        x = self.block(self.block(x)) + self.holder(x)
        h: Tensor = self.block(self.inner(x))
        return h


class Pair(NamedTuple):
    x: Tensor
    skips: list[Tensor]


@dataclass
class Features:
    x: Tensor
    scale: float
    more: dict[str, Tensor | None]


class _Features(nn.Module):
    def forward(self, pair: Pair) -> Features:
        return Features(pair.x, 0.5, {"skip": pair.skips[0], "none": None})


class _Pair(nn.Module):
    def forward(self, x: Tensor) -> Pair:
        return Pair(x, [x.sin(), x.cos()])


class Containers(Base):
    """Modules that return named tuples, lists, dicts and dataclasses."""

    def __init__(self) -> None:
        super().__init__()
        self.pair, self.features = _Pair(), _Features()

    def middle(self, x: Tensor) -> Tensor:
        pair = self.pair(x)
        features = self.features(pair)
        h: Tensor = self.inner(features.x * features.scale) + features.more["skip"] + pair.skips[1]
        return h


class _Namespace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Conv2d(CHANNELS, CHANNELS, 1)

    def forward(self, x: Tensor) -> Any:
        return SimpleNamespace(x=self.inside(x))


class Opaque(Base):
    """A module returns an object that can't be taken apart; what is inside of it can be replayed."""

    def __init__(self) -> None:
        super().__init__()
        self.namespace = _Namespace()

    def middle(self, x: Tensor) -> Tensor:
        h: Tensor = self.inner(self.namespace(x).x)
        return h


class _Position(nn.Module):
    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, tokens, CHANNELS))

    def forward(self, tokens: int) -> Tensor:
        return self.table[:, :tokens]


class Tokens(Base):
    """Tokens with a positional embedding (1, tokens, d); the batch comes second behind the tap."""

    def __init__(self) -> None:
        super().__init__()
        self.position, self.inner = _Position(64), nn.Linear(CHANNELS, CHANNELS)
        self.turned, self.mixed = nn.Identity(), nn.Linear(CHANNELS, CHANNELS)

    def middle(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        sequence = self.turned((tokens + self.position(tokens.shape[1])).transpose(0, 1))  # (tokens, n, d)
        h = self.inner(self.mixed(sequence).transpose(0, 1) + sequence.transpose(0, 1))
        image: Tensor = h.transpose(1, 2).reshape(x.shape)
        return image


class Windows(Base):
    """Four windows of each picture in the batch, those of one picture together."""

    def __init__(self) -> None:
        super().__init__()
        self.window = nn.Conv2d(CHANNELS, CHANNELS, 1)

    def middle(self, x: Tensor) -> Tensor:
        n, c, height, width = x.shape
        parts = x.reshape(n, c, 2, height // 2, 2, width // 2).permute(0, 2, 4, 1, 3, 5)
        seen = self.window(parts.reshape(n * 4, c, height // 2, width // 2)).reshape(parts.shape)
        h: Tensor = self.inner(seen.permute(0, 3, 1, 4, 2, 5).reshape(x.shape))
        return h


class Branches(Base):
    """Both of two branches in one batch, all samples of the one first: as guidance and frames lie."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Conv2d(CHANNELS, CHANNELS, 1)

    def middle(self, x: Tensor) -> Tensor:
        one, other = self.branch(torch.cat([x, -2 * x])).chunk(2)
        h: Tensor = self.inner(one.tanh() + other)
        return h


class Remembering(Base):
    """What it computed before the tap lies in an attribute, which a replay would leave as it was."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside, self.kept = nn.Conv2d(CHANNELS, CHANNELS, 1), torch.zeros(1)

        def forward(self, x: Tensor) -> Tensor:
            self.kept = x.mean((1, 2, 3), keepdim=True)
            y: Tensor = self.inside(x)
            return y

    def __init__(self) -> None:
        super().__init__()
        self.block = self.Block()

    def middle(self, x: Tensor) -> Tensor:
        h: Tensor = self.inner(self.block(x)) + self.block.kept
        return h


class Crossed(Base):
    """A module returns what grows with the batch in two dimensions."""

    class Gram(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            flat = x.flatten(1)
            return flat @ flat.T

    def __init__(self) -> None:
        super().__init__()
        self.gram = self.Gram()

    def middle(self, x: Tensor) -> Tensor:
        length = self.gram(x).diagonal()[:, None, None, None]
        h: Tensor = self.inner(x / length.sqrt())
        return h


class Numbered(Base):
    """A module returns a number for each row's place in the batch."""

    class Place(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.arange(len(x)).to(x).reshape(-1, 1, 1, 1)

    def __init__(self) -> None:
        super().__init__()
        self.place = self.Place()

    def middle(self, x: Tensor) -> Tensor:
        place = self.place(x)
        h: Tensor = self.inner(x + place)
        return h


class Checkpointed(Base):
    """The tap is inside torch.utils.checkpoint."""

    def middle(self, x: Tensor) -> Tensor:
        h: Tensor = checkpoint(self.inner, x, use_reentrant=False)
        return h


class Changing(Base):
    """Another way at low timesteps."""

    def __init__(self) -> None:
        super().__init__()
        self.sometimes = nn.Conv2d(CHANNELS, CHANNELS, 1)

    def forward(self, x_t: Tensor, timesteps: Tensor) -> Tensor:
        x = self.first(x_t) + self.embedded(timesteps)
        if int(timesteps[0]) < 10:
            x = self.first(x_t) + self.sometimes(x)
        eps: Tensor = self.last(torch.tanh(self.inner(x)))
        return eps


class Random(Base):
    """No pass is like the other."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout()

    def middle(self, x: Tensor) -> Tensor:
        h: Tensor = nn.functional.dropout(self.inner(x), training=True)
        return h
