from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import tiny
from torch import Tensor

import hspace
from hspace import HspaceError
from hspace.diffusion import Inversion, Latents

PICTURES = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


def sampler_of(eta: float, kind: str = "epsilon", steps: int = 6, **options: Any) -> hspace.Sampler:
    return hspace.Sampler(tiny.denoiser(kind), steps, eta, **options)


@pytest.mark.parametrize("kind", tiny.PREDICTION_TYPES)
@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_edit_friendly_inversion_is_exact(kind: str, eta: float) -> None:
    sampler = sampler_of(eta, kind)
    inversion = sampler.invert(PICTURES)
    assert isinstance(inversion, Latents)
    torch.testing.assert_close(sampler.run(inversion), PICTURES.double(), rtol=0, atol=1e-9)
    assert float(inversion.psnr.min()) > 60


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_refined_ddim_inversion_undoes_the_steps(kind: str) -> None:
    """Of samples: rounds end at the very latents they came from."""
    sampler = sampler_of(0.0, kind)
    latents = sampler.latents([3, 4])
    found = sampler.invert(sampler.run(latents), refine=25)
    torch.testing.assert_close(found.x_T(), latents.x_T().double(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", tiny.PREDICTION_TYPES)
def test_refinement_never_makes_a_step_worse(kind: str) -> None:
    """Also where no fixed point is found: untrained weights that predict x_0 make wild steps."""
    sampler = sampler_of(0.0, kind, steps=1)
    errors = [sampler.run(sampler.invert(PICTURES, refine=n)) - PICTURES for n in (1, 2, 4, 8)]
    norms = torch.stack([error.flatten(1).norm(dim=1) for error in errors])
    assert bool((norms.diff(dim=0) <= 1e-12).all())


def test_ddim_inversion_of_a_gaussian_is_the_closed_form() -> None:
    """There eps is affine in x_t, so that every step is undone by hand."""
    mean, std = 0.2, 0.5
    sampler = hspace.Sampler(tiny.gaussian_denoiser(mean, std), 20, 0.0)
    pictures = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1)) * std + mean
    exact = pictures.double()
    schedule = sampler.schedule
    for alpha, prev in reversed(list(zip(schedule.alphas, schedule.alphas_prev, strict=True))):
        a = math.sqrt(prev / alpha)
        b = math.sqrt(1 - prev) - a * math.sqrt(1 - alpha)
        slope = math.sqrt(1 - alpha) / (alpha * std**2 + 1 - alpha)
        exact = (exact + b * slope * math.sqrt(alpha) * mean) / (a + b * slope)
    found = sampler.invert(pictures, refine=10)
    torch.testing.assert_close(found.x_T().double(), exact, rtol=0, atol=1e-5)
    assert float(found.psnr.min()) > 100


@settings(max_examples=3, deadline=None)
@given(batch_size=st.integers(1, 3), eta=st.sampled_from([0.0, 1.0]))
def test_a_batch_is_the_same_as_one_by_one(batch_size: int, eta: float) -> None:
    together = sampler_of(eta, batch_size=batch_size).invert(PICTURES, seeds=[7, 8, 9])
    for row, seed in enumerate([7, 8, 9]):
        alone = sampler_of(eta).invert(PICTURES[row : row + 1], seeds=[seed])
        torch.testing.assert_close(together.x_T()[row], alone.x_T()[0], rtol=0, atol=1e-9)
        if eta:
            torch.testing.assert_close(together.noises[row], alone.noises[0], rtol=0, atol=1e-7)  # type: ignore[index]


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_h_is_recorded_at_every_timestep(eta: float) -> None:
    sampler = sampler_of(eta)
    seen: dict[int, Tensor] = {}
    inversion = sampler.invert(PICTURES, refine=20, record=lambda t, h, _: seen.__setitem__(t, h))
    again: dict[int, Tensor] = {}
    sampler.run(inversion, record=lambda t, h, _: again.__setitem__(t, h))
    assert set(seen) == set(sampler.timesteps)
    for timestep in sampler.timesteps:
        torch.testing.assert_close(seen[timestep], again[timestep], rtol=0, atol=1e-3 if eta == 0 else 1e-8)


