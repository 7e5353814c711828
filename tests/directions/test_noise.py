"""Directions of x_T: one vector, added where the trajectory starts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from tests import tiny

import hspace
from hspace import HspaceError
from hspace.diffusion import Injection, Setting
from hspace.directions import Direction, Directions, Edit, Term

MODEL = tiny.denoiser()
SAMPLER = hspace.Sampler(MODEL, 4, batch_size=3)
SEEDS = (5, 6, 7, 8)
STRENGTHS = st.floats(-3, 3)


def made(seed: int = 0, sampler: hspace.Sampler = SAMPLER) -> Direction:
    vectors = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Direction(vectors, sampler.setting(space="noise"), f"n{seed}")


def in_h(injection: Injection = "symmetric") -> Direction:
    vectors = torch.stack(list(tiny.h_shifts(MODEL, SAMPLER.timesteps).values()))
    return Direction(vectors, SAMPLER.setting(injection), "h")


def moved(strength: float) -> tiny.FixedLatents:
    latents = SAMPLER.latents(SEEDS)
    start = latents.x_T().double() + strength * made().vectors
    return tiny.FixedLatents(start, {t: latents.z(t) for t in SAMPLER.timesteps})


@settings(max_examples=5)
@given(strength=STRENGTHS)
def test_the_run_starts_from_the_moved_x_T(strength: float) -> None:
    expected = SAMPLER.run(moved(strength))
    assert torch.equal(SAMPLER.run(SEEDS, strength * made()), expected)
    assert torch.equal(SAMPLER.run(SEEDS, Edit.of(made(), strength)), expected)


def test_at_strength_0_nothing_moves() -> None:
    plain = SAMPLER.run(SEEDS)
    assert torch.equal(SAMPLER.run(SEEDS, 0.0 * made()), plain)
    assert torch.equal(SAMPLER.run(SEEDS, Edit.of(made(), 0.0)), plain)
    mixed = SAMPLER.run(SEEDS, [None, 2.0 * made(), Edit.of(made(), 0.0), None])
    assert torch.equal(mixed[[0, 2, 3]], plain[[0, 2, 3]])
    assert not torch.allclose(mixed[1], plain[1], atol=1e-2)


@settings(max_examples=5)
@given(strength=STRENGTHS)
@pytest.mark.parametrize("injection", ["symmetric", "asymmetric"])
def test_one_edit_moves_x_T_and_h(injection: Injection, strength: float) -> None:
    edit = Edit([Term(made(), strength), Term(in_h(injection), 0.5)])
    assert edit.injection == injection
    assert torch.equal(SAMPLER.run(SEEDS, edit), SAMPLER.run(moved(strength), 0.5 * in_h(injection)))


@pytest.mark.parametrize("injection", ["symmetric", "asymmetric"])
def test_it_goes_with_edits_of_either_injection(injection: Injection) -> None:
    h = in_h(injection)
    assert (made().injection, Edit.of(made()).injection, (2.0 * Edit.of(made())).injection) == (None, None, None)
    assert (Edit.of(made()) + h).injection == (h + Edit.of(made())).injection == injection
    together = SAMPLER.run(SEEDS[:3], [made(), h, Edit.of(made()) + h])
    for row, edit in enumerate((made(), h, Edit.of(made()) + h)):
        torch.testing.assert_close(together[row : row + 1], SAMPLER.run(SEEDS[row : row + 1], edit), rtol=0, atol=1e-12)


@settings(max_examples=5)
@given(order=st.permutations(range(4)), batch_size=st.integers(1, 4))
def test_a_batch_is_the_same_as_one_by_one(order: list[int], batch_size: int) -> None:
    edits = [None, made(), -2.0 * made(1), Edit.of(made()) + in_h()]
    sampler = hspace.Sampler(MODEL, 4, batch_size=batch_size)
    found = sampler.run([SEEDS[row] for row in order], [edits[row] for row in order])
    for x_0, row in zip(found, order, strict=True):
        torch.testing.assert_close(x_0, SAMPLER.run([SEEDS[row]], edits[row])[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_the_start_of_an_inversion_stays_as_it_is(eta: float) -> None:
    sampler = hspace.Sampler(MODEL, 4, eta)
    inversion = sampler.invert(torch.rand(2, 3, 8, 8, dtype=torch.float64) * 2 - 1)
    assert inversion.start.dtype == torch.float64  # no copy is made on the way to the model
    before = inversion.start.clone()
    edited = sampler.run(inversion, 2.0 * made(sampler=sampler))
    assert torch.equal(inversion.start, before)
    expected = sampler.run(replace(inversion, start=before + 2.0 * made().vectors))
    assert torch.equal(edited, expected)


def test_a_window_is_refused() -> None:
    with pytest.raises(HspaceError, match="'n0' is a direction of x_T: it acts at the start, in no window"):
        made().during(80, 20)


def test_it_is_no_direction_of_h() -> None:
    with pytest.raises(HspaceError, match="a direction of x_T can't be used as one of h"):
        made().setting.check_same_space(SAMPLER.setting())
    with pytest.raises(HspaceError, match="a direction of h can't be used as one of x_T"):
        in_h().cosine(made())
    with pytest.raises(HspaceError, match="a direction of x_T can't be used as one of h"):
        made() + in_h()
    with pytest.raises(HspaceError, match="a direction of x_T can't be used as one of h"):
        made().retimed(SAMPLER.setting())


def test_another_model_is_refused() -> None:
    with pytest.raises(HspaceError, match="a direction of another model: its weights"):
        hspace.Sampler(tiny.denoiser(seed=1), 4).run(SEEDS, made())


def test_it_has_one_vector() -> None:
    with pytest.raises(HspaceError, match=r"expected vectors of shape \(1, 3, 8, 8\), found \(4, 3, 8, 8\)"):
        Direction(torch.ones(4, 3, 8, 8), SAMPLER.setting(space="noise"))
    assert made().timesteps == SAMPLER.timesteps[:1]


def test_another_grid_changes_nothing() -> None:
    finer = hspace.Sampler(MODEL, 10, 0.0)
    retimed = made().retimed(finer.setting("asymmetric", "noise"))
    assert torch.equal(retimed.vectors, made().vectors)
    assert retimed.setting.schedule == finer.schedule
    latents = finer.latents(SEEDS)
    expected = finer.run(tiny.FixedLatents(latents.x_T().double() + made().vectors, {}))
    assert torch.equal(finer.run(SEEDS, made()), expected)
    assert torch.equal(finer.run(SEEDS, retimed), expected)


def test_elsewhere_tapped_it_is_the_same() -> None:
    elsewhere = hspace.Sampler(MODEL.tapped("before"), 4, batch_size=3)
    assert torch.equal(elsewhere.run(SEEDS, made()), SAMPLER.run(SEEDS, made()))


def test_saved_and_loaded_it_keeps_its_space(tmp_path: Path) -> None:
    measured = {"score": torch.tensor([[1.0, 2.0]])}
    Directions([made(), made(1)], measured).save(tmp_path / "n.safetensors")
    loaded = Directions.load(tmp_path / "n.safetensors")
    assert loaded.setting == made().setting
    assert loaded.setting.space == "noise"
    assert torch.equal(loaded["n1"].vectors, made(1).vectors)
    assert torch.equal(SAMPLER.run(SEEDS, loaded["n0"]), SAMPLER.run(SEEDS, made()))
    assert torch.equal(hspace.Sampler.on(MODEL, loaded.setting, batch_size=3).run(SEEDS), SAMPLER.run(SEEDS))


def test_files_from_before_there_were_spaces_are_of_h(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    Directions([in_h()]).save(path)
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["hspace"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert header["setting"].pop("space") == "h"
    save_file(tensors, path, {"hspace": json.dumps(header)})
    assert Directions.load(path).setting == in_h().setting
    header["setting"]["space"] = "mood"
    save_file(tensors, path, {"hspace": json.dumps(header)})
    with pytest.raises(HspaceError, match="not the setting of a run"):
        Directions.load(path)


def test_settings_round_trip_through_json() -> None:
    setting = SAMPLER.setting("asymmetric", "noise")
    assert Setting.from_json(json.loads(json.dumps(setting.to_json()))) == setting
    assert (setting.tap, setting.h_shape) == ("x_T", (3, 8, 8))


def test_its_unit_is_norm_1() -> None:
    (calibrated,) = hspace.calibrate(7.0 * made(), SAMPLER, range(2))
    torch.testing.assert_close(calibrated.norms(), torch.ones(1, dtype=torch.float64))
    assert calibrated.cosine(made()) == pytest.approx(1)


def test_without() -> None:
    clean = (made() + 0.5 * made(1)).without(made(1))
    assert abs(clean.cosine(made(1))) < 1e-12
