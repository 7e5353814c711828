from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import hspace
from hspace.directions import Direction, Directions

StoredH = Callable[[hspace.Sampler, Sequence[int]], Tensor]


@pytest.fixture
def pair(sampler: hspace.Sampler) -> Directions:
    """Two directions of any length."""
    vectors = torch.randn(2, 3, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    return Directions([Direction(9.0 * v, sampler.setting(), name) for v, name in zip(vectors, "ab", strict=True)])


def test_strength_one_is_one_standard_deviation(sampler: hspace.Sampler, pair: Directions, stored_h: StoredH) -> None:
    calibrated = hspace.calibrate(pair, sampler, range(40))
    h = stored_h(sampler, range(40))
    for before, after in zip(pair, calibrated, strict=True):
        units = before.vectors.flatten(1).double()
        units = units / units.norm(dim=1, keepdim=True)
        stds = torch.einsum("snd,sd->sn", h, units).std(1)
        torch.testing.assert_close(after.norms().double(), stds, rtol=1e-5, atol=0)
        torch.testing.assert_close(after.vectors.flatten(1).double(), units * stds[:, None], rtol=1e-4, atol=1e-6)
        assert after.name == before.name


def test_one_direction_calibrates_as_in_a_set_whatever_its_length(sampler: hspace.Sampler, pair: Directions) -> None:
    alone = hspace.calibrate(1e-3 * pair["b"], sampler, range(20))
    together = hspace.calibrate(pair, sampler, range(20))
    torch.testing.assert_close(alone[0].vectors, together["b"].vectors, rtol=1e-4, atol=1e-7)


def test_a_batch_that_ran_out_of_memory_counts_once(tiny: hspace.Denoiser, pair: Directions) -> None:
    small, large = (hspace.Sampler(tiny, steps=3, max_batch_size=n) for n in (4, 12))
    refused: list[int] = []

    def refuse(_: object, args: tuple[Tensor, ...]) -> None:
        if len(args[0]) > 6 and len(refused) < 2:  # in the middle of the first batch
            refused.append(len(args[0]))
            if len(refused) == 2:
                raise torch.cuda.OutOfMemoryError

    pair = Directions([replace(item, setting=large.setting()) for item in pair])
    handle = tiny.network.register_forward_pre_hook(refuse)
    try:
        shrunk = hspace.calibrate(pair, large, range(12))
    finally:
        handle.remove()
    assert large.batch_size == 6
    torch.testing.assert_close(shrunk["a"].vectors, hspace.calibrate(pair, small, range(12))["a"].vectors)


def test_refusals(tiny: hspace.Denoiser, sampler: hspace.Sampler, pair: Directions) -> None:
    with pytest.raises(hspace.HspaceError, match="at least 2 samples"):
        hspace.calibrate(pair, sampler, [1])
    with pytest.raises(hspace.HspaceError, match="retime"):
        hspace.calibrate(pair, hspace.Sampler(tiny, steps=4), range(4))
    with pytest.raises(hspace.HspaceError, match="another model: its tap"):
        hspace.calibrate(Directions([replace(pair[0], setting=replace(pair.setting, tap="other"))]), sampler, range(4))
    with pytest.raises(hspace.HspaceError, match="zero at a timestep"):
        hspace.calibrate(0.0 * pair["a"], sampler, range(4))


def test_h_that_does_not_vary_is_refused(scaled: Callable[[Tensor], hspace.Denoiser]) -> None:
    gains = torch.ones(10, 3)
    gains[:, 0] = 0
    sampler = hspace.Sampler(scaled(gains), steps=2)
    vectors = torch.zeros(2, 3, 1, 1)
    vectors[:, 0] = 1
    with pytest.raises(hspace.HspaceError, match=r"'dead': standard deviations must be positive, found 0"):
        hspace.calibrate(Direction(vectors, sampler.setting(), "dead"), sampler, range(4))


def test_random_directions_have_the_given_norms(sampler: hspace.Sampler) -> None:
    norms = torch.tensor([0.5, 2.0, 1e4])
    control = hspace.random_directions(sampler.setting(), norms, n=3, seed=1)
    assert control.names == ("random0", "random1", "random2")
    assert control.setting == sampler.setting()
    for item in control:
        torch.testing.assert_close(item.norms(), norms, rtol=1e-6, atol=0)
    assert abs(control[0].cosine(control[1])) < 0.3  # 128 dimensions at the last timestep: 0.09 by chance


def test_random_directions_within_components(sampler: hspace.Sampler) -> None:
    """They lie in the span, in every direction of it alike when measured in standard deviations, with the norms."""
    pcs = hspace.PCA(n_components=3).fit(sampler, range(12)).directions_
    norms = [2.0, 1.0, 0.5]
    found = hspace.random_directions(pcs.setting, norms, n=200, within=pcs, seed=3)
    basis = torch.stack([item.vectors[1].flatten() for item in pcs])  # at one timestep
    drawn = torch.stack([item.vectors[1].flatten() for item in found])
    torch.testing.assert_close(drawn.norm(dim=1), torch.ones(200))
    coordinates = torch.linalg.lstsq(basis.T, drawn.T).solution
    torch.testing.assert_close((basis.T @ coordinates).T, drawn, rtol=1e-3, atol=1e-4)
    spread = torch.nn.functional.normalize(coordinates, dim=0).std(1)
    torch.testing.assert_close(spread, torch.full((3,), 3**-0.5), rtol=0.15, atol=0)
    with pytest.raises(hspace.HspaceError, match=r"components to draw within must be of the same setting"):
        hspace.random_directions(sampler.setting("asymmetric"), norms, within=pcs)


def test_random_directions_follow_their_seed(sampler: hspace.Sampler) -> None:
    one, same, other = (hspace.random_directions(sampler.setting(), [1.0] * 3, n=2, seed=s) for s in (4, 4, 5))
    assert torch.equal(one[1].vectors, same[1].vectors)
    assert not torch.equal(one[1].vectors, other[1].vectors)


@pytest.mark.parametrize(
    ("norms", "n", "message"), [([1.0], 1, "expected 3 norms"), ([1.0] * 3, 0, "n must be at least 1")]
)
def test_random_directions_refuse(sampler: hspace.Sampler, norms: list[float], n: int, message: str) -> None:
    with pytest.raises(hspace.HspaceError, match=message):
        hspace.random_directions(sampler.setting(), norms, n)
