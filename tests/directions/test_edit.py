from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

import hspace
from hspace import HspaceError
from hspace.diffusion import Setting
from hspace.directions import Direction, Edit, Term

SettingOf = Callable[..., Setting]

CPU = torch.device("cpu")


@pytest.fixture
def setting(setting_of: SettingOf) -> Setting:
    return setting_of()


@pytest.fixture
def smile(setting: Setting) -> Direction:
    return Direction(torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0)), setting, "smile")


@pytest.fixture
def beard(setting: Setting) -> Direction:
    return Direction(torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(1)), setting, "beard")


def shifts(edit: Edit | Direction, setting: Setting) -> torch.Tensor:
    """(S, *h_shape), zero where nothing changes."""
    shift_at = edit.bind(setting, CPU)
    assert shift_at is not None
    drawn = [shift_at(timestep) for timestep in setting.schedule.timesteps]
    return torch.stack([torch.zeros(setting.h_shape) if h is None else h for h in drawn])


def test_a_direction_is_an_edit_by_itself(smile: Direction, setting: Setting) -> None:
    assert torch.equal(shifts(smile, setting), smile.vectors)


def test_an_edit_goes_in_as_its_directions_were_found_to(smile: Direction, beard: Direction) -> None:
    asymmetric = Direction(beard.vectors, replace(beard.setting, injection="asymmetric"))
    assert (smile.injection, Edit.of(smile).injection) == ("symmetric", "symmetric")
    assert (asymmetric.injection, Edit.of(asymmetric).injection) == ("asymmetric", "asymmetric")
    assert Edit.of(asymmetric, injection="symmetric").injection == "symmetric"
    assert Edit([Term(smile), Term(asymmetric)]).injection == "symmetric"


def test_terms_add_up(smile: Direction, beard: Direction, setting: Setting) -> None:
    expected = 2 * smile.vectors - 0.5 * beard.vectors
    for edit in (
        2.0 * Edit.of(smile) - 0.5 * Edit.of(beard),
        Edit.of(smile, 2.0) + Edit.of(beard, -0.5),
        Edit([Term(smile, 2.0), Term(beard, -0.5)]),
        Edit.of(smile, 2.0) - 0.5 * beard,
        2.0 * smile - Edit.of(beard, 0.5),
        -(Edit.of(beard, 0.5) - 2.0 * smile),
        -0.5 * beard + Edit.of(smile) * 2.0,
    ):
        torch.testing.assert_close(shifts(edit, setting), expected)
    torch.testing.assert_close(shifts(Edit.of(smile) + smile, setting), 2 * smile.vectors)  # not replaced


def test_a_window_acts_only_within(smile: Direction, beard: Direction, setting: Setting) -> None:
    edit = smile.during(600, 300) + beard.during(300, 0)
    assert torch.equal(
        shifts(edit, setting),
        torch.stack([torch.zeros(2, 3), smile.vectors[1], smile.vectors[2] + beard.vectors[2], beard.vectors[3]]),
    )
    shift_at = smile.during(600, 300).bind(setting, CPU)
    assert shift_at is not None
    assert [shift_at(t) is None for t in setting.schedule.timesteps] == [True, False, False, True]


def test_a_window_outside_of_the_grid_never_acts(smile: Direction, setting: Setting) -> None:
    assert not shifts(smile.during(299, 1), setting).any()


def test_strength_zero_is_no_edit(smile: Direction, beard: Direction, setting: Setting) -> None:
    assert Edit.of(smile, 0.0).bind(setting, CPU) is None
    assert (0.0 * (Edit.of(smile) + beard)).bind(setting, CPU) is None
    assert torch.equal(shifts(Edit.of(smile) + 0 * Edit.of(beard), setting), smile.vectors)


def test_terms_of_different_grids_meet_on_that_of_the_run(smile: Direction, setting_of: SettingOf) -> None:
    coarse = setting_of((900, 300))
    other = Direction(torch.ones(2, 2, 3), coarse, "other")
    run = setting_of((900, 750, 600, 450, 300, 150, 0))
    edit = Edit.of(smile, 2.0) + other
    expected = 2 * smile.retimed(run).vectors + other.retimed(run).vectors
    torch.testing.assert_close(shifts(edit, run), expected)


def test_strength_zero_is_the_original_bit_for_bit(gaussian: hspace.Denoiser) -> None:
    sampler = hspace.Sampler(gaussian, steps=5, batch_size=2)
    direction = Direction(torch.ones(5, 1, 2, 2), sampler.setting(), "up")
    plain = sampler.run(range(3))
    assert torch.equal(sampler.run(range(3), Edit.of(direction, 0.0)), plain)
    mixed = sampler.run(range(3), [None, 2.0 * direction, Edit.of(direction, 0.0)])
    assert torch.equal(mixed[[0, 2]], plain[[0, 2]])
    assert not torch.allclose(mixed[1], plain[1])


def test_a_window_beyond_the_start_leaves_the_original(gaussian: hspace.Denoiser) -> None:
    sampler = hspace.Sampler(gaussian, steps=5, start=800)
    direction = Direction(torch.ones(5, 1, 2, 2), sampler.setting(), "up")
    assert torch.equal(sampler.run(range(2), direction.during(999, 900)), sampler.run(range(2)))


@pytest.mark.parametrize("other", [{"weight_hash": "1" * 16}, {"tap": "before"}, {"h_shape": (3, 2)}])
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_an_edit_of_another_model_is_refused(
    smile: Direction, setting_of: SettingOf, other: dict[str, object], strength: float
) -> None:
    with pytest.raises(HspaceError, match="a direction of another model"):
        Edit.of(smile, strength).bind(setting_of(**other), CPU)


def test_injections_must_agree(smile: Direction, beard: Direction) -> None:
    shifted = Edit.of(smile, injection="asymmetric")
    assert (shifted + beard).injection == (beard + shifted).injection == (2 * -shifted).injection == "asymmetric"
    with pytest.raises(HspaceError, match="can't be summed"):
        shifted + Edit.of(beard, injection="symmetric")


@pytest.mark.parametrize("strength", [math.nan, math.inf])
def test_strengths_must_be_finite(smile: Direction, strength: float) -> None:
    with pytest.raises(HspaceError, match="finite"):
        Edit.of(smile, strength)
    with pytest.raises(HspaceError, match="finite"):
        strength * Edit.of(smile)


def test_a_window_goes_down(smile: Direction) -> None:
    with pytest.raises(HspaceError, match="not from 300 to 600"):
        smile.during(300, 600)
