from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.tiny import unchecked_types
from torch import Tensor

import hspace
from hspace.directions import Directions
from hspace.discovery import split
from hspace.errors import HspaceError
from hspace.photos import read_photos

N = 10
LABELS = [1, 0, 1, 1, 0, 0, 1, 0, 1, 0]
PICTURES = torch.rand(N, 3, 8, 8, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(params=[0.0, 1.0], ids=["ddim", "edit-friendly"])
def inverter(request: pytest.FixtureRequest, tiny: hspace.Denoiser) -> hspace.Sampler:
    return hspace.Sampler(tiny, steps=3, eta=request.param, batch_size=4)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = []
    for i, picture in enumerate(PICTURES):
        pixels = ((picture.permute(1, 2, 0) + 1) * 127.5).round().byte().numpy()
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def inverted_h(sampler: hspace.Sampler, images: Tensor) -> Tensor:
    """All h at once, (S, n, d), picture by picture."""
    columns = []
    for image in images:
        seen: dict[int, Tensor] = {}
        sampler.invert(image[None], refine=0, record=lambda t, h, _, seen=seen: seen.__setitem__(t, h.flatten(1)))
        columns.append(torch.stack([seen[t] for t in sampler.timesteps]))
    return torch.cat(columns, 1)


def fit(sampler: hspace.Sampler, photos: object, labels: object, **options: object) -> hspace.Labelled:
    return hspace.Labelled(unit_seeds=range(6), **options).fit(sampler, photos, labels)  # type: ignore[arg-type]


def test_the_direction_is_the_difference_of_the_class_means(tiny: hspace.Denoiser) -> None:
    sampler = hspace.Sampler(tiny, steps=3, eta=0.0, batch_size=4)
    h, yes = inverted_h(sampler, PICTURES), torch.tensor(LABELS) == 1
    expected = h[:, yes].mean(1) - h[:, ~yes].mean(1)
    found = fit(sampler, PICTURES, LABELS).directions_["label"]
    for mine, row in zip(found.vectors.flatten(1).double(), expected, strict=True):
        assert float(mine @ row / mine.norm() / row.norm()) > 1 - 1e-6


def test_its_length_is_the_unit_of_strength(inverter: hspace.Sampler) -> None:
    found = fit(inverter, PICTURES, LABELS).directions_
    again = hspace.calibrate(2.0 * found["label"], inverter, range(6))
    torch.testing.assert_close(again[0].vectors, found[0].vectors, rtol=1e-4, atol=1e-6)
    gap = found.measured["separation"][:, 0]
    assert bool((gap > 0).all())


def test_pictures_without_a_label_do_not_count(inverter: hspace.Sampler) -> None:
    some = fit(inverter, PICTURES[:8], LABELS[:8])
    rest = fit(inverter, PICTURES, [*LABELS[:8], float("nan"), float("nan")])
    assert torch.equal(some.directions_[0].vectors, rest.directions_[0].vectors)
    assert rest.counts_ == {"label": (4, 4)}


def test_attributes_share_one_inversion_of_every_picture(tiny: hspace.Denoiser) -> None:
    sampler = hspace.Sampler(tiny, steps=3, eta=0.0, batch_size=4)
    other = [float("nan"), *LABELS[:-1]]
    seen = 0
    handle = tiny.network.register_forward_pre_hook(lambda *_: add(1))

    def add(n: int) -> None:
        nonlocal seen
        seen += n

    with_both = fit(sampler, PICTURES, {"a": LABELS, "b": other})
    calls, seen = seen, 0
    alone = fit(sampler, PICTURES, {"b": other}).directions_["b"]
    handle.remove()
    assert calls == seen  # ten and nine pictures are three batches each
    torch.testing.assert_close(with_both.directions_["b"].vectors, alone.vectors, rtol=1e-5, atol=1e-7)


def test_files_are_the_pictures_in_them(inverter: hspace.Sampler, files: list[Path]) -> None:
    found = fit(inverter, files, LABELS).directions_["label"]
    expected = fit(inverter, read_photos(files, (3, 8, 8)), LABELS).directions_["label"]
    assert torch.equal(found.vectors, expected.vectors)


def test_a_direction_of_noise_is_the_difference_of_x_T(inverter: hspace.Sampler) -> None:
    found = fit(inverter, PICTURES, LABELS, space="noise").directions_["label"]
    start, yes = inverter.invert(PICTURES, refine=0).start, torch.tensor(LABELS) == 1
    expected = (start[yes].mean(0) - start[~yes].mean(0)).float()
    torch.testing.assert_close(found.vectors[0], expected / expected.norm(), rtol=1e-4, atol=1e-5)
    assert found.setting.space == "noise"
    moved = inverter.run([0], edit=2.0 * found)
    assert not torch.equal(moved, inverter.run([0]))


@pytest.mark.parametrize("classifier", ["mean", "svm", "logistic"])
def test_accuracies_of_all_classifiers_are_reported(inverter: hspace.Sampler, classifier: str) -> None:
    labelled = fit(inverter, PICTURES, {"a": LABELS}, classifier=classifier)
    assert set(labelled.accuracy_["a"]) == {"mean", "svm", "logistic"}
    used = torch.from_numpy(labelled.accuracy_["a"][classifier]).float()  # type: ignore[index]
    assert torch.equal(labelled.directions_.measured["accuracy"][:, 0], used)
    assert labelled.directions_["a"].origin["parameters"]["classifier"] == classifier


def test_a_single_picture_of_a_class_is_enough_for_a_direction(inverter: hspace.Sampler) -> None:
    labelled = fit(inverter, PICTURES, [1] + [0] * 9)
    assert labelled.accuracy_ == {"label": {}}
    assert "accuracy" not in labelled.directions_.measured


def test_what_is_found_opens_again(inverter: hspace.Sampler, tmp_path: Path) -> None:
    found = fit(inverter, PICTURES, {"a": LABELS}).directions_
    found.save(tmp_path / "a.safetensors")
    again = Directions.load(tmp_path / "a.safetensors")
    assert torch.equal(again["a"].vectors, found["a"].vectors)
    assert again["a"].origin == found["a"].origin
    assert again["a"].origin["positives"] == 5


def test_unreadable_files_are_refused_or_skipped(inverter: hspace.Sampler, files: list[Path]) -> None:
    broken = files[3]
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(HspaceError, match=r"3\.png: no readable picture"):
        fit(inverter, files, LABELS)
    labelled = fit(inverter, files, LABELS, unreadable="skip")
    assert list(labelled.skipped_) == [str(broken)]
    assert labelled.counts_ == {"label": (4, 5)}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1] * N, "no picture without 'label'"),
        ([0] * N, "no picture with 'label'"),
        ([1, 0], "expected a label for each of 10 pictures, found 2"),
        (list(range(N)), r"labels are 1 and 0 or -1, found 0, 1, 2, 3, \.\.\.: give a threshold or a quantile"),
        ({}, "no labels"),
        (["yes"] * N, "labels are true or false, 1 and 0 or -1, not"),
    ],
)
def test_labels_that_do_not_do(tiny: hspace.Denoiser, labels: object, message: str) -> None:
    with unchecked_types(), pytest.raises(HspaceError, match=message):
        fit(hspace.Sampler(tiny, steps=2, eta=0.0), PICTURES, labels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classifier": "forest"}, "classifier must be one of mean, svm, logistic"),
        ({"space": "w"}, "space must be one of h, noise"),
        ({"C": 0.0}, "C must be positive"),
        ({"folds": 1}, "folds must be at least 2"),
        ({"sketch_size": 0, "classifier": "svm"}, "sketch_size 0 is too small"),
        ({"unreadable": "ignore"}, "unreadable must be one of refuse, skip"),
    ],
)
def test_parameters_out_of_range(
    tiny: hspace.Denoiser, files: list[Path], options: dict[str, object], message: str
) -> None:
    with unchecked_types(), pytest.raises(HspaceError, match=message):
        fit(hspace.Sampler(tiny, steps=2, eta=0.0), files, LABELS, **options)


