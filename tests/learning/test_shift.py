"""Shift control modules: how long shifts are, where they lie, on what they depend."""

from __future__ import annotations

import copy
from typing import get_args

import pytest
import torch
from tests import tiny
from torch import Tensor
from torch.nn.functional import normalize

from hspace.errors import HspaceError
from hspace.learning import BlockShift, GlobalShift, Span, make_shift
from hspace.learning.shift import Kind, Parametrisation, Shift

TIMESTEPS = (90, 40, 10)
SHAPE = (8, 2, 3)
D, R, K = 48, 6, 4


def span(*, whole: bool = False, dtype: torch.dtype = torch.float64) -> Span:
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(3, D, generator=generator, dtype=torch.float64)
    axes = torch.linalg.qr(torch.randn(3, D, R, generator=generator, dtype=torch.float64)).Q.transpose(1, 2)
    deviations = (
        torch.tensor([8.0, 4.0, 2.0, 1.0, 0.5, 0.25]).double() * torch.tensor([1.0, 2.0, 3.0]).double()[:, None]
    )
    rms = torch.tensor([1.0, 2.0, 3.0]).double()
    if whole:
        return Span(mean.to(dtype), rms.to(dtype))
    return Span(mean.to(dtype), rms.to(dtype), axes.contiguous().to(dtype), deviations.to(dtype))


def module(
    kind: Kind = "global", parametrisation: Parametrisation = "ortho", n: int = K, *, whole: bool = False
) -> Shift:
    return make_shift(kind, parametrisation, span(whole=whole), TIMESTEPS, n, SHAPE, seed=3)


