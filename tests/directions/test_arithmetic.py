"""h of one sample in another: against loops written out with encode and decode."""

from __future__ import annotations

import gc
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
from hspace.diffusion import Injection
from hspace.directions import swap, transfer

MODEL = tiny.denoiser()
SEEDS, DONORS = (5, 6, 7), (1, 2, 3)
injections = pytest.mark.parametrize("injection", ["symmetric", "asymmetric"])
etas = pytest.mark.parametrize("eta", [0.0, 1.0])


def sampler_of(eta: float = 1.0, batch_size: int = 2) -> hspace.Sampler:
    return hspace.Sampler(MODEL, 4, eta, batch_size=batch_size)


def h_of(sampler: hspace.Sampler, latents: Any) -> dict[int, Tensor]:
    """(n, *h_shape) of a plain run by timestep."""
    parts: dict[int, list[Tensor]] = {t: [] for t in sampler.timesteps}
    sampler.run(latents, record=lambda t, h, _: parts[t].append(h))
    return {t: torch.cat(hs) for t, hs in parts.items()}


def by_hand(
    sampler: hspace.Sampler,
    seed: int,
    donor: int,
    injection: Injection,
    window: tuple[int, int] = (100, 0),
    mask: Tensor | None = None,
) -> Tensor:
    """Two samples side by side, the second plain."""
    mask = torch.ones(4, 4, dtype=torch.float64) if mask is None else mask
    schedule, latents = sampler.schedule, sampler.latents([seed, donor])
    x_t = latents.x_T().double()
    for i, (timestep, sigma) in enumerate(zip(schedule.timesteps, schedule.sigmas, strict=True)):
        encoding = MODEL.encode(x_t, timestep)
        h = encoding.h.clone()
        if window[0] >= timestep >= window[1]:
            h[0] = (1 - mask) * h[0] + mask * h[1]
        plain, swapped = MODEL.decode(encoding), MODEL.decode(encoding, h)
        x_t = schedule.step(i, swapped.x_0, (swapped if injection == "symmetric" else plain).eps)
        x_t = x_t + sigma * latents.z(timestep).double()
    return x_t[0]