def test_no_pictures(tiny: hspace.Denoiser) -> None:
    with pytest.raises(HspaceError, match="no pictures: at least 1 with and 1 without"):
        fit(hspace.Sampler(tiny, steps=2, eta=0.0), [], [])


def test_the_same_pictures_in_both_classes(tiny: hspace.Denoiser) -> None:
    with pytest.raises(HspaceError, match="nothing tells the classes of 'label' apart"):
        fit(hspace.Sampler(tiny, steps=2, eta=0.0), PICTURES[[0, 1, 2, 0, 1, 2]], [0, 0, 0, 1, 1, 1])


def test_numbers_become_labels() -> None:
    values = [0.5, 2.0, float("nan"), 1.0, 3.0]
    assert split(values, threshold=1.0).tolist()[:2] == [0.0, 1.0]
    assert np.isnan(split(values, threshold=1.0)[2])
    np.testing.assert_array_equal(split(values, quantile=0.25), [0, np.nan, np.nan, np.nan, 1])
    np.testing.assert_array_equal(split(values, quantile=0.5), [0, 1, np.nan, 0, 1])
    assert np.isnan(split(range(7), quantile=0.5)).sum() == 1


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([1, 2], {}, "give one of the two"),
        ([1, 2], {"threshold": 1.0, "quantile": 0.5}, "give one of the two"),
        ([2, 2], {"threshold": 1.0}, "all of them are 2"),
        ([float("nan")], {"quantile": 0.1}, "there are none"),
        ([1, 2], {"quantile": 0.6}, r"above 0 and at most 0\.5, not 0\.6"),
        ([1, 1, 1, 2], {"quantile": 0.5}, "overlap: both reach 1"),
    ],
)
def test_numbers_that_do_not_fall_into_classes(values: list[float], options: dict[str, float], message: str) -> None:
    with pytest.raises(HspaceError, match=message):
        split(values, **options)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_batch_that_ran_out_of_memory_counts_once(tiny: hspace.Denoiser, eta: float) -> None:
    calls: list[int] = []

    def refuse(_: object, args: tuple[Tensor, ...]) -> None:
        calls.append(len(args[0]))
        if len(args[0]) > 3:
            raise torch.cuda.OutOfMemoryError

    handle = tiny.network.register_forward_pre_hook(refuse)
    try:
        shrunk = fit(hspace.Sampler(tiny, steps=3, eta=eta, max_batch_size=4), PICTURES, LABELS)
    finally:
        handle.remove()
    assert calls[:2] == [4, 2]
    whole = fit(hspace.Sampler(tiny, steps=3, eta=eta, batch_size=5), PICTURES, LABELS)
    torch.testing.assert_close(shrunk.directions_[0].vectors, whole.directions_[0].vectors, rtol=1e-4, atol=1e-6)