def some_h(n: int = 5, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def vectors(shift: Shift) -> Tensor:
    assert isinstance(shift, GlobalShift)
    return shift.vectors().detach()


def trained(shift: Shift, steps: int = 3, rate: float = 0.1) -> Shift:
    """After steps of Adam on a loss that pulls everything towards one point."""
    optimizer = torch.optim.Adam(shift.parameters(), rate)
    kinds = torch.arange(shift.n)
    for _ in range(steps):
        optimizer.zero_grad()
        moved = [shift(t, some_h(shift.n), kinds, torch.ones(shift.n)) for t in TIMESTEPS]
        torch.stack([(h - 3).square().sum() for h in moved]).sum().backward()
        optimizer.step()
    return shift


def check_orthonormal(shift: Shift, atol: float = 1e-12) -> None:
    for row in range(3):
        w = normalize(shift.span.coordinates(vectors(shift)[row], row), dim=1)
        torch.testing.assert_close(w @ w.T, torch.eye(shift.n).to(w), atol=atol, rtol=0)


def check_unit(shifts: Tensor, row: int, here: Span) -> None:
    """One standard deviation long by the covariance of the span, or by the rms of h; and in the span."""
    shifts = shifts.flatten(1)
    units = normalize(shifts, dim=1)
    if here.axes is None or here.deviations is None:
        expected = here.rms[row].expand(len(units))
    else:
        covariance = here.axes[row].T @ here.deviations[row].square().diag() @ here.axes[row]
        expected = ((units @ covariance) * units).sum(1).sqrt()
        torch.testing.assert_close(shifts @ here.axes[row].T @ here.axes[row], shifts)
    torch.testing.assert_close(shifts.norm(dim=1), expected)


@pytest.mark.parametrize("whole", [False, True])
def test_ortho_is_orthonormal_in_whitened_coordinates_and_stays_so(whole: bool) -> None:
    shift = module(whole=whole)
    before = vectors(shift)
    check_orthonormal(shift)
    check_orthonormal(trained(shift))
    assert float((vectors(shift) - before).abs().max()) > 0.1  # Adam did something


def test_as_many_orthogonal_directions_as_the_span_has() -> None:
    check_orthonormal(trained(module(n=R)))


def test_the_average_of_an_orthogonal_module_is_orthogonal() -> None:
    """As the training averages: its parameters, which must not lose the signs that they hold."""
    shift = module(n=R)
    averages = {name: p.detach().clone() for name, p in shift.named_parameters()}
    for step in range(1, 20):
        trained(shift, 1)
        for name, p in shift.named_parameters():
            averages[name].lerp_(p.detach(), 1 - min(0.98, step / (step + 9)))
    average = copy.deepcopy(shift)
    with torch.no_grad():
        for name, value in averages.items():
            average.get_parameter(name).copy_(value)
    check_orthonormal(average)
    assert float((vectors(average) - vectors(shift)).abs().max()) > 1e-3


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("parametrisation", get_args(Parametrisation))
@pytest.mark.parametrize("whole", [False, True])
def test_strength_one_is_one_standard_deviation(kind: Kind, parametrisation: Parametrisation, whole: bool) -> None:
    shift = module(kind, parametrisation, whole=whole)
    if parametrisation != "fixed":
        trained(shift, rate=0.03)
    kinds = torch.tensor([0, 3, 1, 2, 3])
    for row, timestep in enumerate(TIMESTEPS):
        h = some_h()
        with torch.no_grad():
            moved = shift(timestep, h, kinds, torch.ones(5))
        check_unit(moved - h, row, shift.span)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_shifts_grow_with_strength(kind: Kind) -> None:
    shift, h, kinds = module(kind), some_h(), torch.tensor([0, 3, 1, 2, 3])
    strengths = torch.tensor([1.0, -2.0, 0.5, 6.0, -1.0])
    unit = shift.unit(40, h, kinds)
    torch.testing.assert_close(shift(40, h, kinds, strengths), h + strengths.double().reshape(-1, 1, 1, 1) * unit)


def test_linear_and_fixed_start_where_ortho_does() -> None:
    start = vectors(module())
    for parametrisation in ("linear", "fixed"):
        torch.testing.assert_close(vectors(module("global", parametrisation)), start)
    same = start[0] @ module().span.axes[0].T  # type: ignore[index]
    assert not torch.equal(same[0], same[1])


def test_linear_directions_may_come_together() -> None:
    shift = trained(module("global", "linear"), 30)
    w = normalize(shift.span.coordinates(vectors(shift)[0], 0), dim=1)
    assert float((w @ w.T - torch.eye(K)).abs().max()) > 0.5


@pytest.mark.parametrize("kind", get_args(Kind))
def test_fixed_has_nothing_to_train(kind: Kind) -> None:
    assert not any(p.requires_grad for p in module(kind, "fixed").parameters())
    assert all(p.requires_grad for p in module(kind, "linear").parameters())


@pytest.mark.parametrize("kind", get_args(Kind))
def test_a_seed_is_a_start_and_the_global_generator_is_left_alone(kind: Kind) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = make_shift(kind, "linear", span(), TIMESTEPS, K, SHAPE, seed=3)
    assert torch.equal(torch.rand(3), expected)
    again, other = (make_shift(kind, "linear", span(), TIMESTEPS, K, SHAPE, seed=seed) for seed in (3, 4))
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(next(first.parameters()), next(other.parameters()))


def test_the_start_is_the_same_at_every_timestep() -> None:
    shift = module()
    w = [normalize(shift.span.coordinates(vectors(shift)[row], row), dim=1) for row in range(3)]
    torch.testing.assert_close(w[0], w[1])
    torch.testing.assert_close(w[0], w[2])


@pytest.mark.parametrize("kind", get_args(Kind))
def test_rows_keep_their_own_kind(kind: Kind) -> None:
    shift, h = module(kind), some_h(6)
    kinds, strengths = torch.tensor([2, 0, 2, 3, 1, 0]), torch.linspace(-3, 3, 6)
    together = shift(40, h, kinds, strengths)
    for i in range(6):
        alone = shift(40, h[i : i + 1], kinds[i : i + 1], strengths[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone)
    other = shift(40, h, (kinds + 1) % K, strengths)
    assert bool(((other - together).flatten(1).norm(dim=1) > 0.1).all())


def test_global_shifts_do_not_depend_on_h() -> None:
    shift, kinds = module(), torch.arange(K)
    assert torch.equal(shift.unit(40, some_h(K), kinds), shift.unit(40, some_h(K, seed=9), kinds))
    torch.testing.assert_close(shift.unit(40, some_h(K), kinds).flatten(1), vectors(shift)[1])


def test_block_shifts_depend_on_h_and_on_its_gradient() -> None:
    shift, kinds = module("block"), torch.arange(K)
    h = some_h(K).requires_grad_()
    unit = shift.unit(40, h, kinds)
    other = shift.unit(40, some_h(K, seed=9), kinds)
    assert bool(((unit - other).flatten(1).norm(dim=1) > 0.1).all())
    (gradient,) = torch.autograd.grad(unit.square().sum() + unit.sum(), h)
    assert bool((gradient.flatten(1).norm(dim=1) > 0).all())


@pytest.mark.parametrize("channels", [3, 8, 32, 128])
@pytest.mark.parametrize("side", [1, 2])
def test_block_shifts_depend_on_the_time(channels: int, side: int) -> None:
    """By the network: mean and unit are the same here at all timesteps."""
    d = channels * side**2
    here = Span(torch.zeros(3, d), torch.ones(3))
    shift = make_shift("block", "linear", here, TIMESTEPS, 2, (channels, side, side), seed=0)
    h = torch.randn(3, channels, side, side, generator=torch.Generator().manual_seed(0))
    high, low = (shift.unit(t, h, torch.tensor([0, 1, 0])).detach() for t in (90, 10))
    assert float((high - low).abs().max()) > 1e-3


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_strength_0_is_h_bit_for_bit(kind: Kind, dtype: torch.dtype) -> None:
    shift = make_shift(kind, "linear", span(dtype=torch.float32), TIMESTEPS, K, SHAPE, seed=3)
    h = some_h(dtype=dtype)
    moved = shift(10, h, torch.tensor([0, 1, 2, 3, 0]), torch.zeros(5))
    assert moved.dtype == dtype
    assert torch.equal(moved, h)
    half = shift(10, h, torch.tensor([0, 1, 2, 3, 0]), torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0]))
    assert torch.equal(half[::2], h[::2])
    assert not torch.equal(half[1::2], h[1::2])


