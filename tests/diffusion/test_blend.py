"""h becomes keep * h + shift, row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from tests import tiny
from torch import Tensor

import hspace
from hspace.diffusion import Blend, Injection, Intervention, Setting, ShiftAt
from hspace.models import Denoiser

MODELS = {"unet": tiny.denoiser(), "plain": tiny.plain_denoiser(), "float32": tiny.denoiser(dtype=torch.float32)}
SEEDS = (5, 6, 7, 8, 9)
every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
injections = pytest.mark.parametrize("injection", ["symmetric", "asymmetric"])


@dataclass
class Blended:
    """An intervention written out."""

    blends: Mapping[int, Blend]
    injection: Injection | None = None

    def bind(self, setting: Setting, device: torch.device) -> ShiftAt:
        return self.blends.get

    def bind_start(self, setting: Setting, device: torch.device) -> None:
        return None


def by_hand(sampler: hspace.Sampler, seed: int, blends: Mapping[int, Blend], injection: Injection) -> Tensor:
    """One sample, with encode and decode."""
    model, schedule = sampler.model, sampler.schedule
    latents = sampler.latents([seed])
    x_t = latents.x_T().to(model.state_dtype)
    for i, (timestep, sigma) in enumerate(zip(schedule.timesteps, schedule.sigmas, strict=True)):
        encoding = model.encode(x_t, timestep)
        plain = changed = model.decode(encoding)
        if timestep in blends:
            blend = blends[timestep]
            changed = model.decode(encoding, blend.keep.to(encoding.h) * encoding.h + blend.shift.to(encoding.h))
        x_t = schedule.step(i, changed.x_0, (changed if injection == "symmetric" else plain).eps)
        x_t = x_t + sigma * latents.z(timestep).to(x_t)
    return x_t


def random_blends(model: Denoiser, timesteps: tuple[int, ...], keep: float | None = None) -> dict[int, Blend]:
    shifts = tiny.h_shifts(model, timesteps, seed=3)
    generator = torch.Generator().manual_seed(4)
    keeps = {t: torch.rand(model.h_shape[1:], generator=generator) for t in timesteps}
    return {t: Blend(keeps[t] if keep is None else torch.tensor(keep), shift) for t, shift in shifts.items()}


@every_model
@injections
@pytest.mark.parametrize("keep", [0.0, 1.0, None])
def test_against_a_loop_by_hand(model: Denoiser, injection: Injection, keep: float | None) -> None:
    sampler = hspace.Sampler(model, 4, batch_size=3)
    blends = random_blends(model, sampler.timesteps[1:3], keep)
    edit = Blended(blends, injection)
    assert isinstance(edit, Intervention)
    found = sampler.run(SEEDS, edit)
    expected = torch.cat([by_hand(sampler, seed, blends, injection) for seed in SEEDS])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12 if model.dtype == torch.float64 else 1e-4)
    assert not torch.allclose(found, sampler.run(SEEDS), atol=1e-2)


@injections
@pytest.mark.parametrize("model", [MODELS["plain"], MODELS["unet"]], ids=["plain", "unet"])
def test_keep_0_gives_what_lies_behind_the_tap_the_very_numbers(model: Denoiser, injection: Injection) -> None:
    sampler = hspace.Sampler(model, 2, batch_size=2)
    blends = random_blends(model, sampler.timesteps, keep=0.0)
    behind = getattr(model.network, "activation", None) or model.network.up_blocks[0]
    seen: list[Tensor] = []

    def look(_: object, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> None:
        seen.append((*args, *kwargs.values())[0].clone())

    handle = behind.register_forward_pre_hook(look, with_kwargs=True)
    sampler.run([1, 2], Blended(blends, injection))
    handle.remove()
    changed = seen[1::2] if injection == "asymmetric" else seen  # the plain pass comes first
    for h, timestep in zip(changed, sampler.timesteps, strict=True):
        assert torch.equal(h, blends[timestep].shift.to(h).expand_as(h))


@every_model
@injections
def test_rows_with_blends_shifts_and_neither_share_a_batch(model: Denoiser, injection: Injection) -> None:
    sampler = hspace.Sampler(model, 4)
    shifts = tiny.h_shifts(model, sampler.timesteps[:2])
    blend = Blended(random_blends(model, sampler.timesteps[1:3]), injection)
    kept = Blended(random_blends(model, sampler.timesteps, keep=1.0), injection)
    none = {t: Blend(torch.ones(()), torch.zeros(model.h_shape)) for t in sampler.timesteps}
    shift, nothing = tiny.Shift(shifts, injection), Blended(none, injection)
    together = sampler.run(SEEDS, [None, blend, shift, nothing, kept])
    plain = sampler.run(SEEDS)
    assert torch.equal(together[[0, 3]], plain[[0, 3]])
    atol = 1e-12 if model.dtype == torch.float64 else 1e-4
    for row, edit in ((1, blend), (2, shift), (4, kept)):
        alone = sampler.run([SEEDS[row]], edit)[0]
        torch.testing.assert_close(together[row], alone, rtol=0, atol=atol)
        assert not torch.allclose(alone, plain[row], atol=1e-2)


@every_model
@injections
def test_strength_0_beside_blends_is_the_original_bit_for_bit(model: Denoiser, injection: Injection) -> None:
    sampler = hspace.Sampler(model, 4, batch_size=3)
    direction = hspace.random_directions(sampler.setting(injection), [1.0] * 4)[0]
    blend = Blended(random_blends(model, sampler.timesteps, keep=0.0), injection)
    found = sampler.run(SEEDS, [blend, 0.0 * direction, hspace.Edit.of(direction, 0.0), blend, None])
    assert torch.equal(found[[1, 2, 4]], sampler.run(SEEDS)[[1, 2, 4]])
    with_one = sampler.run(SEEDS, Blended({}, injection))
    assert torch.equal(with_one, sampler.run(SEEDS))


def test_a_keep_is_broadcast_and_may_differ_by_channel() -> None:
    model = MODELS["unet"]
    sampler = hspace.Sampler(model, 2)
    shift = {t: torch.zeros(model.h_shape) for t in sampler.timesteps}
    channels = torch.tensor([1.0, 0.0] * 4).reshape(8, 1, 1)
    narrow = Blended({t: Blend(channels, shift[t]) for t in sampler.timesteps})
    wide = Blended({t: Blend(channels.expand(8, 4, 4).clone(), shift[t]) for t in sampler.timesteps})
    assert torch.equal(sampler.run(SEEDS, narrow), sampler.run(SEEDS, wide))
    assert not torch.equal(sampler.run(SEEDS, narrow), sampler.run(SEEDS))
