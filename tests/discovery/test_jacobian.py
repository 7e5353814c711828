"""Against torch.linalg.svd of the explicit Jacobian at the sample's own states, float64."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import tiny
from torch import Tensor

import hspace
from hspace.discovery import Jacobian

STEPS, SEED = 3, 5
UNIT = range(8)


@pytest.fixture(scope="module")
def model() -> hspace.Denoiser:
    return tiny.denoiser("v_prediction")


@pytest.fixture(scope="module")
def own_sampler(model: hspace.Denoiser) -> hspace.Sampler:
    return hspace.Sampler(model, STEPS, eta=1.0)


def states(sampler: hspace.Sampler, seed: int) -> dict[int, Tensor]:
    """x_t of a trajectory by the equation of one step, written out: same x_T, same z_t."""
    model, latents = sampler.model, sampler.latents([seed])
    x_t, found = latents.x_T().double(), {}
    schedule = sampler.schedule
    for t, prev, sigma in zip(schedule.timesteps, schedule.alphas_prev, schedule.sigmas, strict=True):
        found[t] = x_t
        with torch.no_grad():
            eps, x_0 = model.predict(x_t, t)
        x_t = math.sqrt(prev) * x_0 + math.sqrt(max(1 - prev - sigma**2, 0)) * eps + sigma * latents.z(t).double()
    return found


def dense_jacobian(model: hspace.Denoiser, x_t: Tensor, timestep: int) -> Tensor:
    """(o, d), by reverse mode over `predict` with a shift: nothing of ours but the hook."""
    shape = model.h_shape

    def eps(shift: Tensor) -> Tensor:
        return model.predict(x_t, timestep, shift=shift.reshape(1, *shape)).eps.flatten()

    jacobian: Tensor = torch.autograd.functional.jacobian(eps, torch.zeros(math.prod(shape), dtype=torch.float64))
    return jacobian


def units(fitted: Jacobian) -> Tensor:
    """(number of directions, d)."""
    rows = torch.stack([item.vectors[0].flatten() for item in fitted.directions_]).double()
    return rows / rows.norm(dim=1, keepdim=True)


def angles(found: Tensor, exact: Tensor) -> Tensor:
    apart = torch.minimum((found - exact).norm(dim=-1), (found + exact).norm(dim=-1))
    return 2 * torch.asin((apart / 2).clamp(max=1))


MASK = torch.zeros(8, 8)
MASK[2:6, 3:7] = 1.0
SOFT = torch.linspace(0, 1, 64).reshape(8, 8)
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "mask": {"mask": MASK},
    "soft mask": {"mask": SOFT},
    "outside_rank": {"mask": MASK, "outside_rank": 4},
}


def exact_triplets(jacobian: Tensor, mask: Tensor | None = None, outside_rank: int = 0) -> tuple[Tensor, Tensor]:
    weight = torch.ones(8, 8) if mask is None else mask
    rows = weight.double().expand(3, 8, 8).reshape(-1, 1)
    kept = torch.linalg.svd((1 - rows) * jacobian)[2][:outside_rank]
    complement = torch.eye(jacobian.shape[1], dtype=torch.float64) - kept.T @ kept
    _, values, right = torch.linalg.svd(rows * jacobian @ complement)
    return values, right


@pytest.mark.parametrize("block_size", [1, 2, 5])
@pytest.mark.parametrize("case", CASES)
def test_leading_triplets_are_those_of_the_dense_svd(
    model: hspace.Denoiser, own_sampler: hspace.Sampler, case: str, block_size: int
) -> None:
    options = CASES[case]
    fitted = Jacobian(5, tol=1e-7, block_size=block_size, unit_seeds=UNIT, **options).fit(own_sampler, [SEED])
    found = units(fitted).reshape(STEPS, 5, -1)
    for row, (timestep, x_t) in enumerate(states(own_sampler, SEED).items()):
        values, right = exact_triplets(dense_jacobian(model, x_t, timestep), **options)
        torch.testing.assert_close(fitted.singular_values_[0, row], values[:5], rtol=1e-6, atol=0)
        assert float(angles(found[row], right[:5]).max()) < 1e-4
    assert bool(fitted.converged_.all())
    assert float(fitted.residuals_.max()) <= 1e-7


@pytest.mark.parametrize("route", ["double_vjp", "forward_ad", "central_differences"])
def test_every_route_finds_the_same(own_sampler: hspace.Sampler, route: Any) -> None:
    exact = Jacobian(3, unit_seeds=UNIT, tol=1e-6).fit(own_sampler, [SEED])
    found = Jacobian(3, unit_seeds=UNIT, tol=1e-6, route=route).fit(own_sampler, [SEED])
    assert (exact.route_, found.route_) == ("double_vjp", route)
    torch.testing.assert_close(found.singular_values_, exact.singular_values_, rtol=1e-6, atol=0)
    assert all(item.origin["route"] == route for item in found.directions_)


@settings(max_examples=4, deadline=None)
@given(batch_size=st.integers(1, 4), block_size=st.integers(1, 3))
def test_a_batch_is_the_same_as_one_by_one(own_sampler: hspace.Sampler, batch_size: int, block_size: int) -> None:
    options: dict[str, Any] = {"unit_seeds": UNIT, "block_size": block_size, "mask": MASK, "outside_rank": 2}
    together = Jacobian(2, batch_size=batch_size, **options).fit(own_sampler, [4, 5, 6])
    for row, seed in enumerate([4, 5, 6]):
        alone = Jacobian(2, **options).fit(own_sampler, [seed])
        torch.testing.assert_close(alone.singular_values_[0], together.singular_values_[row], rtol=1e-9, atol=0)
        assert torch.equal(alone.products_[0], together.products_[row])
        torch.testing.assert_close(units(alone), units(together)[row * 6 : row * 6 + 6], rtol=0, atol=1e-6)
    assert together.directions_.names[:2] == (f"s4-t{own_sampler.timesteps[0]}-0", f"s4-t{own_sampler.timesteps[0]}-1")


def test_chosen_timesteps_and_any_latents(own_sampler: hspace.Sampler) -> None:
    """Stored tensors stand for an inverted photo; one timestep found alone is what all timesteps give there."""
    latents = own_sampler.latents([SEED])
    stored = tiny.FixedLatents(latents.x_T(), {t: latents.z(t) for t in own_sampler.timesteps})
    middle = own_sampler.timesteps[1]
    everything = Jacobian(2, unit_seeds=UNIT, tol=1e-6).fit(own_sampler, [SEED])
    one = Jacobian(2, timesteps=middle, unit_seeds=UNIT, tol=1e-6).fit(own_sampler, stored)
    assert one.timesteps_ == (middle,)
    assert one.directions_.names == (f"t{middle}-0", f"t{middle}-1")
    assert float(angles(units(one), units(everything)[2:4]).max()) < 1e-4
    both = Jacobian(1, timesteps=[own_sampler.timesteps[2], middle], unit_seeds=UNIT).fit(own_sampler, [SEED])
    assert both.timesteps_ == own_sampler.timesteps[1:]


def test_directions_are_in_the_unit_of_strength_at_all_timesteps(own_sampler: hspace.Sampler) -> None:
    found = Jacobian(2, timesteps=own_sampler.timesteps[1], unit_seeds=UNIT).fit(own_sampler, [SEED]).directions_
    again = hspace.calibrate(found, own_sampler, UNIT)
    for before, after in zip(found, again, strict=True):
        torch.testing.assert_close(before.norms(), after.norms(), rtol=1e-5, atol=0)
        unit = before.vectors / before.norms().reshape(-1, 1, 1, 1)
        torch.testing.assert_close(unit, unit[:1].expand_as(unit), rtol=0, atol=1e-6)


def test_signs_do_not_depend_on_the_solver(own_sampler: hspace.Sampler) -> None:
    sets = [
        units(Jacobian(3, unit_seeds=UNIT, tol=1e-6, block_size=block).fit(own_sampler, [SEED])) for block in (1, 3)
    ]
    assert float((sets[0] - sets[1]).norm(dim=1).max()) < 1e-4
    assert bool((sets[0].gather(1, sets[0].abs().argmax(1, keepdim=True)) > 0).all())


def test_saliency_is_the_size_of_j_v(model: hspace.Denoiser, own_sampler: hspace.Sampler) -> None:
    fitted = Jacobian(2, unit_seeds=UNIT, tol=1e-7, mask=MASK, outside_rank=2).fit(own_sampler, [SEED])
    assert fitted.saliency_ is not None
    for row, (timestep, x_t) in enumerate(states(own_sampler, SEED).items()):
        moved = units(fitted).reshape(STEPS, 2, -1)[row] @ dense_jacobian(model, x_t, timestep).T
        expected = moved.reshape(2, 3, 8, 8).norm(dim=1)
        torch.testing.assert_close(fitted.saliency_[0, row], expected, rtol=1e-3, atol=1e-6)
    assert fitted.images_ is not None
    torch.testing.assert_close(fitted.images_, own_sampler.run([SEED]), rtol=0, atol=1e-9)


def test_outside_rank_keeps_the_rest_stiller(model: hspace.Denoiser, own_sampler: hspace.Sampler) -> None:
    shares = []
    for outside_rank in (0, 4):
        fitted = Jacobian(1, unit_seeds=UNIT, mask=MASK, outside_rank=outside_rank).fit(own_sampler, [SEED])
        assert fitted.saliency_ is not None
        squares = fitted.saliency_[0, :, 0].square()
        shares.append((squares * MASK).sum((1, 2)) / squares.sum((1, 2)))
    assert bool((shares[1] > shares[0]).all())


def test_regions_are_found_in_the_finished_picture(own_sampler: hspace.Sampler) -> None:
    asked: list[Tensor] = []

    def regions(images: Tensor) -> dict[str, Tensor]:
        asked.append(images)
        return {"left": torch.cat([torch.ones(len(images), 8, 4), torch.zeros(len(images), 8, 4)], 2)}

    options: dict[str, Any] = {"unit_seeds": UNIT, "timesteps": own_sampler.timesteps[2]}
    by_name = Jacobian(1, mask="left", regions=regions, **options).fit(own_sampler, [4, 5])
    by_box = Jacobian(1, mask=(0, 0, 4, 8), **options).fit(own_sampler, [4, 5])
    torch.testing.assert_close(asked[0], own_sampler.run([4, 5]).float())
    assert torch.equal(by_name.singular_values_, by_box.singular_values_)
    assert by_name.masks_ is not None
    assert by_name.masks_.shape == (2, 8, 8)


def test_masks_of_a_latent_model_are_given_at_the_size_of_the_picture(model: hspace.Denoiser) -> None:
    latent = hspace.Denoiser(
        model.network, model.alphas_cumprod, image_shape=(3, 8, 8), prediction_type="v_prediction", latent_scale=4
    )
    sampler = hspace.Sampler(latent, STEPS)
    options: dict[str, Any] = {"unit_seeds": UNIT, "timesteps": sampler.timesteps[2]}
    in_pixels = Jacobian(1, mask=(8, 8, 24, 28), **options).fit(sampler, [SEED])
    in_cells = Jacobian(1, mask=torch.nn.functional.pad(torch.ones(5, 4), (2, 2, 2, 1)), **options)
    assert torch.equal(in_pixels.singular_values_, in_cells.fit(sampler, [SEED]).singular_values_)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_pooled_fit_is_the_svd_of_the_stack(
    model: hspace.Denoiser, own_sampler: hspace.Sampler, batch_size: int
) -> None:
    seeds, k = range(4, 9), 2
    fitted = Jacobian(k, pooled=True, tol=1e-7, unit_seeds=UNIT, batch_size=batch_size).fit(own_sampler, seeds)
    found = units(fitted).reshape(STEPS, k, -1)
    trajectories = [states(own_sampler, seed) for seed in seeds]
    for row, timestep in enumerate(own_sampler.timesteps):
        parts = []
        for trajectory in trajectories:
            values, right = exact_triplets(dense_jacobian(model, trajectory[timestep], timestep))
            parts.append(values[:k, None] * right[:k])
        _, values, right = torch.linalg.svd(torch.cat(parts))
        assert float(angles(found[row], right[:k]).max()) < 1e-4
        pooled = [item.origin["singular_value"] for item in fitted.directions_][row * k : row * k + k]
        torch.testing.assert_close(torch.tensor(pooled, dtype=torch.float64), values[:k], rtol=1e-6, atol=0)
    assert fitted.n_samples_seen_ == 5
    assert fitted.singular_values_.shape == (5, STEPS, k)
    for batch in fitted._seen:  # streamed, not held
        assert batch.known.inside is None
        assert batch.found[0].right.numel() == batch.found[0].images.numel() == batch.images.numel() == 0


def test_what_is_interrupted_is_kept(own_sampler: hspace.Sampler) -> None:
    def stop(done: int, total: int) -> None:
        if done > 2 * STEPS:
            raise KeyboardInterrupt

    fitted = Jacobian(1, pooled=True, unit_seeds=UNIT, batch_size=1)
    with pytest.raises(KeyboardInterrupt):
        fitted.fit(own_sampler, range(6), progress=stop)
    whole = Jacobian(1, pooled=True, unit_seeds=UNIT, batch_size=1).fit(own_sampler, range(2))
    torch.testing.assert_close(units(fitted.finish()), units(whole), rtol=0, atol=1e-6)
    assert fitted.n_samples_seen_ == 2


def test_a_result_that_has_not_converged_warns_and_says_so_in_its_file(
    own_sampler: hspace.Sampler, tmp_path: Path
) -> None:
    with pytest.warns(hspace.HspaceWarning, match="3 of 3 Jacobians did not converge in 4 products"):
        fitted = Jacobian(3, max_products=4, unit_seeds=UNIT).fit(own_sampler, [SEED])
    fitted.directions_.save(tmp_path / "found.safetensors")
    for item in hspace.Directions.load(tmp_path / "found.safetensors"):
        assert item.origin["converged"] is False
        assert item.origin["residual"] > 1e-3
        assert item.origin["products"] == 4
    assert bool((fitted.residuals_.amax(2) > 1e-3).all())


def test_files_remember_what_changes_the_result(own_sampler: hspace.Sampler, tmp_path: Path) -> None:
    options: dict[str, Any] = {"unit_seeds": UNIT, "timesteps": own_sampler.timesteps[2]}
    origins = []
    for mask in (MASK, 1 - MASK, "2,2,6,6"):
        Jacobian(1, mask=mask, outside_rank=1, **options).fit(own_sampler, [SEED]).directions_.save(tmp_path / "d.st")
        origins.append(hspace.Directions.load(tmp_path / "d.st")[0].origin)
    assert len({origin["parameters"]["mask"]["sha256"] for origin in origins}) == 3
    assert origins[2]["parameters"]["mask"]["given"] == "2,2,6,6"
    assert origins[0]["sample"] == f"s{SEED}"
    assert origins[0]["parameters"]["outside_rank"] == 1


def test_a_bf16_model_is_decomposed_in_float32() -> None:
    """With bf16 products residuals would stay at about 1e-2."""
    sampler = hspace.Sampler(tiny.denoiser(dtype=torch.bfloat16), STEPS)
    fitted = Jacobian(2, unit_seeds=UNIT, tol=1e-4).fit(sampler, [SEED])
    assert fitted.singular_values_.dtype == torch.float32
    assert bool(fitted.converged_.all())
    assert sampler.model.dtype == torch.bfloat16


def test_directions_transfer_to_other_samples_and_windows(own_sampler: hspace.Sampler) -> None:
    found = Jacobian(1, timesteps=own_sampler.timesteps[1], unit_seeds=UNIT).fit(own_sampler, [SEED]).directions_[0]
    plain = own_sampler.run([1, 2])
    everywhere = own_sampler.run([1, 2], edit=2.0 * found)
    window = own_sampler.run([1, 2], edit=2.0 * found.during(own_sampler.timesteps[1], own_sampler.timesteps[1]))
    assert bool((everywhere - plain).flatten(1).norm(dim=1).min() > 0)
    assert not torch.equal(window, everywhere)
    assert torch.equal(own_sampler.run([1, 2], edit=0.0 * found), plain)


def test_samples_of_one_name_are_refused_before_the_work(own_sampler: hspace.Sampler) -> None:
    with pytest.raises(hspace.HspaceError, match="samples need different names, found s5, s5"):
        Jacobian(1, unit_seeds=UNIT).fit(own_sampler, [SEED, SEED])


def test_the_default_tolerance_and_warm_start_miss_nothing(own_sampler: hspace.Sampler) -> None:
    rough = Jacobian(3, unit_seeds=UNIT).fit(own_sampler, [4, 5])
    fine = Jacobian(3, unit_seeds=UNIT, tol=1e-8).fit(own_sampler, [4, 5])
    torch.testing.assert_close(rough.singular_values_, fine.singular_values_, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_components": 0}, "n_components must be at least 1, not 0"),
        ({"n_components": 200}, "200 components are more than h has dimensions, 128"),
        ({"timesteps": 7}, "timestep 7 is not on the sampler's grid; near it are"),
        ({"timesteps": []}, "no timesteps: at least 1 is needed"),
        ({"tol": 0.0}, "tol must be between 0 and 1, not 0.0"),
        ({"block_size": 0}, "block_size must be at least 1, not 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"max_products": 0}, "max_products must be at least 1, not 0"),
        ({"max_products": 2}, "max_products 2 are too few for 3 singular vectors"),
        ({"mask": torch.ones(8, 8), "outside_rank": 1}, "covers the whole picture"),
        ({"outside_rank": -1}, "outside_rank must be at least 0, not -1"),
        ({"outside_rank": 2}, "give a mask"),
        ({"mask": torch.ones(4, 4)}, "4"),
        ({"mask": torch.zeros(8, 8)}, "empty"),
        ({"mask": 2 * torch.ones(8, 8)}, r"\[0, 1\]"),
        ({"mask": "mouth"}, "mouth"),
        ({"route": "by hand"}, "route must be one of double_vjp, forward_ad, central_differences, not 'by hand'"),
        ({"unit_seeds": [1]}, "a standard deviation needs at least 2 samples"),
    ],
)
def test_bad_input_is_one_clear_line(own_sampler: hspace.Sampler, options: dict[str, Any], message: str) -> None:
    with tiny.unchecked_types(), pytest.raises(hspace.HspaceError, match=message):
        Jacobian(**{"unit_seeds": UNIT, **options}).fit(own_sampler, [SEED])


def test_a_sampler_visits_the_states_of_the_trajectory(own_sampler: hspace.Sampler) -> None:
    seen: dict[int, Tensor] = {}

    def visit(timestep: int, x_t: Tensor, rows: slice) -> None:
        seen[timestep] = x_t

    seeds: Sequence[int] = [SEED]
    own_sampler.run(seeds, visit=visit)
    for timestep, x_t in states(own_sampler, SEED).items():
        torch.testing.assert_close(seen[timestep], x_t, rtol=0, atol=1e-12)
