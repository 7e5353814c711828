from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA as ExactPCA
from torch import Tensor

import hspace

StoredH = Callable[[hspace.Sampler, Sequence[int]], Tensor]
Scaled = Callable[[Tensor], hspace.Denoiser]

K = 4
SEEDS = range(100)  # below the default sketch size: the exact PCA


@pytest.fixture(scope="module")
def fitted(sampler: hspace.Sampler) -> hspace.PCA:
    return hspace.PCA(K).fit(sampler, SEEDS)


@pytest.fixture(scope="module")
def joint(sampler: hspace.Sampler) -> hspace.PCA:
    return hspace.PCA(K, joint=True).fit(sampler, SEEDS)


@pytest.fixture(scope="module")
def h(sampler: hspace.Sampler, stored_h: StoredH) -> Tensor:
    """(S, n, d)."""
    return stored_h(sampler, SEEDS)


def units(pca: hspace.PCA) -> Tensor:
    """(S, k, d) of length 1."""
    vectors = torch.stack([item.vectors.flatten(1).double() for item in pca.directions_], 1)
    return torch.nn.functional.normalize(vectors, dim=2)


def assert_same_fit(one: hspace.PCA, other: hspace.PCA, rtol: float = 1e-6) -> None:
    assert one.n_samples_seen_ == other.n_samples_seen_
    assert sorted(one.seeds_) == sorted(other.seeds_)
    for name in ("mean_", "explained_variance_", "explained_variance_ratio_", "agreement_"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), rtol=rtol, atol=rtol, msg=name)
    for a, b in zip(one.directions_, other.directions_, strict=True):
        torch.testing.assert_close(a.vectors, b.vectors, rtol=0, atol=10 * rtol * float(a.norms().max()))
        assert (a.name, a.origin, a.setting) == (b.name, b.origin, b.setting)


def test_each_timestep_is_scikit_learns_pca(fitted: hspace.PCA, h: Tensor) -> None:
    for at_t, mine, variance, ratio, mean in zip(
        h, units(fitted), fitted.explained_variance_, fitted.explained_variance_ratio_, fitted.mean_, strict=True
    ):
        exact = ExactPCA(K, svd_solver="full").fit(at_t.numpy())
        cosines = np.abs(exact.components_ @ mine.numpy().T)
        order = cosines.argmax(1)
        assert sorted(order) == list(range(K))
        np.testing.assert_allclose(cosines.max(1), 1.0, atol=1e-6)
        np.testing.assert_allclose(variance[order], exact.explained_variance_, rtol=1e-8)
        np.testing.assert_allclose(ratio[order], exact.explained_variance_ratio_, rtol=1e-8)
        np.testing.assert_allclose(mean.flatten(), exact.mean_, atol=1e-10)


def test_joint_is_scikit_learns_pca_of_the_concatenated_h(joint: hspace.PCA, h: Tensor) -> None:
    exact = ExactPCA(K, svd_solver="full").fit(h.transpose(0, 1).flatten(1).numpy())
    parts = torch.as_tensor(exact.components_).reshape(K, len(h), -1)
    parts = parts / parts.norm(dim=2, keepdim=True)
    cosines = torch.einsum("kst,sjt->skj", parts, units(joint)).mean(0)  # the same sign at all timesteps
    order = cosines.abs().argmax(1)
    assert sorted(order.tolist()) == list(range(K))
    torch.testing.assert_close(cosines.abs().amax(1), torch.ones(K, dtype=torch.float64), rtol=0, atol=1e-6)
    assert bool((joint.agreement_ == 1).all())
    torch.testing.assert_close(joint.explained_variance_ratio_, joint.explained_variance_ / h.var(1).sum(1)[:, None])


@pytest.mark.parametrize("kind", ["fitted", "joint"])
def test_strength_one_is_one_standard_deviation_of_h(kind: str, h: Tensor, request: pytest.FixtureRequest) -> None:
    pca: hspace.PCA = request.getfixturevalue(kind)
    stds = (h @ units(pca).transpose(1, 2)).std(1)  # (S, k)
    torch.testing.assert_close(stds.square(), pca.explained_variance_, rtol=1e-5, atol=0)
    norms = torch.stack([item.norms() for item in pca.directions_], 1)
    torch.testing.assert_close(norms.double(), stds, rtol=1e-5, atol=0)


def test_variance_of_h_is_exact_for_a_joint_pca_with_few_axes(sampler: hspace.Sampler, h: Tensor) -> None:
    pca = hspace.PCA(2, joint=True, sketch_size=6).fit(sampler, SEEDS)
    totals = pca.explained_variance_ / pca.explained_variance_ratio_
    torch.testing.assert_close(totals, h.var(1).sum(1)[:, None].expand(-1, 2), rtol=1e-8, atol=0)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_batch_size_changes_nothing(tiny: hspace.Denoiser, batch_size: int, joint: bool) -> None:
    one, other = (
        hspace.PCA(2, joint=joint).fit(hspace.Sampler(tiny, steps=2, batch_size=n), range(30)) for n in (16, batch_size)
    )
    assert_same_fit(one, other)


