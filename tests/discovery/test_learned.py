"""Directions that a network learns to tell apart, on a network of a few thousand random weights."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from tests import tiny

import hspace
from hspace.errors import HspaceError
from hspace.learning import ShiftNetwork

QUICK: dict[str, Any] = {
    "span": 8,
    "reconstructor": "lenet",
    "iterations": 6,
    "batch_size": 8,
    "replay_size": 16,
    "checked": 12,
    "noise": 0.0,
}


def sampler(**options: Any) -> hspace.Sampler:
    return hspace.Sampler(tiny.denoiser(dtype=torch.float32), 3, 0.0, **options)


def learned(n: int = 3, **options: Any) -> hspace.Learned:
    return hspace.Learned(n, **{**QUICK, **options})


def test_training_improves_and_is_deterministic() -> None:
    """The configuration that trains in less than a minute: from chance to most of the types, the same twice."""
    options = {
        "span": 16,
        "iterations": 80,
        "batch_size": 32,
        "replay_size": 512,
        "shift_rate": 0.02,
        "reconstructor_rate": 3e-3,
        "checked": 200,
    }
    found = [learned(4, **options).fit(sampler(), range(64)) for _ in range(2)]
    start, end = (
        sum(line["accuracy"] for line in lines) / 10 for lines in (found[0].history_[:10], found[0].history_[-10:])
    )
    assert start < 0.45  # chance is 0.25
    assert end > start + 0.25
    assert found[0].told_.accuracy > 0.6
    losses = [[{**line, "seconds": 0} for line in each.history_] for each in found]
    assert losses[0] == losses[1]
    for a, b in zip(found[0].directions_, found[1].directions_, strict=True):
        assert bool((a.vectors == b.vectors).all())
        assert a.origin == b.origin


def test_directions_move_what_the_fixed_ones_leave() -> None:
    """The module learns, not the reconstructor alone: trained vectors leave their start, fixed ones do not."""
    trained, fixed = (learned(parametrisation=kind).fit(sampler(), range(16)) for kind in ("ortho", "fixed"))
    ended, stayed = [each.network_.shift.weight.detach().clone() for each in (trained, fixed)]
    again = learned(parametrisation="fixed", seed=0, iterations=1).fit(sampler(), range(16)).network_.shift.weight
    assert bool((stayed == again).all())
    assert float((ended - stayed).abs().max()) > 1e-3


def test_strength_one_is_one_standard_deviation() -> None:
    for options in ({}, {"span": None}, {"kind": "block"}):
        found = learned(**options).fit(sampler(), range(40))
        for item in found.directions_:
            again = hspace.calibrate(item, sampler(), range(40))[0]
            torch.testing.assert_close(item.norms(), again.norms(), rtol=2e-2, atol=1e-6)


def test_directions_do_what_the_module_does() -> None:
    found = learned(merge_above=1.0).fit(sampler(), range(16))
    seeds = [100, 101, 102]
    types = [item.origin["types"][0] for item in found.directions_]
    by_module = sampler().run(seeds, found.change(types, [2.0, -1.0, 0.5]))
    edits = [s * item for s, item in zip((2.0, -1.0, 0.5), found.directions_, strict=True)]
    torch.testing.assert_close(by_module, sampler().run(seeds, edits), rtol=1e-4, atol=1e-5)
    assert bool((sampler().run(seeds, found.change([0, 1, 2], [0.0] * 3)) == sampler().run(seeds)).all())


def test_ranked_by_accuracy_and_saved(tmp_path: Path) -> None:
    found = learned(4, merge_above=1.0).fit(sampler(), range(16))
    accuracies = [item.origin["accuracy"] for item in found.directions_]
    assert accuracies == sorted(accuracies, reverse=True)
    assert found.directions_.names == ("learned0", "learned1", "learned2", "learned3")
    assert sorted(k for item in found.directions_ for k in item.origin["types"]) == [0, 1, 2, 3]
    assert all(item.origin["effect"] > 0 for item in found.directions_)
    assert found.told_.confusion.sum() == 12
    found.directions_.save(tmp_path / "learned.safetensors")
    again = hspace.Directions.load(tmp_path / "learned.safetensors")
    assert all(bool((a.vectors == b.vectors).all()) for a, b in zip(found.directions_, again, strict=True))
    assert again[0].origin["method"] == "learned"


def test_near_duplicates_become_one() -> None:
    found = learned(kind="global", parametrisation="linear", iterations=1, merge_above=1.0).fit(sampler(), range(16))
    weight = found._trainer.averages["weight"]  # two types the same, one of them turned around
    weight[:, :, 1] = -weight[:, :, 0]
    found.merge_above = 0.9
    merged = found.finish().directions_
    together = next(item for item in merged if set(item.origin["types"]) >= {0, 1})
    vectors = found.network_.shift.vectors()[:, 0].reshape(together.vectors.shape)
    cosine = torch.nn.functional.cosine_similarity(vectors.flatten(), together.vectors.flatten(), dim=0)
    if together.origin["types"] == [0, 1]:
        assert abs(float(cosine)) > 0.999
    assert len(merged) < 3
    seeds = list(found.fresh_seeds(8))  # the effect in its origin is its own
    low, high = (sampler().run(seeds, end * together).float() for end in (-3.0, 3.0))
    assert together.origin["effect"] == pytest.approx(float((high - low).square().mean().sqrt()), abs=2e-4)


def same_state(a: hspace.Learned, b: hspace.Learned) -> None:
    for mine, other in zip(a._trainer._parts()[0].values(), b._trainer._parts()[0].values(), strict=True):
        for name, value in mine.state_dict().items():
            assert bool((value == other.state_dict()[name]).all()), name
    assert [{**line, "seconds": 0} for line in a.history_[-2:]] == [{**line, "seconds": 0} for line in b.history_[-2:]]
    for x, y in zip(a.directions_, b.directions_, strict=True):
        assert bool((x.vectors == y.vectors).all())


@pytest.mark.parametrize("kind", ["global", "block"])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path, kind: Any) -> None:
    whole = learned(kind=kind).fit(sampler(), range(16), folder=tmp_path / "whole")
    part = learned(kind=kind)

    def interrupt(estimator: hspace.Learned) -> None:
        if estimator.iteration_ == 3:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match=r"interrupted after iteration 3; its state is in .*part"):
        part.fit(sampler(), range(16), folder=tmp_path / "part", save_every=0.0, on_save=interrupt)
    resumed = learned(kind=kind).fit(sampler(), range(16), folder=tmp_path / "part", resume=True)
    same_state(whole, resumed)
    lines = [(tmp_path / each / "log.csv").read_text().splitlines() for each in ("whole", "part")]
    assert [line.rsplit(",", 1)[0] for line in lines[0]] == [line.rsplit(",", 1)[0] for line in lines[1]]
    assert part.finish().directions_.names  # what was learned until then can be used


def test_more_iterations_go_on_from_fewer(tmp_path: Path) -> None:
    whole = learned(iterations=5).fit(sampler(), range(16))
    learned(iterations=2).fit(sampler(), range(16), folder=tmp_path)
    same_state(whole, learned(iterations=5).fit(sampler(), range(16), folder=tmp_path, resume=True))


def test_stops_early(tmp_path: Path) -> None:
    options = {"patience": 2, "shift_rate": 1e-9, "reconstructor_rate": 1e-9, "discriminator_rate": 1e-9}
    found = learned(iterations=400, **options).fit(sampler(), range(16))
    assert found.stopped_ == "patience"
    assert found.iteration_ < 400
    again = [
        learned(iterations=400, **options).fit(sampler(), range(16), folder=tmp_path, resume=resume)
        for resume in (False, True)  # resumed, it has nothing more to do
    ]
    assert [each.iteration_ for each in again] == [found.iteration_] * 2
    for a, b in zip(found.directions_, again[1].directions_, strict=True):
        assert bool((a.vectors == b.vectors).all())
    found = learned(iterations=400).fit(sampler(), range(16), minutes=1e-4)
    assert found.stopped_ == "minutes"
    assert found.iteration_ == 1


def test_a_loss_that_is_not_finite_keeps_the_last_good_state(tmp_path: Path) -> None:
    found = learned(iterations=50)

    def poison(estimator: hspace.Learned) -> None:
        if estimator.iteration_ == 2:
            estimator.population_.images[:] = torch.nan

    with pytest.raises(
        HspaceError, match=r"loss nan or its gradient is not finite at iteration 3; iteration 2 was the"
    ):
        found.fit(sampler(), range(16), folder=tmp_path, save_every=0.0, on_save=poison)
    two = learned(iterations=2).fit(sampler(), range(16))
    resumed = learned(iterations=2).fit(sampler(), range(16), folder=tmp_path, resume=True)
    for name, value in two._trainer.averages.items():
        assert bool((value == resumed._trainer.averages[name]).all())


def test_a_block_exports_its_mean_and_keeps_its_network(tmp_path: Path) -> None:
    found = learned(kind="block", merge_above=1.0).fit(sampler(), range(16))
    found.network_.save(tmp_path / "network.safetensors")
    again = ShiftNetwork.load(tmp_path / "network.safetensors")
    edit = again.change(sampler(), [0, 1], [2.0, -2.0])
    assert bool((sampler().run([50, 51], edit) == sampler().run([50, 51], found.change([0, 1], [2.0, -2.0]))).all())
    types = [item.origin["types"][0] for item in found.directions_]
    item = found.directions_[types.index(0)]
    units = []

    def record(timestep: int, h: torch.Tensor, _: slice) -> None:
        kinds = torch.zeros(len(h), dtype=torch.int64)
        units.append(found.network_.shift.unit(timestep, h, kinds).mean(0).flatten())

    sampler().run(range(12), record=record)  # `checked` samples of the population
    for mean, vector in zip(units, item.vectors.flatten(1), strict=True):
        assert float(torch.nn.functional.cosine_similarity(mean, vector, dim=0)) > 0.9999


def test_real_pictures_for_the_discriminator(tmp_path: Path) -> None:
    pictures = torch.rand(10, *tiny.IMAGE_SHAPE) * 2 - 1
    with_real = learned(iterations=2).fit(sampler(), range(16), real=pictures)
    without = learned(iterations=2).fit(sampler(), range(16))
    assert with_real.history_[0]["discriminator"] != without.history_[0]["discriminator"]
    with pytest.raises(HspaceError, match=r"real pictures must be of shape \(m, \*\(3, 8, 8\)\), not \(2, 3, 9, 8\)"):
        learned().fit(sampler(), range(16), real=torch.zeros(2, 3, 9, 8))
    with pytest.raises(HspaceError, match=r"real pictures must be of shape .*, not \(0, 3, 8, 8\)"):
        learned().fit(sampler(), range(16), real=torch.zeros(0, *tiny.IMAGE_SHAPE))
    learned(iterations=1).fit(sampler(), range(16), real=pictures, folder=tmp_path)
    with pytest.raises(HspaceError, match=r"is of another training: its real \w+, here None"):
        learned(iterations=1).fit(sampler(), range(16), folder=tmp_path, resume=True)


def test_hidden_codes() -> None:
    found = learned().fit(sampler(), range(16))
    accuracies = found.hidden_codes(16, epochs=1)
    assert list(accuracies) == ["none", "jpeg", "blur", "noise"]
    assert all(0 <= value <= 1 for value in accuracies.values())
    with pytest.raises(HspaceError, match=r"degraded by one of none, jpeg, blur, noise, not 'fog'"):
        found.hidden_codes(16, epochs=1, ways=("fog",))


def test_asymmetric_and_noisy_grids() -> None:
    on = hspace.Sampler(tiny.denoiser(dtype=torch.float32), 3, 1.0, batch_size=3)
    found = learned(iterations=2, injection="asymmetric").fit(on, range(12))
    assert found.directions_.setting.injection == "asymmetric"
    assert found.iteration_ == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "spiral"}, r"kind must be one of global, block, not 'spiral'"),
        ({"parametrisation": "free"}, r"parametrisation must be one of ortho, linear, fixed, not 'free'"),
        ({"reconstructor": "vgg"}, r"reconstructor must be one of resnet18, lenet, not 'vgg'"),
        ({"n_directions": 1}, r"at least 2 directions are learned together, not 1"),
        ({"n_directions": 9}, r"9 directions don't fit into a span of 8"),
        ({"span": 0}, r"span must be at least 1, not 0"),
        ({"span": 16}, r"a span of 16 components needs more samples than that, not 16"),
        ({"iterations": 0}, r"iterations must be at least 1, not 0"),
        ({"batch_size": 0}, r"batch_size must be at least 1, not 0"),
        ({"max_strength": 0.1}, r"strengths must be 0 <= min <= max, not 0.5 and 0.1"),
        ({"noise": -1.0}, r"noise must not be negative, but is -1.0"),
        ({"shift_rate": 0.0}, r"shift_rate must be positive, not 0.0"),
        ({"ema": 1.0}, r"ema must be in \[0, 1\), not 1.0"),
        ({"replay_size": 4}, r"replay_size must be at least the batch of 8, not 4"),
        ({"patience": 0}, r"patience must be at least 1, not 0"),
        ({"checked": 2}, r"checked must be at least 3, a sample of each direction, not 2"),
        ({"merge_above": 0.0}, r"merge_above must be in \(0, 1\], not 0.0"),
    ],
)
def test_parameters_out_of_range(options: dict[str, Any], message: str) -> None:
    """And no sample is drawn before that is found out."""
    drawn: list[int] = []
    with tiny.unchecked_types(), pytest.raises(HspaceError, match=message):
        hspace.Learned(**{"n_directions": 3, **QUICK, **options}).fit(
            sampler(), range(16), progress=lambda done, _: drawn.append(done)
        )
    assert not any(drawn)


class FlatNetwork(torch.nn.Module):
    """Its h is a vector of 12 numbers."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.down, self.inner, self.up = (torch.nn.Linear(*n) for n in ((numbers + 1, 12), (12, 12), (12, numbers)))

    def forward(self, x_t: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        time = timesteps.to(x_t)[:, None] / 100
        h = self.inner(self.down(torch.cat([x_t.flatten(1), time], 1)).sin())
        return 0.5 * x_t + self.up(h.sin()).reshape(x_t.shape)


def flat_denoiser() -> hspace.Denoiser:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = FlatNetwork(3 * 8 * 8)
    alphas = tiny.scheduler().alphas_cumprod
    return hspace.Denoiser(network, alphas, image_shape=tiny.IMAGE_SHAPE, tap="inner", model_id="flat")


def test_h_that_is_a_vector() -> None:
    on = hspace.Sampler(flat_denoiser(), 3, 0.0)
    found = learned(iterations=2).fit(on, range(16))
    assert found.directions_[0].vectors.shape == (3, 12)
    drawn: list[int] = []
    for options, message in (
        ({"kind": "block"}, r"a block needs h of shape \(c, y, x\) or \(tokens, d\), not \(12,\): learn global ones"),
        ({"span": 13}, r"h has 12 numbers, too few for a span of 13 components"),
        ({"span": None, "n_directions": 13, "checked": 13}, r"13 directions don't fit into a span of 12"),
    ):
        with pytest.raises(HspaceError, match=message):
            hspace.Learned(**{"n_directions": 3, **QUICK, **options}).fit(
                on, range(16), progress=lambda done, _: drawn.append(done)
            )
    assert not any(drawn)


@pytest.mark.parametrize("kind", ["global", "block"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_grey_pictures_that_are_no_squares(kind: Any, dtype: torch.dtype) -> None:
    on = hspace.Sampler(tiny.plain_denoiser(image_shape=(1, 4, 32), dtype=dtype), 2, 0.0)
    found = learned(2, kind=kind, iterations=2).fit(on, range(16))
    assert all(bool(item.vectors.isfinite().all()) for item in found.directions_)
    assert 0 <= found.hidden_codes(8, epochs=1, ways=("jpeg", "blur"))["blur"] <= 1


def test_folders_are_not_mixed_up(tmp_path: Path) -> None:
    with pytest.raises(HspaceError, match=r"nothing to resume: there is no state.safetensors in "):
        learned().fit(sampler(), range(16), folder=tmp_path, resume=True)
    learned(iterations=1).fit(sampler(), range(16), folder=tmp_path)
    with pytest.raises(HspaceError, match=r"holds a training already: resume it, or choose another folder"):
        learned().fit(sampler(), range(16), folder=tmp_path)
    with pytest.raises(HspaceError, match=r"is of another training: its max_strength 6.0, here 3.0"):
        learned(max_strength=3.0).fit(sampler(), range(16), folder=tmp_path, resume=True)
    with pytest.raises(
        HspaceError, match=r"has other samples \(seeds, model, tap, grid or span\) than those asked for"
    ):
        learned().fit(sampler(), range(17), folder=tmp_path, resume=True)
    whole = (tmp_path / "state.safetensors").read_bytes()
    (tmp_path / "state.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(HspaceError, match=r"state.safetensors: no readable safetensors file, truncated perhaps"):
        learned().fit(sampler(), range(16), folder=tmp_path, resume=True)
