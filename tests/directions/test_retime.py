from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import hspace
from hspace import HspaceError
from hspace.diffusion import Injection, Setting
from hspace.directions import Direction, Edit

SettingOf = Callable[..., Setting]

GRIDS = st.lists(st.integers(100, 900), min_size=2, max_size=12, unique=True).map(lambda t: tuple(sorted(t)[::-1]))


def test_the_same_setting_is_the_same_object(setting_of: SettingOf) -> None:
    direction = Direction(torch.ones(4, 2, 3), setting_of())
    assert direction.retimed(setting_of()) is direction


@given(old=GRIDS, new=GRIDS)
def test_vectors_linear_in_t_stay_on_their_line(
    setting_of: SettingOf, old: tuple[int, ...], new: tuple[int, ...]
) -> None:
    def line(timesteps: tuple[int, ...]) -> Tensor:
        t = torch.tensor(timesteps, dtype=torch.float64)[:, None, None]
        return 3.0 - 0.01 * t + torch.arange(6, dtype=torch.float64).reshape(2, 3) * t

    new = tuple(t for t in new if old[-1] <= t <= old[0]) or old
    retimed = Direction(line(old), setting_of(old)).retimed(setting_of(new), rescale=False)
    torch.testing.assert_close(retimed.vectors, line(new), rtol=1e-9, atol=1e-9)


@given(old=GRIDS, new=GRIDS)
def test_shared_timesteps_keep_their_vectors_bit_for_bit(
    setting_of: SettingOf, old: tuple[int, ...], new: tuple[int, ...]
) -> None:
    new = tuple(sorted({*old, *(t for t in new if old[-1] <= t <= old[0])}, reverse=True))
    vectors = torch.randn(len(old), 2, 3, generator=torch.Generator().manual_seed(0))
    retimed = Direction(vectors, setting_of(old)).retimed(setting_of(new), rescale=False)
    assert torch.equal(retimed.vectors[[new.index(t) for t in old]], vectors)


def test_symmetric_shifts_without_noise_need_no_rescaling(setting_of: SettingOf) -> None:
    """Their gain is that of the fine-step limit on every grid."""
    direction = Direction(torch.ones(4, 2, 3), setting_of())
    finer = setting_of(tuple(range(900, -1, -50)))
    torch.testing.assert_close(direction.retimed(finer).vectors, torch.ones(19, 2, 3))


def test_it_remembers_where_it_comes_from(setting_of: SettingOf) -> None:
    retimed = Direction(torch.ones(4, 2, 3), setting_of(), "smile", {"method": "pca"}).retimed(setting_of((900, 0)))
    assert retimed.name == "smile"
    assert retimed.setting == setting_of((900, 0))
    assert retimed.origin["method"] == "pca"
    assert Setting.from_json(retimed.origin["retimed_from"]) == setting_of()


def effect(sampler: hspace.Sampler, direction: Direction, injection: Injection = "symmetric") -> Tensor:
    """Of an edit on the pictures, mean over 8 seeds. The model is linear: it is the same for every seed."""
    edited = sampler.run(range(8), Edit.of(direction, injection=injection))
    return (edited - sampler.run(range(8))).mean(0)


def smooth(sampler: hspace.Sampler, injection: Injection) -> Direction:
    """A direction that changes slowly along t."""
    t = torch.tensor(sampler.timesteps, dtype=torch.float64) / 1000
    vectors = torch.stack([torch.ones_like(t), t, 1 - t, torch.sin(3 * t)], 1)
    return Direction(vectors.reshape(-1, 1, 2, 2), sampler.setting(injection), "smooth")


@pytest.mark.parametrize(
    ("found", "used"),
    [
        ((20, 0.0, "symmetric"), (40, 0.0, "symmetric")),
        ((20, 0.0, "asymmetric"), (40, 0.0, "asymmetric")),
        ((20, 1.0, "symmetric"), (40, 1.0, "symmetric")),
        ((40, 1.0, "asymmetric"), (20, 1.0, "asymmetric")),
        ((20, 0.0, "symmetric"), (20, 1.0, "symmetric")),
        ((20, 1.0, "symmetric"), (20, 0.0, "symmetric")),
        ((20, 0.0, "symmetric"), (20, 0.0, "asymmetric")),
        ((20, 0.0, "symmetric"), (40, 1.0, "asymmetric")),
    ],
)
def test_the_effect_on_the_picture_stays(
    gaussian: hspace.Denoiser,
    found: tuple[int, float, Injection],
    used: tuple[int, float, Injection],
) -> None:
    old, new = (hspace.Sampler(gaussian, steps=steps, eta=eta, start=900) for steps, eta, _ in (found, used))
    direction = smooth(old, found[2])
    before = effect(old, direction, found[2])
    after = effect(new, direction, used[2])
    assert float((after - before).norm() / before.norm()) < 0.1


def test_asymmetric_shifts_follow_the_rule_of_kwon_et_al(gaussian: hspace.Denoiser) -> None:
    """Rescaled by S_train / S_test, to first order, away from the last steps."""
    old, new = (hspace.Sampler(gaussian, steps=steps, eta=0.0, start=900) for steps in (50, 100))
    retimed = smooth(old, "asymmetric").retimed(new.setting("asymmetric"))
    plain = smooth(old, "asymmetric").retimed(new.setting("asymmetric"), rescale=False)
    ratio = (retimed.norms() / plain.norms()).numpy()
    np.testing.assert_allclose(ratio[:80], 0.5, atol=0.05)


@pytest.mark.parametrize("used", [(900, 700, 500), (400, 200, 0), (950, 500), (651,), (349,)])
def test_what_the_direction_does_not_reach_is_refused(setting_of: SettingOf, used: tuple[int, ...]) -> None:
    found = (600, 550, 500, 450, 400)
    direction = Direction(torch.ones(5, 2, 3), setting_of(found))
    with pytest.raises(HspaceError, match=f"600 to 400 and can't be used at {used[0]}"):
        direction.retimed(setting_of(used))


@pytest.mark.parametrize("used", [(650, 600, 400), (580, 470, 350), (600, 400), (500,)])
def test_one_step_beyond_is_within_reach(setting_of: SettingOf, used: tuple[int, ...]) -> None:
    found = (600, 550, 500, 450, 400)
    vectors = torch.arange(5.0).reshape(5, 1, 1).expand(5, 2, 3)
    retimed = Direction(vectors, setting_of(found)).retimed(setting_of(used), rescale=False).vectors[:, 0, 0]
    assert torch.equal(retimed, torch.tensor([float(np.interp(-t, [-600, -400], [0, 4])) for t in used]))


def test_another_training_schedule_is_refused(gaussian: hspace.Denoiser, setting_of: SettingOf) -> None:
    sampler = hspace.Sampler(gaussian, steps=4)
    with pytest.raises(HspaceError, match="another model: its shape of h"):
        Direction(torch.ones(4, 2, 3), setting_of()).retimed(sampler.setting())