@pytest.mark.parametrize("kind", ["fitted", "joint"])
def test_merged_halves_equal_the_whole(kind: str, sampler: hspace.Sampler, request: pytest.FixtureRequest) -> None:
    whole: hspace.PCA = request.getfixturevalue(kind)
    one, other = (hspace.PCA(K, joint=whole.joint).fit(sampler, part) for part in (SEEDS[:37], SEEDS[37:]))
    assert_same_fit(one.merge(other), whole)
    assert one.directions_[0].origin["seeds"] == [[0, 99]]


def test_an_interrupted_fit_keeps_what_it_has_finished_and_can_go_on(
    sampler: hspace.Sampler, fitted: hspace.PCA
) -> None:
    def interrupt(done: int, _: int) -> None:
        if done > 2.5 * 16 * 3:  # in the third batch
            raise KeyboardInterrupt

    pca = hspace.PCA(K)
    with pytest.raises(KeyboardInterrupt):
        pca.fit(sampler, SEEDS, progress=interrupt)
    assert pca.n_samples_seen_ == 32
    assert_same_fit(pca.finish(), hspace.PCA(K).fit(sampler, SEEDS[:32]))
    rest = hspace.PCA(K).fit(sampler, SEEDS[32:])
    assert_same_fit(pca.merge(rest), fitted)


def test_a_fit_interrupted_in_its_first_batch_has_nothing(sampler: hspace.Sampler, fitted: hspace.PCA) -> None:
    def interrupt(_: int, __: int) -> None:
        raise KeyboardInterrupt

    pca = hspace.PCA(K)
    with pytest.raises(KeyboardInterrupt):
        pca.fit(sampler, range(100, 120), progress=interrupt)
    with pytest.raises(hspace.HspaceError, match="not 0"):
        pca.finish()
    assert_same_fit(hspace.PCA(K).fit(sampler, SEEDS).merge(pca), fitted)


def test_a_batch_that_ran_out_of_memory_counts_once(tiny: hspace.Denoiser) -> None:
    sampler = hspace.Sampler(tiny, steps=3, max_batch_size=12)
    calls = []

    def refuse(_: object, args: tuple[Tensor, ...]) -> None:
        calls.append(len(args[0]))
        if calls == [12, 12]:  # in the middle of the first batch
            raise torch.cuda.OutOfMemoryError

    handle = tiny.network.register_forward_pre_hook(refuse)
    try:
        shrunk = hspace.PCA(2).fit(sampler, range(12))
    finally:
        handle.remove()
    assert calls == [12, 12, *[6] * 6]
    assert_same_fit(shrunk, hspace.PCA(2).fit(hspace.Sampler(tiny, steps=3, batch_size=4), range(12)))


def test_finished_batches_are_handed_on_with_their_pictures(sampler: hspace.Sampler) -> None:
    pictures: dict[int, Tensor] = {}
    hspace.PCA(2).fit(sampler, range(5, 25), on_batch=lambda rows, images: pictures.update({rows.start: images}))
    torch.testing.assert_close(torch.cat([pictures[0], pictures[16]]), sampler.run(range(5, 25)))


def test_a_direction_is_one_thing_along_t(scaled: Scaled) -> None:
    """Components that swap their order and flip their sign along t, known in closed form."""
    gains = torch.full((50, 6), 0.1)
    gains[:, 0] = torch.linspace(3.0, 1.0, 50)
    gains[:, 1] = torch.linspace(1.5, 3.5, 50)  # overtakes the first
    gains[:, 2] = 0.5
    gains[20:, 0] *= -1
    gains[35:, 2] *= -1
    sampler = hspace.Sampler(scaled(gains), steps=10, eta=0.0)
    pca = hspace.PCA(3).fit(sampler, range(200))
    chosen = units(pca).abs().argmax(2)  # (S, k): the axis that a component lies along
    assert {tuple(row) for row in chosen.tolist()} == {(1, 0, 2)}
    signs = torch.gather(units(pca), 2, chosen[..., None])[..., 0].sign()
    of_gains = gains[list(sampler.timesteps)].sign()
    for component, axis in enumerate((1, 0, 2)):
        product = signs[:, component] * of_gains[:, axis]  # of the score with x_T: the same at all t
        assert len(product.unique()) == 1
    assert float(pca.agreement_.min()) > 0.8  # lowest where the two cross