def test_recorded_h_is_that_of_the_latents_even_where_nothing_converges() -> None:
    sampler = sampler_of(0.0, "sample", steps=1)
    seen: list[Tensor] = []
    inversion = sampler.invert(PICTURES, refine=2, record=lambda _, h, __: seen.append(h))
    _, h = sampler.model.observe(inversion.x_T(), sampler.timesteps[0])
    assert torch.equal(seen[0], h)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_saved_and_loaded_is_identical(eta: float, tmp_path: Path) -> None:
    sampler = sampler_of(eta)
    saved = sampler.invert(PICTURES, names=["a", "b ä", "c"])
    saved.save(tmp_path / "photo.safetensors")
    loaded = Inversion.load(tmp_path / "photo.safetensors")
    assert (loaded.names, loaded.setting) == (saved.names, saved.setting)
    assert torch.equal(sampler.run(loaded), sampler.run(saved))
    assert torch.equal(loaded.psnr, saved.psnr)
    assert torch.equal(loaded.images, PICTURES)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_strength_0_is_the_reconstruction_bit_for_bit_and_an_edit_moves_it(eta: float) -> None:
    sampler = sampler_of(eta)
    inversion = sampler.invert(PICTURES)
    direction = hspace.random_directions(sampler.setting(), [1.0] * 6)[0]
    plain = sampler.run(inversion)
    assert torch.equal(sampler.run(inversion, edit=0.0 * direction), plain)
    assert not torch.equal(sampler.run(inversion, edit=2.0 * direction), plain)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_rows_in_any_order_and_number(eta: float) -> None:
    sampler = sampler_of(eta)
    inversion = sampler.invert(PICTURES, names="abc")
    whole = sampler.run(inversion)
    chosen = inversion[[2, 0, 2]]
    assert (chosen.names, len(chosen), inversion[1:].names) == (("c", "a", "c"), 3, ("b", "c"))
    torch.testing.assert_close(sampler.run(chosen), whole[[2, 0, 2]], rtol=0, atol=1e-9)
    torch.testing.assert_close(sampler.run(chosen[1:]), whole[[0, 2]], rtol=0, atol=1e-9)
    torch.testing.assert_close(sampler.run(inversion[1:]), whole[1:], rtol=0, atol=1e-9)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_jacobian_directions_of_a_picture(eta: float) -> None:
    sampler = sampler_of(eta, "v_prediction")
    inversion = sampler.invert(PICTURES[:2], names=["one", "two"])
    fitted = hspace.Jacobian(1, timesteps=sampler.timesteps[3], unit_seeds=range(4)).fit(sampler, inversion)
    assert fitted.directions_.names == tuple(f"{name}-t{sampler.timesteps[3]}-0" for name in ("one", "two"))
    assert fitted.images_ is not None
    torch.testing.assert_close(fitted.images_, sampler.run(inversion), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("pictures", "options", "message"),
    [
        (torch.zeros(1, 3, 4, 4), {}, r"pictures must have shape \(n, 3, 8, 8\), found \(1, 3, 4, 4\)"),
        (torch.zeros(0, 3, 8, 8), {}, "pictures must have shape"),
        (torch.full((1, 3, 8, 8), torch.nan), {}, "pictures must be finite"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), {}, "pictures must be finite floating-point numbers"),
        (PICTURES, {"seeds": [1]}, "expected a seed and a name for each of 3 pictures"),
        (PICTURES, {"names": ["a"]}, "expected a seed and a name for each of 3 pictures"),
        (PICTURES, {"refine": -1}, "refine must be at least 0, not -1"),
    ],
)
def test_bad_input_is_one_clear_line(pictures: Tensor, options: dict[str, Any], message: str) -> None:
    with tiny.unchecked_types(), pytest.raises(HspaceError, match=message):
        sampler_of(1.0).invert(pictures, **options)


def test_an_inversion_runs_on_its_own_grid_only() -> None:
    inversion = sampler_of(1.0).invert(PICTURES)
    with pytest.raises(HspaceError, match=r"inverted with 6 steps from t = \d+, eta 1; the run has 5 steps from"):
        sampler_of(1.0, steps=5).run(inversion)
    with pytest.raises(HspaceError, match=r"eta 1; the run has 6 steps .* eta 0: sample as they were"):
        sampler_of(0.0).run(inversion[[0, 1]])
    with pytest.raises(HspaceError, match="inverted with the model"):
        hspace.Sampler(tiny.denoiser(seed=1), 6, 1.0).run(inversion)
    elsewhere = hspace.Sampler(tiny.denoiser(tap="before"), 6, 1.0)  # latents don't depend on where h is read
    torch.testing.assert_close(elsewhere.run(inversion), PICTURES.double(), rtol=0, atol=1e-9)
    with pytest.raises(HspaceError, match="eta > 0 at every step"):
        hspace.Sampler(tiny.denoiser(), 3, [1.0, 0.0, 1.0]).invert(PICTURES)


def test_damaged_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "photo.safetensors"
    with pytest.raises(HspaceError, match=r"photo.safetensors: expected a file of an inversion, found nothing"):
        Inversion.load(path)
    sampler_of(1.0).invert(PICTURES).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(HspaceError, match=r"photo.safetensors: no readable safetensors file, truncated perhaps"):
        Inversion.load(path)
    hspace.random_directions(sampler_of(1.0).setting(), [1.0] * 6).save(path)
    with pytest.raises(HspaceError, match="expected a file of format hspace-inversion-1, found hspace-directions-1"):
        Inversion.load(path)
