"""A whole contest on a tiny network whose pictures have known factors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests import tiny
from torch import Tensor

import hspace
from hspace.benchmark import METHODS, Meter, Task, portraits, run, table
from hspace.directions import Direction, Directions
from hspace.errors import HspaceError
from hspace.evaluation import evaluate
from hspace.faces import FACTORS, sample_factors

pytestmark = pytest.mark.filterwarnings("ignore:.*Jacobians did not converge")


def judge(images: Tensor) -> dict[str, Tensor]:
    return {"bright": images.mean((1, 2, 3)), "red": images[:, 0].mean((1, 2))}


def pictures(n: int) -> tuple[Tensor, dict[str, NDArray[np.float64]]]:
    images = torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(n)).clamp(-1, 1)
    return images, {name: values.double().numpy() for name, values in judge(images).items()}


def task(calls: int = 90, **options: object) -> Task:
    sampler = hspace.Sampler(tiny.denoiser(dtype=torch.float32), 3, 0.0)
    return Task(sampler, judge, pictures, ("bright", "red"), calls=calls, k=2, unit_samples=4, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def contest(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    folder = tmp_path_factory.mktemp("contest")
    return folder, run(task(), folder, range(100, 104))


def test_every_method_takes_part(contest: tuple[Path, dict[str, object]]) -> None:
    _, found = contest
    rows: list[dict[str, object]] = found["rows"]  # type: ignore[assignment]
    of_h = [name for name, method in METHODS.items() if method.space == "h"]
    assert len(rows) == 2 * len(of_h) + (len(METHODS) - len(of_h))
    assert {row["method"] for row in rows} == set(METHODS)
    for row in rows:
        assert row["directions"] == 2
        assert (row["on_target"] is not None) == METHODS[str(row["method"])].aimed
        assert set(row["recovered"]) >= set(row["pure"])  # type: ignore[call-overload]
    assert len(table(found).splitlines()) == len(rows) + 2


def test_a_row_is_its_evaluation(contest: tuple[Path, dict[str, object]]) -> None:
    """Of directions opened from the folder, with the injection put into them by hand."""
    folder, found = contest
    rows: list[dict[str, object]] = found["rows"]  # type: ignore[assignment]
    row = next(row for row in rows if (row["method"], row["injection"]) == ("labelled", "asymmetric"))
    sampler = task().sampler
    loaded = Directions.load(folder / "labelled.safetensors")
    same = Directions([Direction(item.vectors, sampler.setting("asymmetric"), item.name) for item in loaded])
    unit = json.loads((folder / "unit.json").read_text())
    alone = evaluate(sampler, same, judge, range(100, 104), strengths=(-3, 3), unit=unit)
    assert row["effect"] == pytest.approx(np.mean([abs(score.effect) for score in alone.scores]), rel=1e-4)
    assert row["damage"] == pytest.approx(np.mean(list(alone.damage.values())), rel=1e-4)


def test_what_is_done_is_not_done_again(contest: tuple[Path, dict[str, object]]) -> None:
    folder, found = contest
    said: list[str] = []
    assert run(task(), folder, range(100, 104), say=said.append) == found
    assert not said
    (measured,) = folder.glob("pca-????????-asymmetric.json")
    measured.unlink()
    assert run(task(), folder, range(100, 104), say=said.append)["rows"] is not None
    assert said == ["pca: measuring, asymmetric"]


def test_what_is_found_again_is_measured_again(tmp_path: Path) -> None:
    said: list[str] = []
    run(task(seed=1), tmp_path, range(100, 102), methods=["random-noise"], say=said.append)
    other = hspace.random_directions(task().sampler.setting(space="noise"), [1.0], n=2, seed=9)
    other.save(tmp_path / "random-noise.safetensors")
    run(task(seed=1), tmp_path, range(100, 102), methods=["random-noise"], say=said.append)
    assert said == ["random-noise: finding directions", *["random-noise: measuring, symmetric"] * 2]


def test_what_starts_from_another_finds_that_first(tmp_path: Path) -> None:
    said: list[str] = []
    run(task(), tmp_path, range(100, 102), methods=["random"], say=said.append)
    assert said[:2] == ["pca: finding directions", "random: finding directions"]
    directions = hspace.PCA(2).fit(task().sampler, range(30)).directions_
    drawn = Directions.load(tmp_path / "random.safetensors")
    for one, other in zip(drawn, directions, strict=True):
        torch.testing.assert_close(one.norms(), other.norms(), rtol=1e-4, atol=0)


def test_directions_made_elsewhere(tmp_path: Path) -> None:
    contest = task()
    mine = hspace.random_directions(contest.sampler.setting(), [1.0] * 3, n=3)
    said: list[str] = []
    found = run(contest, tmp_path, range(100, 102), methods=[], also={"mine": mine}, say=said.append)
    assert [(row["method"], row["injection"], row["calls"]) for row in found["rows"]] == [
        ("mine", "symmetric", None),
        ("mine", "asymmetric", None),
    ]
    run(contest, tmp_path, range(100, 102), methods=[], also={"mine": mine * 2.0}, say=said.append)
    assert len(said) == 4  # others of that name are measured anew
    with pytest.raises(HspaceError, match=r"'pca' can't be a name: it is a method"):
        run(contest, tmp_path, range(100, 102), methods=[], also={"pca": mine})
    with pytest.raises(HspaceError, match=r"'a/b' can't be a name"):
        run(contest, tmp_path, range(100, 102), methods=[], also={"a/b": mine})


def test_refusals(contest: tuple[Path, dict[str, object]], tmp_path: Path) -> None:
    folder, _ = contest
    with pytest.raises(HspaceError, match=r"no method 'gan'; there are pca, "):
        run(task(), tmp_path, range(2), methods=["gan"])
    with pytest.raises(HspaceError, match=r"holds another benchmark: its calls is 90, here 91"):
        run(task(91), folder, range(100, 104))
    with pytest.raises(HspaceError, match=r"its seeds is \[\[100, 104\]\], here \[\[100, 103\], \[104, 105\]\]"):
        run(task(), folder, [100, 101, 102, 104])
    with pytest.raises(HspaceError, match=r"40 calls are too few for 2 directions on a grid of 3 steps: take 48"):
        task(40)
    broken = tmp_path / "broken"
    run(task(), broken, range(100, 102), methods=["pca"])
    (broken / "pca.json").write_text('{"words":')
    with pytest.raises(HspaceError, match=r"pca.json can't be read .*: remove it to have it made again"):
        run(task(), broken, range(100, 102), methods=["pca"])


def test_methods_spend_about_the_same(contest: tuple[Path, dict[str, object]]) -> None:
    """PCA all of it and some arithmetic of its own, which weighs little beside a larger network."""
    _, found = contest
    rows: list[dict[str, object]] = found["rows"]  # type: ignore[assignment]
    calls = {str(row["method"]): int(str(row["calls"])) for row in rows}
    assert 90 <= calls["pca"] < 100
    assert 90 <= calls["pca-joint"] < 100
    assert calls["random"] == calls["random-span"] == 0
    for name in ("labelled", "annotated", "labelled-noise", "annotated-noise", "shuffled", "shuffled-noise"):
        assert calls[name] <= 95
    with Meter(task().sampler.model) as meter:
        hspace.Jacobian(1, timesteps=33, tol=1e-2, unit_seeds=range(2)).fit(task().sampler, [0])
    assert calls["jacobian-global"] <= 90 + 2 * meter.calls  # an estimate, out by what an image or two cost


def test_both_injections_are_measured(contest: tuple[Path, dict[str, object]]) -> None:
    _, found = contest
    rows: list[dict[str, object]] = found["rows"]  # type: ignore[assignment]
    for name in ("pca", "labelled", "learned"):
        one, other = (row["effect"] for row in rows if row["method"] == name)
        assert one != pytest.approx(other, rel=1e-3)


def test_the_meter_counts_parts_of_the_network() -> None:
    """One pass is a call; two of the decoder with one of the encoder are less than two; a gradient is more."""
    sampler = hspace.Sampler(tiny.denoiser(dtype=torch.float32), 3, 0.0)
    direction = hspace.random_directions(sampler.setting("asymmetric"), [1.0] * 3)[0]
    with Meter(sampler.model) as meter:
        sampler.run(range(5))
    assert meter.calls == 15
    with Meter(sampler.model) as meter:
        sampler.run(range(5), direction)
    assert 15 < meter.calls < 30
    x_t = torch.randn(1, 3, 8, 8, requires_grad=True)
    with Meter(sampler.model) as meter:
        sampler.model.predict(x_t, 0).eps.sum().backward()
    assert 1.5 < meter.calls < 3.5


def test_portraits_have_their_factors() -> None:
    images, factors = portraits(3)
    assert images.shape == (3, 3, 64, 64)
    assert tuple(factors) == tuple(FACTORS)
    assert factors["age"][2] == sample_factors(3_000_002)["age"]
