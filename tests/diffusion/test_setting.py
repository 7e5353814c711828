from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests import tiny

import hspace
from hspace.diffusion import Setting
from hspace.errors import HspaceError

SETTING = hspace.Sampler(tiny.denoiser(), 4, [1.0, 0.5, 0.5, 0.0], start=80).setting("asymmetric")


def test_it_holds_the_circumstances_of_a_run() -> None:
    assert (SETTING.tap, SETTING.h_shape, SETTING.injection) == ("mid_block", (8, 4, 4), "asymmetric")
    assert SETTING.weight_hash == tiny.denoiser().weight_hash
    assert SETTING.schedule.etas == (1.0, 0.5, 0.5, 0.0)


def test_json_and_back_is_the_same() -> None:
    assert Setting.from_json(json.loads(json.dumps(SETTING.to_json()))) == SETTING


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.pop("tap"),
        lambda data: data.pop("schedule"),
        lambda data: data["schedule"].pop("etas"),
        lambda data: data.update(mood="good"),
        lambda data: data["schedule"].update(mood="good"),
        lambda data: data.update(schedule=3),
        lambda data: data.update(h_shape=None),
    ],
)
def test_other_json_is_refused(damage: Any) -> None:
    data = json.loads(json.dumps(SETTING.to_json()))
    damage(data)
    with pytest.raises(HspaceError, match="not the setting of a run"):
        Setting.from_json(data)


def test_grid_eta_injection_and_name_may_differ() -> None:
    other = hspace.Sampler(tiny.denoiser(), 7, 0.0).setting("symmetric")
    SETTING.check_same_space(replace(other, model_id="the same under another name"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"h_shape": (8, 2, 2)}, r"its shape of h \(8, 4, 4\), here \(8, 2, 2\)"),
        (
            {"weight_hash": "f" * 16, "model_id": "other"},
            f"its weights UNet2DModel [0-9a-f]{{16}}, here other {'f' * 16}",
        ),
        ({"tap": "before"}, "its tap mid_block, here before"),
        ({"schedule": replace(SETTING.schedule, train_timesteps=1000)}, "its training timesteps 100, here 1000"),
    ],
)
def test_another_space_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(HspaceError, match=f"a direction of another model: {message}"):
        SETTING.check_same_space(replace(SETTING, **change))