def test_opposite_h_at_two_timesteps_gives_opposite_vectors(scaled: Scaled) -> None:
    """The mean of such a direction over t is zero; the direction is not."""
    gains = torch.tensor([[2.0, 1.0, 0.5], [-2.0, -1.0, -0.5]])
    alphas = torch.tensor([0.5, 0.5], dtype=torch.float64)
    model = hspace.Denoiser(scaled(gains).network, alphas, image_shape=(3, 1, 1), tap="inner")
    first = hspace.PCA(2).fit(hspace.Sampler(model, steps=2, eta=0.0), range(20)).directions_[0]
    torch.testing.assert_close(first.vectors[0], -first.vectors[1])
    assert 1.5 < float(first.norms()[0]) < 2.5


def test_what_is_kept_does_not_grow_with_the_number_of_samples(scaled: Scaled) -> None:
    sampler = hspace.Sampler(scaled(torch.linspace(0.5, 2.0, 20 * 30).reshape(20, 30)), steps=3, batch_size=100)

    def kept(samples: int) -> int:
        pca = hspace.PCA(2, sketch_size=10).fit(sampler, range(samples))
        sketches = [value for sketch in pca._sketches for value in vars(sketch).values()]
        tensors = [value for value in (*vars(pca).values(), *sketches) if isinstance(value, Tensor)]
        assert len(tensors) >= 3 * 5 + 4
        return sum(tensor.untyped_storage().nbytes() for tensor in tensors)

    assert kept(500) == kept(1500)


def test_few_axes_are_close_to_the_exact_pca(scaled: Scaled, stored_h: StoredH) -> None:
    gains = (torch.arange(1, 201) ** -0.5).expand(10, 200)
    sampler = hspace.Sampler(scaled(gains), steps=2, eta=0.0)
    pca = hspace.PCA(3, sketch_size=40).fit(sampler, range(600))
    exact = ExactPCA(3, svd_solver="covariance_eigh").fit(stored_h(sampler, range(600))[0].numpy())
    cosines = np.abs((exact.components_ * units(pca)[0].numpy()).sum(1))
    assert np.degrees(np.arccos(np.minimum(cosines, 1))).max() < 1.0


def test_directions_remember_how_they_were_found(sampler: hspace.Sampler) -> None:
    directions = hspace.PCA(2).fit(sampler, [9, 3, 2, 1, 5, 8]).directions_
    assert directions.names == ("pc0", "pc1")
    assert directions.setting == sampler.setting()
    assert directions[1].origin == {
        "method": "pca",
        "parameters": {"n_components": 2, "joint": False, "sketch_size": 124},
        "seeds": [[1, 3], [5, 5], [8, 9]],
        "version": hspace.__version__,
        "component": 1,
    }
    assert set(directions.measured) == {"explained_variance_ratio", "agreement"}
    shares = directions.measured["explained_variance_ratio"].mean(0)
    assert shares[0] > shares[1] > 0


@pytest.mark.parametrize(("k", "samples"), [(0, 5), (-1, 5), (5, 5), (6, 5)])
def test_impossible_numbers_are_refused_before_sampling(sampler: hspace.Sampler, k: int, samples: int) -> None:
    def never(_: int, __: int) -> None:
        raise AssertionError

    with pytest.raises(hspace.HspaceError, match=f"at least 1, not {k}|{k} components need more samples"):
        hspace.PCA(k).fit(sampler, range(samples), progress=never)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize(("rank", "k"), [(0, 1), (1, 2)])
def test_h_that_hardly_varies_is_refused(scaled: Scaled, rank: int, k: int, joint: bool) -> None:
    gains = torch.zeros(10, 4)
    gains[:, :rank] = 1.0
    sampler = hspace.Sampler(scaled(gains), steps=2, eta=0.0)
    with pytest.raises(hspace.HspaceError, match=f"h varies in {rank} directions only, too few for {k} components"):
        hspace.PCA(k, joint=joint).fit(sampler, range(8))


def test_what_does_not_belong_together_does_not_merge(tiny: hspace.Denoiser, sampler: hspace.Sampler) -> None:
    first = hspace.PCA(1).fit(sampler, range(3))
    with pytest.raises(hspace.HspaceError, match="both parts have seen seed 2"):
        first.merge(hspace.PCA(1).fit(sampler, range(2, 5)))
    with pytest.raises(hspace.HspaceError, match="one setting"):
        first.merge(hspace.PCA(1).fit(hspace.Sampler(tiny, steps=2), range(5, 8)))
    with pytest.raises(hspace.HspaceError, match="one kind"):
        first.merge(hspace.PCA(1, joint=True).fit(sampler, range(5, 8)))
    assert first.n_samples_seen_ == 3
