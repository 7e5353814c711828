"""The contracts of sampling: a sample is its seed; strength 0 is the original; edits are keyed by timestep."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import tiny
from torch import Tensor, nn

import hspace
from hspace.diffusion import Injection, Setting, ShiftAt
from hspace.models import Denoiser

MODEL, PLAIN, FLOAT32 = tiny.denoiser(), tiny.plain_denoiser(), tiny.denoiser("v_prediction", dtype=torch.float32)
MODELS = {"unet": MODEL, "plain": PLAIN, "float32": FLOAT32}
STEPS = 4
SEEDS = (5, 6, 7, 8, 9)
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
injections = pytest.mark.parametrize("injection", ["symmetric", "asymmetric"])


def direction(model: Denoiser, seed: int = 0) -> hspace.Direction:
    sampler = hspace.Sampler(model, STEPS)
    vectors = torch.stack(list(tiny.h_shifts(model, sampler.timesteps, seed).values())).float()
    return hspace.Direction(vectors, sampler.setting(), f"d{seed}")


@cache
def alone(name: str, seed: int) -> Tensor:
    """One sample in a batch of one."""
    return hspace.Sampler(MODELS[name], STEPS, batch_size=1).run([seed])[0]


# A sample is its seed.


@settings(max_examples=8)
@pytest.mark.parametrize(("name", "atol"), [("unet", 1e-12), ("plain", 1e-12), ("float32", 2e-5)])
@given(seeds=st.lists(st.integers(0, 20), min_size=1, max_size=7), batch_size=st.integers(1, 8))
def test_a_sample_does_not_know_its_batch(name: str, atol: float, seeds: list[int], batch_size: int) -> None:
    x_0 = hspace.Sampler(MODELS[name], STEPS, batch_size=batch_size).run(seeds)
    torch.testing.assert_close(x_0, torch.stack([alone(name, seed) for seed in seeds]), rtol=0, atol=atol)


def edits(model: Denoiser, injection: Injection) -> list[hspace.Edit | None]:
    """One for each of SEEDS."""
    first, second = direction(model), direction(model, 1)
    edit = hspace.Edit.of(first, injection=injection)
    return [None, edit, 2.0 * edit, edit + (-1.0) * second, 0.0 * edit]


@cache
def edited_alone(injection: Injection) -> Tensor:
    sampler = hspace.Sampler(MODEL, STEPS, batch_size=1)
    return torch.cat([sampler.run([seed], edit) for seed, edit in zip(SEEDS, edits(MODEL, injection), strict=True)])


@settings(max_examples=8)
@injections
@given(order=st.permutations(range(5)), batch_size=st.integers(1, 5))
def test_nor_does_an_edited_one(injection: Injection, order: list[int], batch_size: int) -> None:
    each = edits(MODEL, injection)
    x_0 = hspace.Sampler(MODEL, STEPS, batch_size=batch_size).run(
        [SEEDS[row] for row in order], [each[row] for row in order]
    )
    torch.testing.assert_close(x_0, edited_alone(injection)[order], rtol=0, atol=1e-12)


def test_five_hundred_seeds_are_five_hundred_pictures() -> None:
    x_0 = hspace.Sampler(FLOAT32, 2).run(range(500))
    assert len(x_0.flatten(1).unique(dim=0)) == 500


def test_noise_is_that_of_the_timestep_whatever_the_grid() -> None:
    """A run over part of a grid, started from where the whole run was, meets the same noise."""
    whole = hspace.Sampler(MODEL, 4, eta=1.0)
    latents = whole.latents(SEEDS)
    assert torch.equal(latents.z(50), hspace.Sampler(MODEL, 2, spacing="linspace").latents(SEEDS).z(50))
    states: list[Tensor] = []
    handle = MODEL.network.register_forward_pre_hook(lambda _, args: states.append(args[0]))
    x_0 = whole.run(latents)
    handle.remove()
    noise = {t: latents.z(t) for t in whole.timesteps}
    rest = replace(
        whole.schedule, timesteps=whole.timesteps[2:], alphas=whole.schedule.alphas[2:], etas=whole.schedule.etas[2:]
    )
    later = hspace.Sampler.on(MODEL, replace(whole.setting(), schedule=rest))
    torch.testing.assert_close(later.run(tiny.FixedLatents(states[2], noise)), x_0, rtol=0, atol=1e-12)


# Strength 0 is the original, bit for bit.


@every_model
@injections
def test_strength_0_is_the_original_bit_for_bit(model: Denoiser, injection: Injection) -> None:
    sampler = hspace.Sampler(model, STEPS, batch_size=3)
    original = sampler.run(SEEDS)
    d = direction(model)
    zero = hspace.Edit.of(d, 0.0, injection=injection)
    nothing = hspace.Edit.of(0.0 * d, injection=injection)  # its vectors are 0, its strength is 1
    zeros = tiny.h_shifts(model, sampler.timesteps, scale=0.0)
    scaled = 0.0 * hspace.Edit.of(d, injection=injection)
    for edit in (zero, scaled, nothing, tiny.Shift(zeros, injection), 0.0 * d):
        assert torch.equal(sampler.run(SEEDS, edit), original)
    assert torch.equal(sampler.run(SEEDS, [zero, None, nothing, scaled, None]), original)
    assert torch.equal(sampler.run(SEEDS, tiny.Shift({}, injection)), original)


@every_model
@injections
def test_rows_of_strength_0_are_the_original_beside_edited_ones(model: Denoiser, injection: Injection) -> None:
    sampler = hspace.Sampler(model, STEPS, batch_size=3)
    original = sampler.run(SEEDS)
    edit = hspace.Edit.of(direction(model), 5.0, injection=injection)
    x_0 = sampler.run(SEEDS, [0.0 * edit, edit, None, edit, 0.0 * edit])
    assert torch.equal(x_0[[0, 2, 4]], original[[0, 2, 4]])
    assert not torch.allclose(x_0[[1, 3]], original[[1, 3]], atol=1e-3)


def state(network: nn.Module) -> Any:
    hooks = [name for name, m in network.named_modules() if m._forward_hooks or m._forward_pre_hooks]
    weights = {name: weight.clone() for name, weight in network.state_dict().items()}
    return {name: id(module) for name, module in network.named_modules()}, hooks, weights


def same(a: Any, b: Any) -> bool:
    return a[:2] == b[:2] and list(a[2]) == list(b[2]) and all(torch.equal(a[2][name], b[2][name]) for name in a[2])


@pytest.mark.parametrize("model", [MODEL, PLAIN], ids=["unet", "plain"])
@injections
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["record", "progress", "behind the tap", "shift"])
def test_an_exception_leaves_nothing_behind(
    model: Denoiser, injection: Injection, error: type[BaseException], where: str
) -> None:
    sampler = hspace.Sampler(model, STEPS, batch_size=2)
    original, before = sampler.run(SEEDS), state(model.network)
    shifts = tiny.h_shifts(model, sampler.timesteps)
    calls = 0

    def interrupt(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 6:  # in the second batch
            raise error

    class Interrupting(tiny.Shift):
        def bind(self, setting: Setting, device: torch.device) -> ShiftAt:
            return lambda timestep: interrupt() or self.shifts[timestep]

    edit = Interrupting(shifts, injection) if where == "shift" else tiny.Shift(shifts, injection)
    options: dict[str, Any] = {where: interrupt} if where in ("record", "progress") else {}
    last = model.network.conv_out if model is MODEL else model.network.up
    with ExitStack() as stack:
        if where == "behind the tap":
            stack.callback(last.register_forward_hook(interrupt).remove)
        with pytest.raises(error):
            sampler.run(SEEDS, edit, **options)
    assert same(state(model.network), before)
    assert torch.equal(sampler.run(SEEDS), original)


# Interventions are keyed by timestep.


@injections
@pytest.mark.parametrize("chosen", range(STEPS))
def test_a_shift_acts_at_its_timestep_in_every_batch(injection: Injection, chosen: int) -> None:
    sampler = hspace.Sampler(MODEL, STEPS, eta=0.0, batch_size=2)
    (timestep, shift), *_ = tiny.h_shifts(MODEL, [sampler.timesteps[chosen]]).items()
    states: dict[str, dict[int, list[Tensor]]] = {"plain": {}, "edited": {}}
    for name, edit in (("plain", None), ("edited", tiny.Shift({timestep: shift}, injection))):
        sampler.run(SEEDS, edit, record=lambda t, h, _, name=name: states[name].setdefault(t, []).append(h))
    for t in sampler.timesteps:  # h is recorded before the shift: the first change is seen one step later
        equal = torch.allclose(torch.cat(states["plain"][t]), torch.cat(states["edited"][t]), atol=1e-9)
        assert equal is (t >= timestep)


@injections
def test_other_calls_of_the_network_in_between_change_nothing(injection: Injection) -> None:
    sampler = hspace.Sampler(MODEL, STEPS, batch_size=2)
    edit = hspace.Edit.of(direction(MODEL), 2.0, injection=injection)
    expected = sampler.run(SEEDS, edit)
    x_t = torch.zeros(1, *MODEL.image_shape, dtype=torch.float64)

    def record(timestep: int, h: Tensor, rows: slice) -> None:
        MODEL.predict(x_t, timestep)
        MODEL.decode(MODEL.encode(x_t, 3))

    assert torch.equal(sampler.run(SEEDS, edit, record=record), expected)


def test_runs_that_are_interleaved_do_not_meet() -> None:
    """Two generators over one model, batch by batch."""
    sampler = hspace.Sampler(MODEL, STEPS, batch_size=2)
    edit = hspace.Edit.of(direction(MODEL), 2.0)
    both = list(zip(sampler.stream(SEEDS), sampler.stream(SEEDS, edit), strict=True))
    assert torch.equal(torch.cat([x_0 for (_, x_0), _ in both]), sampler.run(SEEDS))
    assert torch.equal(torch.cat([x_0 for _, (_, x_0) in both]), sampler.run(SEEDS, edit))


def test_a_stream_that_is_left_early_leaves_nothing_behind() -> None:
    before = state(MODEL.network)
    for _ in hspace.Sampler(MODEL, STEPS, batch_size=2).stream(SEEDS, hspace.Edit.of(direction(MODEL))):
        break
    assert same(state(MODEL.network), before)