@pytest.mark.parametrize("kind", get_args(Kind))
def test_half_precision_of_h_is_only_rounding(kind: Kind) -> None:
    shift = make_shift(kind, "linear", span(dtype=torch.float32), TIMESTEPS, K, SHAPE, seed=3)
    kinds, strengths = torch.tensor([0, 1, 2, 3, 0]), torch.linspace(-3, 3, 5)
    h = some_h(dtype=torch.bfloat16)
    exact = shift(10, h.float(), kinds, strengths)
    torch.testing.assert_close(shift(10, h, kinds, strengths).float(), exact, rtol=2e-2, atol=2e-2)


def test_channels_last_h() -> None:
    shift, kinds = module("block"), torch.tensor([0, 1, 2, 3, 0])
    h = some_h()
    last = h.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(shift(10, last, kinds, torch.ones(5)), shift(10, h, kinds, torch.ones(5)))


@pytest.mark.parametrize(
    ("kind", "parametrisation", "n", "shape", "message"),
    [
        ("local", "ortho", K, SHAPE, "kind must be one of global, block, not 'local'"),
        ("global", "free", K, SHAPE, "parametrisation must be one of ortho, linear, fixed, not 'free'"),
        ("global", "ortho", 1, SHAPE, "at least 2 directions are learned together, not 1"),
        ("global", "ortho", R + 1, SHAPE, "7 directions don't fit into a span of 6"),
        ("global", "linear", R + 1, SHAPE, "7 directions don't fit into a span of 6"),
        (
            "block",
            "linear",
            K,
            (D,),
            r"a block needs h of shape \(c, y, x\) or \(tokens, d\), not \(48,\): learn global ones",
        ),
    ],
)
def test_errors(kind: Kind, parametrisation: Parametrisation, n: int, shape: tuple[int, ...], message: str) -> None:
    with tiny.unchecked_types(), pytest.raises(HspaceError, match=message):
        make_shift(kind, parametrisation, span(), TIMESTEPS, n, shape, seed=0)


def test_a_block_treats_tokens_alike() -> None:
    """Tokens in another order give the same shifts in that order; as a picture's cells do with their channels."""
    tokens, d = 6, 8
    here = Span(torch.zeros(3, tokens * d, dtype=torch.float64), torch.ones(3, dtype=torch.float64))
    shift = make_shift("block", "linear", here, TIMESTEPS, 2, (tokens, d), seed=0)
    h = torch.randn(2, tokens, d, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    kinds, order = torch.tensor([1, 0]), torch.tensor([3, 0, 5, 1, 2, 4])
    unit = shift.unit(40, h, kinds)
    torch.testing.assert_close(shift.unit(40, h[:, order], kinds), unit[:, order])
    picture = make_shift("block", "linear", here, TIMESTEPS, 2, (d, 2, 3), seed=0)
    of_picture = picture.unit(40, h.transpose(1, 2).reshape(2, d, 2, 3), kinds)
    torch.testing.assert_close(unit, of_picture.flatten(2).transpose(1, 2))


def test_more_blocks_than_the_span_has() -> None:
    assert isinstance(module("block", n=R + 2), BlockShift)
