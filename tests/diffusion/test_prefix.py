"""Rows that share their unedited prefix, and runs that start from what is kept: against runs that share nothing."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import tiny
from torch import Tensor

import hspace
from hspace import HspaceError
from hspace.diffusion import Prefixes, RunChange
from hspace.models import Denoiser

MODEL, FLOAT32 = tiny.denoiser(), tiny.denoiser("v_prediction", dtype=torch.float32)
STEPS = 5
SAMPLER = hspace.Sampler(MODEL, STEPS)
T = SAMPLER.timesteps
injections = pytest.mark.parametrize("injection", ["symmetric", "asymmetric"])


def close(a: Tensor, b: Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=atol)


def direction(model: Denoiser = MODEL, seed: int = 0) -> hspace.Direction:
    vectors = torch.stack(list(tiny.h_shifts(model, T, seed).values())).float()
    return hspace.Direction(vectors, hspace.Sampler(model, STEPS).setting(), f"d{seed}")


def late(first: int, strength: float = 1.0, injection: Any = "symmetric", model: Denoiser = MODEL) -> hspace.Edit:
    """From step `first` on."""
    return hspace.Edit.of(direction(model), strength, window=(T[first], 0), injection=injection)


@contextmanager
def passes(model: Denoiser, name: str = "") -> Iterator[list[int]]:
    """Rows of every pass through the network, or through one of its modules."""
    rows: list[int] = []
    handle = model.network.get_submodule(name).register_forward_pre_hook(
        lambda _, args, kwargs: rows.append(len((*args, *kwargs.values())[0])), with_kwargs=True
    )
    try:
        yield rows
    finally:
        handle.remove()


@settings(max_examples=8)
@injections
@given(
    seeds=st.lists(st.integers(0, 2), min_size=1, max_size=7),
    firsts=st.lists(st.none() | st.integers(0, STEPS - 1), min_size=7, max_size=7),
    batch_size=st.integers(1, 7),
    again=st.booleans(),
)
def test_samples_are_those_of_a_run_that_shares_nothing(
    injection: Any, seeds: list[int], firsts: list[int | None], batch_size: int, again: bool
) -> None:
    sampler, prefixes = hspace.Sampler(MODEL, STEPS, batch_size=batch_size), Prefixes()
    edits = [None if first is None else late(first, 1.0 + i, injection) for i, first in enumerate(firsts)][: len(seeds)]
    expected = sampler.run(seeds, edits)
    close(sampler.run(seeds, edits, prefixes=prefixes), expected)
    if again:
        close(sampler.run(seeds, edits, prefixes=prefixes), expected)


@injections
@pytest.mark.parametrize("first", range(STEPS))
@pytest.mark.parametrize("model", [MODEL, FLOAT32], ids=["float64", "float32"])
def test_one_sample_at_a_time_is_the_same_bit_for_bit(model: Denoiser, injection: Any, first: int) -> None:
    """As the slider of an app moves."""
    sampler, prefixes = hspace.Sampler(model, STEPS), Prefixes()
    for strength in (1.0, -2.0, 3.0, 0.0):
        edit = late(first, strength, injection, model)
        assert torch.equal(sampler.run([4], edit, prefixes=prefixes), sampler.run([4], edit))
    assert torch.equal(sampler.run([4], prefixes=prefixes), sampler.run([4]))


def test_a_strip_computes_its_prefix_once() -> None:
    MODEL.h_shape  # noqa: B018 (takes a pass, the first time)
    edits = [None, late(3, 1.0), late(3, 2.0), late(4, 1.0)] * 2
    with passes(MODEL) as rows:
        SAMPLER.run([0] * 4 + [1] * 4, edits, prefixes=Prefixes())
    assert rows == [2, 2, 2, 6, 8]


def test_a_slider_starts_where_its_window_opens() -> None:
    prefixes = Prefixes()
    SAMPLER.run([0], late(3, 1.0), prefixes=prefixes)
    with passes(MODEL) as rows:
        SAMPLER.run([0], late(3, 2.0), prefixes=prefixes)
        assert rows == [1, 1]
        SAMPLER.run([0], late(4, 2.0), prefixes=prefixes)  # goes on from there, plain at first
        assert rows == [1, 1, 1, 1]
        SAMPLER.run([0, 1], [late(4, 3.0)] * 2, prefixes=prefixes)
        assert rows[4:] == [1, 1, 1, 1, 2]


def test_a_plain_sample_is_not_drawn_again() -> None:
    prefixes = Prefixes()
    expected = SAMPLER.run([0, 1], prefixes=prefixes)
    with passes(MODEL) as rows:
        assert torch.equal(SAMPLER.run([1, 0], prefixes=prefixes), expected.flip(0))
    assert rows == []


def test_the_same_edit_of_the_same_sample_goes_as_one() -> None:
    edit = late(0)
    with passes(MODEL) as rows:
        SAMPLER.run([0, 0, 0], edit, prefixes=Prefixes())
    assert rows == [1] * STEPS


def test_a_window_that_closes_does_not_lead_back() -> None:
    edit = hspace.Edit.of(direction(), 2.0, window=(T[1], T[2]))
    prefixes = Prefixes()
    for _ in range(2):
        close(SAMPLER.run([0, 0], [edit, None], prefixes=prefixes), SAMPLER.run([0, 0], [edit, None]))


@pytest.mark.parametrize("again", [False, True])
def test_recorders_see_every_row_of_every_step(again: bool) -> None:
    seeds, edits = [0, 0, 1, 0], [late(2), None, late(4), late(2, 3.0)]
    sampler, prefixes = hspace.Sampler(MODEL, STEPS, batch_size=3), Prefixes()
    if again:
        sampler.run(seeds, edits, prefixes=prefixes)
    seen: list[list[tuple[Any, ...]]] = []
    for options in ({}, {"prefixes": prefixes}):
        calls: list[tuple[Any, ...]] = []
        sampler.run(
            seeds,
            edits,
            record=lambda t, h, rows, calls=calls: calls.append(("h", t, rows, h)),
            visit=lambda t, x, rows, calls=calls: calls.append(("x", t, rows, x)),
            progress=lambda done, total, calls=calls: calls.append((done, total)),
            **options,
        )
        seen.append(calls)
    for plain, shared in zip(*seen, strict=True):
        assert plain[:3] == shared[:3]
        if len(plain) == 4:
            close(shared[3], plain[3])


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_inverted_pictures_are_shared_too(eta: float) -> None:
    sampler, prefixes = hspace.Sampler(MODEL, STEPS, eta, batch_size=4), Prefixes()
    inversion = sampler.invert(hspace.Sampler(MODEL, STEPS, eta).run(range(3)).float())
    rows, edits = inversion[[0, 2, 0, 1, 2]], [None, late(3), late(3), late(4), None]
    for _ in range(2):
        close(sampler.run(rows, edits, prefixes=prefixes), sampler.run(rows, edits))
    with passes(MODEL) as seen:
        sampler.run(inversion, prefixes=prefixes)
    assert seen == [1]  # pictures 0 and 2 were drawn plainly before, picture 1 for four of five steps
    close(sampler.run(inversion, prefixes=prefixes), sampler.run(inversion))
    close(sampler.run(inversion[2:], late(3), prefixes=prefixes), sampler.run(inversion[2:], late(3)))


def test_an_inversion_takes_what_is_known_of_it_along() -> None:
    sampler, prefixes = hspace.Sampler(MODEL, STEPS, 0.0), Prefixes()
    pictures = sampler.run([0]).float()
    inversion = sampler.invert(pictures, reconstruct=False)
    sampler.run(inversion, prefixes=prefixes)
    assert len(prefixes) == 1
    del inversion
    gc.collect()
    sampler.run([0], prefixes=prefixes)
    assert len(prefixes) == 1


def test_starts_that_move_are_states_of_their_own() -> None:
    start = torch.randn(1, *tiny.IMAGE_SHAPE, generator=torch.Generator().manual_seed(0))
    moved = hspace.Direction(start, SAMPLER.setting(space="noise"), "start")
    edits = [None, moved, 2.0 * moved, hspace.Edit.of(moved) + late(2)]
    close(SAMPLER.run([0] * 4, edits, prefixes=Prefixes()), SAMPLER.run([0] * 4, edits))


def test_latents_of_ones_own_and_changes_of_the_run_share_nothing() -> None:
    latents = SAMPLER.latents([0, 1])
    own = tiny.FixedLatents(latents.x_T(), {t: latents.z(t) for t in T})
    prefixes = Prefixes()
    for _ in range(2):
        close(SAMPLER.run(own, late(2), prefixes=prefixes), SAMPLER.run([0, 1], late(2)))
    change = RunChange(lambda t, h, rows: h * 1.1)
    close(SAMPLER.run([0, 0], change, prefixes=prefixes), SAMPLER.run([0, 0], change))


def test_models_and_grids_do_not_meet() -> None:
    prefixes = Prefixes()
    for model in (MODEL, tiny.denoiser(seed=1), FLOAT32):
        for steps, eta in ((STEPS, 1.0), (STEPS, 0.0), (3, 1.0)):
            sampler = hspace.Sampler(model, steps, eta)
            assert torch.equal(sampler.run([0], prefixes=prefixes), sampler.run([0]))


def test_memory_is_bounded_and_what_is_old_goes_first() -> None:
    one = torch.zeros(tiny.IMAGE_SHAPE).numel() * 8
    prefixes = Prefixes(2 * STEPS * one)
    for seed in (0, 1, 0, 2):
        close(SAMPLER.run([seed], prefixes=prefixes), SAMPLER.run([seed]))
        assert prefixes.bytes <= prefixes.max_bytes
    assert (len(prefixes), prefixes.bytes) == (2, 2 * STEPS * one)
    with passes(MODEL) as rows:
        SAMPLER.run([0, 2], prefixes=prefixes)
        assert rows == []
        SAMPLER.run([1], prefixes=prefixes)
        assert rows == [1] * STEPS
    small = Prefixes(3 * one)  # not even one trajectory
    for _ in range(2):
        close(SAMPLER.run([0, 1], late(4), prefixes=small), SAMPLER.run([0, 1], late(4)))
        assert small.bytes <= small.max_bytes
    none = Prefixes(0)
    close(SAMPLER.run([0, 0], [late(4), None], prefixes=none), SAMPLER.run([0, 0], [late(4), None]))
    assert len(none) == none.bytes == 0


def test_less_than_nothing_can_not_be_kept() -> None:
    with pytest.raises(HspaceError, match="max_bytes must be at least 0, not -1"):
        Prefixes(-1)


def test_asymmetric_strips_run_the_encoder_once_and_the_decoder_twice() -> None:
    """At the first edited step all rows of a sample have one x_t, which is encoded once; so is its eps decoded."""
    edits = [late(3, strength, "asymmetric") for strength in (1.0, 2.0, 3.0)]
    assert MODEL.can_replay  # found out before passes are counted
    for samples in (1, 2):
        seeds = [seed for seed in range(samples) for _ in edits]
        with passes(MODEL, "down_blocks.0.resnets.0") as encoder, passes(MODEL, "up_blocks.0") as decoder:
            SAMPLER.run(seeds, edits * samples, prefixes=Prefixes())
        assert encoder == [samples * rows for rows in (1, 1, 1, 1, 3)]
        assert decoder == [samples * rows for rows in (1, 1, 1, 1, 3, 3, 3)]


def test_samples_with_different_numbers_of_rows_are_encoded_row_by_row() -> None:
    edits = [late(3, strength, "asymmetric") for strength in (1.0, 2.0, 3.0)]
    assert MODEL.can_replay
    with passes(MODEL, "down_blocks.0.resnets.0") as encoder:
        SAMPLER.run([0, 0, 1], edits, prefixes=Prefixes())
    assert encoder == [2, 2, 2, 3, 3]


@pytest.mark.parametrize("model", [MODEL, FLOAT32], ids=["float64", "float32"])
def test_a_strength_of_0_in_a_strip_is_the_sample_itself_bit_for_bit(model: Denoiser) -> None:
    sampler = hspace.Sampler(model, STEPS)
    edits = [late(3, strength, "asymmetric", model) for strength in (-2.0, 0.0, 2.0)]
    found = sampler.run([4, 4, 4, 5, 5, 5, 4, 5], [*edits, *edits, None, None], prefixes=Prefixes())
    assert torch.equal(found[1], found[6])
    assert torch.equal(found[4], found[7])
    assert not torch.equal(found[0], found[6])


@pytest.mark.parametrize("recorded", [False, True])
def test_rows_in_blocks_come_back_in_their_order(recorded: bool) -> None:
    edits = [late(2, strength, "asymmetric") for strength in (1.0, -1.0)]
    seeds, given = [3, 3, 8, 8, 1, 1], [edits[0], edits[1]] * 3
    h: list[list[Tensor]] = [[], []]
    runs = [
        SAMPLER.run(
            seeds, given, prefixes=prefixes, record=(lambda _, x, __, k=k: h[k].append(x)) if recorded else None
        )
        for k, prefixes in enumerate((Prefixes(), None))
    ]
    close(*runs)
    for ours, theirs in zip(*h, strict=True):
        close(ours, theirs)
