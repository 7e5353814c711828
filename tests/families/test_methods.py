"""What holds for every conditional model: the contracts of the sampler, and every method of the package."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.families.families import FAMILIES, GUIDED, STEPS, Family
from torch import Tensor

import hspace
from hspace.diffusion import Inversion, Prefixes
from hspace.diffusion.identity import about_run
from hspace.directions import Directions, Edit, Recipe

every_family = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())
every_guided = pytest.mark.parametrize("family", GUIDED.values(), ids=GUIDED.keys())
costly = pytest.mark.parametrize("name", ["stable diffusion, v", "dit", "learned variance"])
INJECTIONS = ("symmetric", "asymmetric")


def direction(sampler: hspace.Sampler, length: float = 4.0) -> hspace.Direction:
    return hspace.random_directions(sampler.setting(), [length] * len(sampler.timesteps))[0]


def colour(images: Tensor) -> dict[str, Tensor]:
    return {"red": images[:, 0].mean((1, 2)), "green": images[:, 1].mean((1, 2))}


@cache
def found(name: str) -> tuple[hspace.Sampler, Directions]:
    """Two components of a family, and the sampler they were found with."""
    sampler = FAMILIES[name].sampler()
    return sampler, hspace.PCA(2).fit(sampler, range(6)).directions_


@every_family
@pytest.mark.parametrize("injection", INJECTIONS)
def test_strength_0_is_the_original_and_others_are_not(family: Family, injection: Any) -> None:
    sampler = family.sampler(eta=1.0)
    plain = sampler.run(range(2))
    edits = [Edit.of(direction(sampler), strength, injection=injection) for strength in (0.0, 2.0)]
    unmoved, moved = (sampler.run(range(2), edit) for edit in edits)
    assert torch.equal(plain, unmoved)
    assert (moved - plain).abs().max() > 1e-3
    assert moved.isfinite().all()


@every_family
def test_a_batch_is_the_same_as_one_by_one(family: Family) -> None:
    sampler = family.sampler(eta=1.0)
    edit = direction(sampler)
    together = sampler.run(range(3), edit)
    torch.testing.assert_close(torch.cat([sampler.run([seed], edit) for seed in range(3)]), together, rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_components_are_saved_loaded_and_applied_under_another_condition(name: str, tmp_path: Path) -> None:
    sampler, pcs = found(name)
    pcs.save(tmp_path / "pcs.safetensors")
    again = Directions.load(tmp_path / "pcs.safetensors")
    assert again.setting.condition == sampler.model.condition
    assert torch.equal(sampler.run([7], 3.0 * again["pc1"]), sampler.run([7], 3.0 * pcs["pc1"]))
    other = hspace.Sampler.on(sampler.model.conditioned(**FAMILIES[name].instead), again.setting)
    plain, moved = other.run([7]), other.run([7], 3.0 * again["pc1"])
    assert not torch.equal(plain, sampler.run([7]))
    assert (moved - plain).abs().max() > 1e-3


@pytest.mark.parametrize("name", FAMILIES)
def test_jacobian_directions(name: str) -> None:
    sampler, _ = found(name)
    jacobian = hspace.Jacobian(1, timesteps=[sampler.timesteps[1]], unit_seeds=range(3)).fit(sampler, [0])
    assert jacobian.route_ == "double_vjp"
    assert float(jacobian.residuals_.max()) < 1e-2
    strong = sampler.run([0], 3.0 * jacobian.directions_[0])
    assert (strong - sampler.run([0])).abs().max() > 1e-4


@costly
def test_supervised_directions(name: str) -> None:
    sampler, _ = found(name)
    photos = sampler.run(range(4)).float().clamp(-1, 1)
    labelled = hspace.Labelled(unit_seeds=range(3), folds=2).fit(sampler, photos, {"odd": [0, 1, 0, 1]})
    annotated = hspace.Annotated(["red"], n_extremes=2, unit_seeds=range(3), folds=2).fit(sampler, colour, range(8))
    for estimator in (labelled, annotated):
        (one,) = estimator.directions_
        assert one.setting.condition == sampler.model.condition
        assert (sampler.run([9], 3.0 * one) - sampler.run([9])).abs().max() > 1e-4


@costly
def test_learned_directions(name: str) -> None:
    sampler, _ = found(name)
    options: dict[str, Any] = {"span": 3, "iterations": 2, "batch_size": 4, "checked": 4, "reconstructor": "lenet"}
    options |= {"replay_size": 8, "noise": 0.0}
    learned = hspace.Learned(2, **options).fit(sampler, range(6))
    assert all(item.vectors.isfinite().all() for item in learned.directions_)
    assert learned.directions_.setting.condition == sampler.model.condition


@every_family
def test_pictures_are_inverted_under_the_condition(family: Family, tmp_path: Path) -> None:
    """With eta 1 exactly, but for what an autoencoder loses; the file remembers the condition."""
    sampler = family.sampler(eta=1.0)
    pictures = sampler.run(range(2)).clamp(-1, 1)
    inversion = sampler.invert(pictures)
    model = sampler.model
    best = model.to_pictures(model.from_pictures(pictures))
    torch.testing.assert_close(sampler.run(inversion), best, rtol=0, atol=1e-4)
    inversion.save(tmp_path / "photo.safetensors")
    assert Inversion.load(tmp_path / "photo.safetensors").setting.condition == model.condition
    moved = sampler.run(inversion, direction(sampler))
    assert (moved - sampler.run(inversion)).abs().max() > 1e-3


@every_family
def test_a_recipe_is_drawn_under_its_own_condition(family: Family, tmp_path: Path) -> None:
    sampler = family.sampler()
    Directions([direction(sampler)]).save(tmp_path / "one.safetensors")
    one = Directions.load(tmp_path / "one.safetensors")[0]
    Edit.of(one, 2.0).save(tmp_path / "r.json", sampler, [3, 5], files=[tmp_path / "one.safetensors"])
    recipe = Recipe.load(tmp_path / "r.json")
    assert recipe.setting.condition == sampler.model.condition
    for elsewhere in (family.load(**family.instead), hspace.load(family.build(), "cpu")):
        assert torch.equal(recipe.run(elsewhere), sampler.run([3, 5], Edit.of(one, 2.0)))


@every_family
def test_runs_under_other_conditions_share_nothing(family: Family) -> None:
    sampler, prefixes = family.sampler(), Prefixes()
    other = hspace.Sampler.on(sampler.model.conditioned(**family.instead), sampler.setting())
    late = direction(sampler).during(sampler.timesteps[-1], 0)
    for each in (sampler, other, sampler):
        assert torch.equal(each.run([0], late, prefixes=prefixes), each.run([0], late))
    assert len(prefixes) == 2
    assert about_run(sampler, [0]) != about_run(other, [0])


@every_guided
def test_directions_of_several_conditions_keep_theirs_in_one_file(family: Family, tmp_path: Path) -> None:
    model = family.load()
    several = [
        model,
        model.conditioned(**family.instead),
        hspace.load(family.build(), "cpu", label=family.asked.get("label")),
    ]
    items = [direction(hspace.Sampler(each, STEPS, 0.0)).renamed(str(i)) for i, each in enumerate(several)]
    Directions(items).save(tmp_path / "several.safetensors")
    again = Directions.load(tmp_path / "several.safetensors")
    assert [item.setting.condition for item in again] == [each.condition for each in several]
