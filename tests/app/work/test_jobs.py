"""Jobs do what the estimators do, tell how far they are, and come through JSON as they were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

import hspace
from hspace.app.work.bench import Bench, Opening
from hspace.app.work.jobs import (
    AttributeSearch,
    ComponentSearch,
    Job,
    LearnedSearch,
    PictureSearch,
    Projection,
    job_of,
    json_of,
)
from hspace.app.work.meter import Meter
from hspace.attributes import load_scorer
from hspace.directions import Directions
from hspace.errors import HspaceError

JOBS = (
    ComponentSearch(2, 12),
    PictureSearch(seed=3, timestep=500, components=2, part="nose", still=True),
    AttributeSearch("red", 24),
    LearnedSearch(2, 3, 20),
    Projection("some.safetensors", 4, True),
)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: type(job).__name__)
def test_jobs_and_openings_come_through_json(job: Job, opening: Opening) -> None:
    assert job_of(json.loads(json.dumps(json_of(job)))) == job
    assert Opening.from_json(json.loads(json.dumps(opening.to_json()))) == opening


def test_components_are_those_of_pca(bench: Bench) -> None:
    seen: list[tuple[int, int]] = []
    job = ComponentSearch(2, 12)
    found = job.run(bench, lambda done, total: seen.append((done, total))).directions
    expected = hspace.PCA(2, injection="asymmetric").fit(bench.sampler, range(12)).directions_
    assert found.setting == bench.opening.setting
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.vectors, other.vectors)
    assert seen[-1] == (72, 72)
    assert job.passes(6) == (72.0,)


@pytest.mark.parametrize(
    "job",
    [
        ComponentSearch(2, 12),
        PictureSearch(timestep=0, components=1),
        AttributeSearch("red", 24),
        LearnedSearch(2, 3, 20),
    ],
    ids=lambda job: type(job).__name__,
)
def test_every_job_fills_its_bar(job: PictureSearch | ComponentSearch, bench: Bench) -> None:
    if isinstance(job, PictureSearch):
        job = PictureSearch(timestep=bench.sampler.timesteps[2], components=1)
    meter = Meter(job.passes(6))
    found = job.run(bench, meter).directions
    assert meter.fraction == pytest.approx(1.0)
    for item in found:
        item.retimed(bench.opening.setting)  # fits the sliders of the app


def test_a_drawn_part_a_named_part_and_a_box(bench: Bench, tmp_path: Path) -> None:
    timestep = bench.sampler.timesteps[2]
    grey = Image.new("L", (8, 8))
    grey.paste(255, (2, 2, 5, 5))
    grey.save(tmp_path / "mask.png")
    common = {"seed": 1, "timestep": timestep, "components": 2}
    drawn = PictureSearch(**common, painted=str(tmp_path / "mask.png")).run(bench, False).directions
    box = PictureSearch(**common, part="2,2,5,5").run(bench, False).directions
    named = PictureSearch(**common, part="nose").run(bench, False).directions
    whole = PictureSearch(**common).run(bench, False).directions
    assert drawn.names == (f"part t{timestep}-0", f"part t{timestep}-1")
    for one, two, three in zip(drawn, box, named, strict=True):
        assert torch.equal(one.vectors, two.vectors)
        assert torch.equal(one.vectors, three.vectors)
    assert whole.names[0].startswith("picture ")
    assert not torch.equal(whole[0].vectors, drawn[0].vectors)
    assert str(tmp_path) not in json.dumps(drawn[0].origin)  # a visitor's folder is nobody's business


def test_a_photo_is_searched_at_its_own_states(bench: Bench, tmp_path: Path) -> None:
    sampler, timestep = bench.sampler, bench.sampler.timesteps[2]
    inversion = sampler.invert(sampler.run([5]).float(), names=["photo"])
    inversion.save(tmp_path / "photo.safetensors")
    found = PictureSearch(timestep=timestep, photo=str(tmp_path / "photo.safetensors")).run(bench, False).directions
    options = {"timesteps": timestep, "unit_seeds": range(32), "injection": "asymmetric"}
    expected = hspace.Jacobian(3, **options).fit(sampler, inversion).directions_  # type: ignore[arg-type]
    assert torch.equal(found[0].vectors, expected[0].vectors)


def test_an_attribute_is_that_of_the_scorer(bench: Bench) -> None:
    found = AttributeSearch("red", 24).run(bench, False).directions
    options = {"n_extremes": 5, "unit_seeds": range(32), "injection": "asymmetric", "sketch_size": 0}
    annotated = hspace.Annotated(["red"], **options)  # type: ignore[arg-type]
    expected = annotated.fit(bench.sampler, bench.scorer, range(24)).directions_
    assert torch.equal(found["red"].vectors, expected["red"].vectors)
    with pytest.raises(HspaceError, match=r"no attribute 'blue'"):
        AttributeSearch("blue", 24).run(bench, False)


def test_learned_directions_say_how_well_they_are_told_apart(bench: Bench) -> None:
    done = LearnedSearch(2, 3, 20).run(bench, False)
    assert 0 <= done.told["accuracy"] <= 1
    assert 1 <= len(done.directions) <= 2


def test_a_projection_is_clean_in_the_common_unit_and_tells_both_profiles(bench: Bench, directions: Path) -> None:
    done = Projection(str(directions), samples=4).run(bench, False)
    (clean,) = done.directions
    before, *others = Directions.load(directions)
    assert clean.name == "pc0 without pc1, pc2"
    expected = hspace.calibrate(before.without(*others), bench.sampler, range(32))[0]
    assert torch.equal(clean.vectors, expected.vectors)
    assert done.told["attributes"] == ["red", "green"]  # what does not vary has no unit
    unit = bench.sampler.run(range(32))[:, 0].mean((1, 2)).double().std()
    for row, direction in enumerate((before, clean)):
        ends = [bench.sampler.run(range(32, 36), s * direction)[:, 0].mean((1, 2)).double() for s in (-3.0, 3.0)]
        assert done.told["effects"][row][0] == pytest.approx(float((ends[1] - ends[0]).mean() / unit), rel=1e-4)
    json.dumps(done.told)


def test_without_a_scorer_a_projection_tells_cosines(opening: Opening, directions: Path) -> None:
    from dataclasses import replace

    done = Projection(str(directions), samples=4).run(Bench(replace(opening, scorer=None)), False)
    assert set(done.told) == {"without"}
    assert [report["name"] for report in done.told["without"]] == ["pc1", "pc2"]
    with pytest.raises(HspaceError, match=r"start the app with --scorer"):
        AttributeSearch("red", 24).run(Bench(replace(opening, scorer=None)), False)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ComponentSearch(0, 10), r"components go from 1 to 20, not 0"),
        (lambda: ComponentSearch(5, 5), r"samples go from 6 to 4000, not 5"),
        (lambda: ComponentSearch(5, 10**9), r"samples go from 6 to 4000"),
        (lambda: PictureSearch(components=7), r"components go from 1 to 6, not 7"),
        (lambda: PictureSearch(still=True), r"paint on it"),
        (lambda: AttributeSearch("red", 5000), r"samples go from 20 to 4000"),
        (lambda: AttributeSearch(""), r"choose an attribute first"),
        (lambda: LearnedSearch(1), r"directions go from 2 to 10"),
        (lambda: LearnedSearch(4, 10**6), r"iterations go from 1 to 2000"),
        (lambda: LearnedSearch(4, 10, 5), r"samples go from 9 to 1000"),
        (lambda: Projection("x", 1), r"samples go from 2 to 64"),
    ],
)
def test_numbers_are_bounded(make: object, message: str) -> None:
    with pytest.raises(HspaceError, match=message):
        make()  # type: ignore[operator]


def test_the_bench_opens_what_it_is_told_to(bench: Bench, opening: Opening) -> None:
    assert bench.sampler.schedule == opening.setting.schedule
    assert bench.sampler.batch_size > 1
    images = bench.sampler.run(range(2)).float()
    assert torch.equal(bench.scorer(images)["red"], load_scorer(str(opening.scorer))(images)["red"])