@injections
@etas
@pytest.mark.parametrize("window", [None, (75, 25), (50, 50)])
@pytest.mark.parametrize("masked", ["everywhere", "box", "soft"])
def test_swap_against_a_loop_by_hand(
    injection: Injection, eta: float, window: tuple[int, int] | None, masked: str
) -> None:
    sampler, box = sampler_of(eta), torch.zeros(4, 4, dtype=torch.float64)
    box[1:3, :2] = 1
    soft = torch.rand(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mask = {"everywhere": None, "box": box, "soft": soft}[masked]
    found = swap(sampler, SEEDS, DONORS, window=window, mask=mask, injection=injection)
    expected = torch.stack(
        [by_hand(sampler, a, b, injection, window or (100, 0), mask) for a, b in zip(SEEDS, DONORS, strict=True)]
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)
    assert not torch.allclose(found, sampler.run(SEEDS), atol=1e-3)


@injections
@etas
def test_swapped_with_itself_a_sample_is_the_original_bit_for_bit(injection: Injection, eta: float) -> None:
    sampler = sampler_of(eta)
    plain = sampler.run(SEEDS)
    assert torch.equal(swap(sampler, SEEDS, SEEDS, injection=injection), plain)
    assert torch.equal(swap(sampler, SEEDS, DONORS, window=(99, 80), injection=injection), plain)  # between timesteps
    nowhere = torch.zeros(4, 4)
    assert torch.equal(swap(sampler, SEEDS, DONORS, mask=nowhere, injection=injection), plain)


@settings(max_examples=6)
@given(order=st.permutations(range(3)), batch_size=st.integers(1, 4))
def test_a_batch_is_the_same_as_one_by_one(order: list[int], batch_size: int) -> None:
    seeds, donors = [SEEDS[i] for i in order], [DONORS[i] for i in order]
    found = swap(sampler_of(batch_size=batch_size), seeds, donors)
    alone = torch.cat([swap(sampler_of(), [a], [b]) for a, b in zip(seeds, donors, strict=True)])
    torch.testing.assert_close(found, alone, rtol=0, atol=1e-12)


@injections
def test_one_donor_for_all(injection: Injection) -> None:
    sampler = sampler_of()
    one = swap(sampler, SEEDS, [1], injection=injection)
    torch.testing.assert_close(one, swap(sampler, SEEDS, [1, 1, 1], injection=injection), rtol=0, atol=1e-12)
    assert torch.equal(swap(sampler, [1], [1]), sampler.run([1]))


def test_an_inversion_gives_and_takes() -> None:
    sampler = sampler_of()
    pictures = sampler.run(DONORS)
    inversion = sampler.invert(pictures)
    taken = swap(sampler, SEEDS, inversion)
    torch.testing.assert_close(swap(sampler, inversion, inversion), sampler.run(inversion), rtol=0, atol=1e-9)
    assert not torch.allclose(taken, sampler.run(SEEDS), atol=1e-3)
    torch.testing.assert_close(taken[1:2], swap(sampler, SEEDS[1:2], inversion[[1]]), rtol=0, atol=1e-9)


def test_h_of_one_batch_is_held_at_a_time() -> None:
    sampler = hspace.Sampler(MODEL, 3, batch_size=2)

    def most_held(n: int) -> int:
        """Largest size of all tensors of h that are alive, seen after every step."""
        sizes = []

        def look(done: int, total: int) -> None:
            hs = [x for x in gc.get_objects() if type(x) is Tensor and x.shape[-3:] == MODEL.h_shape]
            sizes.append(sum({x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in hs}.values()))

        swap(sampler, range(n), range(10, 10 + n), progress=look)
        return max(sizes)

    one_batch = most_held(2)
    assert one_batch >= 3 * 2 * 8 * 4 * 4 * 8  # timesteps, samples, h, bytes of a number
    assert most_held(6) <= one_batch


def test_progress_counts_the_donors_too() -> None:
    seen: list[tuple[int, int]] = []
    swap(sampler_of(), SEEDS, DONORS, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (24, 24)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    transfer(sampler_of(), SEEDS, DONORS, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (24, 24)


@pytest.mark.parametrize(
    ("donors", "options", "message"),
    [
        ([1, 2], {}, "2 donors for 3 samples: give one for each, or one for all"),
        (DONORS, {"window": (1, 9)}, "a window goes down from a high timestep to a low one, not from 1 to 9"),
        (DONORS, {"mask": torch.ones(8, 8)}, r"the resolution of h, \(4, 4\), not \(8, 8\)"),
        (DONORS, {"mask": torch.full((4, 4), torch.nan)}, "numbers from 0 to 1"),
        ([], {}, "no seeds"),
    ],
)
def test_bad_input_is_one_clear_line(donors: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(HspaceError, match=message):
        swap(sampler_of(), SEEDS, donors, **options)


@etas
@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_transfer_is_the_mean_difference_of_h(eta: float, batch_size: int) -> None:
    sampler = sampler_of(eta, batch_size)
    found = transfer(sampler, SEEDS, DONORS, name="smile")
    source, target = h_of(sampler, SEEDS), h_of(sampler, DONORS)
    expected = torch.stack([(target[t] - source[t]).mean(0) for t in sampler.timesteps])
    torch.testing.assert_close(found.vectors, expected, rtol=0, atol=1e-12)
    assert (found.name, found.setting) == ("smile", sampler.setting())
    origin = {"method": "transfer", "source": list(SEEDS), "target": list(DONORS), "version": hspace.__version__}
    assert dict(found.origin) == origin


def test_transferred_whole_it_takes_h_of_the_source_to_the_target() -> None:
    """At the first timestep, where an edit has not yet moved x_t."""
    sampler = sampler_of()
    first = sampler.timesteps[0]
    change = transfer(sampler, [5], [1])
    h = h_of(sampler, [5, 1])[first]
    torch.testing.assert_close(h[0] + change.vectors[0], h[1], rtol=0, atol=1e-12)
    only = sampler.run([5], change.during(first, first))
    torch.testing.assert_close(only, swap(sampler, [5], [1], window=(first, first)), rtol=0, atol=1e-11)


def test_a_transfer_is_an_ordinary_direction(tmp_path: Path) -> None:
    sampler = sampler_of()
    change = transfer(sampler, SEEDS, DONORS)
    torch.testing.assert_close((-change).vectors, transfer(sampler, DONORS, SEEDS).vectors, rtol=0, atol=1e-12)
    hspace.Directions([change]).save(tmp_path / "t.safetensors")
    loaded = hspace.Directions.load(tmp_path / "t.safetensors")["transfer"]
    assert torch.equal(sampler.run([9], 0.2 * loaded), sampler.run([9], 0.2 * change))
    assert not torch.allclose(sampler.run([9], 0.2 * loaded), sampler.run([9]), atol=1e-4)
    (unit,) = hspace.calibrate(change, sampler, range(4))
    assert unit.cosine(change) > 0.9


def test_a_transfer_between_pictures_names_them() -> None:
    sampler = sampler_of()
    inversion = sampler.invert(sampler.run(SEEDS[:2]), names=["grave", "glad"])
    found = transfer(sampler, inversion[:1], inversion[[1]])
    assert (found.origin["source"], found.origin["target"]) == (["grave"], ["glad"])


def test_transfers_need_pairs() -> None:
    with pytest.raises(HspaceError, match="3 sources and 2 targets: give pairs"):
        transfer(sampler_of(), SEEDS, DONORS[:2])


def test_float32_models_give_float32_directions() -> None:
    sampler = hspace.Sampler(tiny.denoiser(dtype=torch.float32), 3)
    assert transfer(sampler, [0], [1]).vectors.dtype == torch.float32
    half = hspace.Sampler(tiny.denoiser(dtype=torch.bfloat16), 3)
    assert transfer(half, [0], [1]).vectors.dtype == torch.float32
    assert torch.equal(swap(half, [0, 1], [0, 1]), half.run([0, 1]))
