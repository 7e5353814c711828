"""A change of the whole run against the same shifts given as edits."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from tests import tiny
from torch import Tensor

import hspace
from hspace.diffusion import Injection, RunChange

SEEDS = (3, 1, 4, 1, 5)
STRENGTHS = torch.tensor([0.0, 2.0, -1.0, 0.0, 3.0])


def sampler(batch_size: int = 8, eta: float = 0.7, dtype: torch.dtype = torch.float64) -> hspace.Sampler:
    return hspace.Sampler(tiny.denoiser(dtype=dtype), 3, eta, batch_size=batch_size)


def scaled(shifts: dict[int, Tensor], injection: Injection, calls: list[tuple[int, slice]] | None = None) -> RunChange:
    """Row i gets STRENGTHS[i] times the shift."""

    def change(timestep: int, h: Tensor, where: slice) -> Tensor:
        if calls is not None:
            calls.append((timestep, where))
        return h + STRENGTHS[where].to(h).reshape(-1, 1, 1, 1) * shifts[timestep].to(h)

    return RunChange(change, injection)


@pytest.mark.parametrize("injection", get_args(Injection))
@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
def test_it_is_what_edits_of_every_row_are(injection: Injection, batch_size: int) -> None:
    here = sampler(batch_size)
    shifts = tiny.h_shifts(here.model, here.timesteps)
    calls: list[tuple[int, slice]] = []
    found = here.run(SEEDS, scaled(shifts, injection, calls))
    edits = [tiny.Shift({t: float(s) * v for t, v in shifts.items()}, injection) for s in STRENGTHS]
    assert torch.equal(found, here.run(SEEDS, edits))
    batches = [slice(first, min(first + batch_size, 5)) for first in range(0, 5, batch_size)]
    assert calls == [(t, where) for where in batches for t in here.timesteps]


@pytest.mark.parametrize("injection", get_args(Injection))
def test_it_is_what_a_direction_is(injection: Injection) -> None:
    here = sampler(2)
    shifts = tiny.h_shifts(here.model, here.timesteps)
    vectors = torch.stack([shifts[t] for t in here.timesteps])
    direction = hspace.Direction(vectors, here.setting(injection))
    change = RunChange(lambda t, h, where: h + 2 * shifts[t].to(h), injection)
    found = here.run(SEEDS, change)
    torch.testing.assert_close(found, here.run(SEEDS, 2.0 * direction), atol=1e-12, rtol=0)
    assert float((found - here.run(SEEDS)).abs().max()) > 1e-2


def test_the_two_injections_differ() -> None:
    here = sampler()
    shifts = tiny.h_shifts(here.model, here.timesteps)
    symmetric, asymmetric = (here.run(SEEDS, scaled(shifts, how)) for how in get_args(Injection))
    assert float((symmetric - asymmetric)[1].abs().max()) > 1e-3
    assert RunChange(lambda t, h, where: h).injection == "symmetric"


@pytest.mark.parametrize("injection", get_args(Injection))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch_size", [2, 5])
def test_strength_0_is_the_original_bit_for_bit(injection: Injection, dtype: torch.dtype, batch_size: int) -> None:
    here = sampler(batch_size, 1.0, dtype)
    plain = here.run(SEEDS)
    found = here.run(SEEDS, scaled(tiny.h_shifts(here.model, here.timesteps), injection))
    untouched = STRENGTHS == 0
    assert torch.equal(found[untouched], plain[untouched])
    assert bool(((found - plain).flatten(1).abs().amax(1) > 1e-3)[~untouched].all())


@pytest.mark.parametrize("injection", get_args(Injection))
def test_what_is_recorded_is_h_before_the_change(injection: Injection) -> None:
    """At the first step of every batch, where the trajectories have not parted."""
    here = sampler(2)
    plain: list[Tensor] = []
    changed: list[Tensor] = []
    here.run(SEEDS, record=lambda t, h, where: plain.append(h))
    halved = RunChange(lambda t, h, where: 0.5 * h, injection)
    here.run(SEEDS, halved, record=lambda t, h, where: changed.append(h))
    for i in (0, 3, 6):
        assert torch.equal(plain[i], changed[i])
        assert not torch.equal(plain[i + 1], changed[i + 1])


def test_a_change_that_depends_on_h_is_one_that_a_network_makes() -> None:
    """Against a hook on the network itself."""
    here = sampler(2)
    mid_block = here.model.network.get_submodule("mid_block")
    handle = mid_block.register_forward_hook(lambda _, args, h: h + h.tanh())
    expected = here.run(SEEDS)
    handle.remove()
    found = here.run(SEEDS, RunChange(lambda t, h, where: h + h.tanh()))
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    assert float((found - here.run(SEEDS)).abs().max()) > 1e-3


def test_batches_stream() -> None:
    here = sampler(2)
    change = scaled(tiny.h_shifts(here.model, here.timesteps), "symmetric")
    whole = here.run(SEEDS, change)
    for where, x_0 in here.stream(SEEDS, change):
        assert torch.equal(x_0, whole[where])
