"""The sampling loop never waits for the device.

A model on the meta device has no numbers to give back: whatever reads one (`.item()`, `float`, `.cpu()`, a branch)
raises. What comes from the CPU to it is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from tests import tiny
from torch.utils._python_dispatch import TorchDispatchMode

import hspace
from hspace.diffusion import Noise, Prefixes, Schedule

STEPS = 4


class Copies(TorchDispatchMode):
    """Shapes of what is copied from one device to another."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and result.device != args[0].device:
            self.shapes.append(tuple(result.shape))
        return result


@contextmanager
def copies() -> Iterator[list[tuple[int, ...]]]:
    with Copies() as mode:
        yield mode.shapes


@pytest.mark.parametrize("injection", ["symmetric", "asymmetric"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shared", [False, True])
def test_a_step_reads_nothing_back_and_is_sent_its_noise_only(
    injection: Any, eta: float, masked: bool, shared: bool
) -> None:
    model = tiny.denoiser(dtype=torch.float32)
    vectors = torch.stack(list(tiny.h_shifts(model, range(STEPS)).values())).float()
    sampler = hspace.Sampler(model, STEPS, eta)
    direction = hspace.Direction(vectors, sampler.setting(), "d")
    mask = torch.ones(model.h_shape[1:]) if masked else None
    edit = hspace.Edit.of(direction, 2.0, mask=mask, window=(sampler.timesteps[1], 0), injection=injection)
    assert model.can_replay  # found out with numbers, once
    model.to("meta")
    with copies() as shapes:
        for _, x_0 in sampler.stream([0, 0, 1], [edit, None, edit], prefixes=Prefixes() if shared else None):
            assert x_0.is_meta
    batch = (2 if shared else 3, *tiny.IMAGE_SHAPE)
    once = [(STEPS, *model.h_shape)] + [tuple(model.h_shape[1:])] * masked  # the edit, before the first step
    noise = [batch] * (STEPS - 1) if eta else []  # none at the last
    assert shapes == [*once, batch, *noise]


def test_noise_drawn_ahead_is_that_of_the_step() -> None:
    asked: list[int] = []

    class Counting(tiny.FixedLatents):
        def z(self, timestep: int) -> torch.Tensor:
            asked.append(timestep)
            return super().z(timestep)

    noise = {t: torch.full((1, 1, 1, 1), float(t)) for t in (9, 6, 3)}
    schedule = Schedule((9, 6, 3, 1), (0.1, 0.3, 0.5, 0.9), 1.0, (1.0, 0.0, 1.0, 1.0), train_timesteps=10)
    for device in ("cpu", "meta"):
        asked.clear()
        with Noise(Counting(torch.zeros(1, 1, 1, 1), noise), schedule, torch.device(device)) as drawn:
            found = [drawn.at(i) for i in range(4)]
        assert asked == [9, 3]  # no noise where eta is 0, nor at the last step
        assert [z is None for z in found] == [False, True, False, True]
        if device == "cpu":
            assert [float(z) for z in found if z is not None] == [9.0, 3.0]


def test_an_error_of_the_thread_reaches_the_run() -> None:
    model = tiny.denoiser(dtype=torch.float32)
    sampler = hspace.Sampler(model, STEPS)
    latents = sampler.latents([0])
    broken = tiny.FixedLatents(latents.x_T(), {sampler.timesteps[0]: latents.z(sampler.timesteps[0])})
    model.to("meta")
    with pytest.raises(KeyError):
        list(sampler.stream(broken))
