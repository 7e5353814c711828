from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from hspace.models import Condition, Denoiser
from hspace.models.conditioning import Branches, Conditioner
from hspace.models.replay import repeat

SIZES = st.integers(1, 4)


def pair(scale: float = 3.0, *, shift_all: bool = True) -> Branches:
    """Two passes, with a tensor, whole numbers, a mapping and something that is no tensor."""

    def told(number: float) -> dict[str, Any]:
        sizes = {"size": torch.full((1, 2), number)}
        return {"text": torch.full((1, 3), number), "mask": torch.tensor([[1, 0]]), "added": sizes, "resolution": None}

    return Branches((told(1.0), told(2.0)), scale, shift_all)


@given(SIZES, st.floats(1.1, 20.0))
def test_guidance_is_the_formula(n: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(n)
    without, own = (torch.randn(n, 3, generator=generator) for _ in range(2))
    assert torch.equal(pair(scale).merged(torch.cat([without, own])), without + scale * (own - without))


@given(SIZES, st.booleans())
def test_what_changes_nothing_changes_nothing(n: int, shift_all: bool) -> None:
    h = torch.randn(2 * n, 4, generator=torch.Generator().manual_seed(n))
    hook = pair(shift_all=shift_all).hook(lambda own: own + torch.zeros(4))
    changed = hook(h)
    assert changed is not None
    assert torch.equal(changed, h)
    assert pair().hook(lambda _: None)(h) is None


@given(SIZES, st.booleans())
def test_a_shift_goes_into_all_passes_or_the_last(n: int, shift_all: bool) -> None:
    h = torch.randn(2 * n, 4, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    changed = pair(shift_all=shift_all).hook(lambda own: own + 5)(h)
    assert changed is not None
    expected = h + 5
    if not shift_all:
        expected[:n] = h[:n]
    torch.testing.assert_close(changed, expected, rtol=0, atol=1e-12)


@given(SIZES, SIZES)
def test_blocks_lie_within_each_pass(n: int, times: int) -> None:
    """Row i of a pass belongs to sample i mod n, as in `Denoiser.decode`."""
    h = torch.arange(2 * n)
    found = repeat(h, times, 2).reshape(2, times, n)
    assert torch.equal(found, h.reshape(2, 1, n).expand(2, times, n))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_arguments_of_every_row_in_the_networks_precision(dtype: torch.dtype) -> None:
    branches = pair()
    given_to = branches.arguments(2, torch.device("cpu"), dtype)
    assert given_to["text"].dtype == given_to["added"]["size"].dtype == dtype
    assert given_to["mask"].dtype == torch.int64
    assert given_to["text"][:, 0].tolist() == given_to["added"]["size"][:, 1].tolist() == [1, 1, 2, 2]
    assert given_to["resolution"] is None
    assert Branches().arguments(3, torch.device("cpu"), dtype) == {}


class Network(nn.Module):
    """eps is what it is told, plus h."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Identity()

    def forward(self, x_t: Tensor, timesteps: Tensor, *, colour: Tensor) -> Tensor:
        return self.inner(x_t) + colour[:, :, None, None]


class Colours:
    """A condition of one's own: a prompt that is a number."""

    default = Condition(prompt="0")
    guidance_scale = 2.0
    wanted = "a number"

    def branches(self, condition: Condition) -> Branches:
        none, own = ({"colour": torch.full((1, 1), float(text))} for text in ("0", condition.prompt or "0"))
        return Branches((none, own), condition.guidance_scale) if condition.guided else Branches((own,))


def test_a_conditioner_of_ones_own() -> None:
    conditioner = Colours()
    assert isinstance(conditioner, Conditioner)
    alphas = torch.linspace(0.99, 0.01, 10)
    model = Denoiser(Network(), alphas, image_shape=(1, 2, 2), tap="inner", conditioner=conditioner)
    x_t = torch.zeros(3, 1, 2, 2)
    assert torch.equal(model.predict(x_t, 3).eps, x_t)
    other = model.conditioned("4")
    assert other.condition == Condition(prompt="4", guidance_scale=2.0)
    assert torch.equal(other.predict(x_t, 3).eps, torch.full_like(x_t, 8))  # 0 + 2 (4 - 0)
    assert torch.equal(other.predict(x_t, 3, shift=torch.ones(1, 2, 2)).eps, torch.full_like(x_t, 9))
