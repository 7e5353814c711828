"""The whole evaluation on a tiny network, against its parts."""

from __future__ import annotations

import json

import pytest
import torch
from tests import tiny
from torch import Tensor

import hspace
from hspace.directions import Directions
from hspace.errors import HspaceError
from hspace.evaluation import (
    Evaluation,
    Response,
    Verdict,
    content,
    effects,
    evaluate,
    frechet_distance,
    named,
    respond,
    scores,
)
from hspace.evaluation.controls import p_values


def judge(images: Tensor) -> dict[str, Tensor]:
    return {"bright": images.mean((1, 2, 3)), "red": images[:, 0].mean((1, 2))}


def made() -> tuple[hspace.Sampler, Directions]:
    sampler = hspace.Sampler(tiny.denoiser(dtype=torch.float32), 2, 0.0, batch_size=7)
    return sampler, hspace.random_directions(sampler.setting(), norms=[2.0, 1.0], n=2)


def test_against_its_parts() -> None:
    sampler, directions = made()
    controls = hspace.random_directions(sampler.setting(), norms=[2.0, 1.0], n=40, seed=5)
    found = evaluate(sampler, directions, judge, range(4), controls=controls)
    mean, error = found.matrix()
    alone = effects(sampler, directions, judge, range(4), strength=3.0)
    torch.testing.assert_close(mean * found.response.unit, alone.change, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(error * found.response.unit, alone.error, rtol=1e-3, atol=1e-6)
    plain = sampler.run(range(4))
    ends = [content(plain, sampler.run(range(4), end * directions[0])) for end in (-3.0, 3.0)]
    first = found.content[directions.names[0]]
    assert first["pixel"] == pytest.approx((ends[0]["pixel"] + ends[1]["pixel"]) / 2, rel=1e-3)
    assert first["ssim"] == pytest.approx((ends[0]["ssim"] + ends[1]["ssim"]) / 2, rel=1e-3)
    table = found.response.scores / found.response.unit
    moved = [(table[0, end] - table[0, 2]).square().mean(1).sqrt().mean() for end in (0, -1)]
    assert first["scorer"] == pytest.approx(float(sum(moved) / 2))
    assert [verdict.direction for verdict in found.verdicts] == list(directions.names)
    assert all(verdict.controls == 20 for verdict in found.verdicts)
    assert all(value >= 0 for value in found.damage.values())
    data = json.loads(json.dumps(found.to_json()))
    assert data["directions"][1]["controls"]["gaussian"]["words"] == found.verdicts[1].words
    assert data["directions"][1]["real"] == found.verdicts[1].real
    assert data["directions"][0]["effects"]["red"] == pytest.approx(float(mean[0, 1]))


def test_the_unit_of_more_samples() -> None:
    """A few samples are no population: with others effects are in another unit, and nothing else changes."""
    sampler, directions = made()
    few = evaluate(sampler, directions, judge, range(4))
    many = evaluate(sampler, directions, judge, range(4), unit_seeds=range(4, 40))
    expected = (
        torch.stack([judge(sampler.run(range(4, 40)).float())[name] for name in ("bright", "red")]).double().std(1)
    )
    torch.testing.assert_close(many.response.unit, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(few.matrix()[0] * few.response.unit, many.matrix()[0] * expected, rtol=1e-4, atol=1e-6)


def test_from_the_unedited_sample_on() -> None:
    """Strengths of one sign: effects, contents and damage are of that end alone, the controls too."""
    sampler, directions = made()
    controls = hspace.random_directions(sampler.setting(), norms=[2.0, 1.0], n=40, seed=5)
    found = evaluate(sampler, directions, judge, range(4), strengths=(1, 3), controls=controls)
    assert found.response.strengths == (0.0, 1.0, 3.0)
    plain, edited = sampler.run(range(4)).float(), sampler.run(range(4), 3.0 * directions[1]).float()
    expected = (judge(edited)["red"] - judge(plain)["red"]).double() / found.response.unit[1]
    assert float(found.matrix()[0][1, 1]) == pytest.approx(float(expected.mean()), rel=1e-3)
    assert found.content[directions.names[1]]["pixel"] == pytest.approx(content(plain, edited)["pixel"], rel=1e-3)
    table = found.response.scores / found.response.unit
    assert found.damage[directions.names[0]] == pytest.approx(frechet_distance(table[0, 2], table[0, 0]))
    by_chance = respond(sampler, controls, judge, range(4), strengths=(0, 3)).change().mean(1).reshape(2, 20, 2)
    p = p_values(found.matrix()[0], by_chance).min(1).values
    assert [verdict.p for verdict in found.verdicts] == pytest.approx(p.tolist())


def test_repeats_are_groups_of_seeds() -> None:
    sampler, directions = made()
    unit = {"bright": 0.5, "red": 0.25}
    found = evaluate(sampler, directions, judge, range(6), repeats=3, unit=unit)
    for r in range(3):
        part = evaluate(sampler, directions, judge, range(2 * r, 2 * r + 2), unit=unit)
        torch.testing.assert_close(found.by_repeat()[r], part.matrix()[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.by_repeat().mean(0), found.matrix()[0])
    rows = found.to_json()["directions"]
    assert rows[1]["repeats"][2]["red"] == pytest.approx(float(found.by_repeat()[2, 1, 1]))
    assert "repeats" not in part.to_json()["directions"][0]
    with pytest.raises(HspaceError, match=r"6 seeds can't be split into 4 repeats"):
        evaluate(sampler, directions, judge, range(6), repeats=4)


def test_distances_of_ones_own_and_of_the_scorer() -> None:
    sampler, directions = made()

    class Judge:
        def __call__(self, images: Tensor) -> dict[str, Tensor]:
            return judge(images)

        def features(self, images: Tensor) -> Tensor:
            return images.flatten(1)

    found = evaluate(
        *(sampler, directions, Judge(), range(3)),
        strengths=(0, 2),
        distances={"top": lambda a, b: (a - b)[:, 0, 0, 0].abs()},
    )
    plain, edited = (sampler.run(range(3), edit).float() for edit in (None, 2.0 * directions[0]))
    left = found.content[directions.names[0]]
    assert list(left) == ["pixel", "ssim", "features", "top", "scorer"]
    assert left["top"] == pytest.approx(float((plain - edited)[:, 0, 0, 0].abs().mean()), rel=1e-3)
    cosine = torch.nn.functional.cosine_similarity(plain.flatten(1), edited.flatten(1))
    assert left["features"] == pytest.approx(float(1 - cosine.mean()), rel=1e-2)


def toy(effects: list[list[float]], verdicts: tuple[bool, ...] = ()) -> Evaluation:
    ends = torch.tensor(effects).double()
    table = torch.stack([-ends / 2, 0 * ends, ends / 2], 1)[:, :, None].expand(-1, -1, 2, -1)
    names = tuple("abcd"[: len(effects)])
    response = Response(names, ("x", "y", "z"), (-1.0, 0.0, 1.0), table, torch.ones(3).double())
    told = [Verdict(names[i], "x", 0.01, 0.01, 20, "gaussian", real, real, "") for i, real in enumerate(verdicts)]
    return Evaluation(response, scores(response), verdicts=told)


def test_names_and_ranking() -> None:
    found = toy([[2.0, 1.0, 0.0], [0.5, -4.0, 0.0], [3.0, 0.0, 0.1], [0.1, 0.0, 0.2]], (True, True, False, True))
    assert found.names() == {"a": "x", "b": "y", "c": "unnamed", "d": "unnamed"}
    assert found.ranking() == ["b", "a", "d", "c"]
    assert toy([[2.0, 1.0, 0.0]]).real("a") is None
    assert toy([[2.0, 1.0, 0.0]]).names(least=2.5) == {"a": "unnamed"}
    row = found.to_json()["directions"][2]
    assert (row["name"], row["rank"], row["real"]) == ("unnamed", 4, False)


def test_a_name_has_to_be_earned() -> None:
    """By the attribute itself, beyond its error, and upwards where it was meant."""
    plain = toy([[2.0, 1.0, 0.0], [-3.0, 0.0, 0.0]])
    assert plain.names() == {"a": "x", "b": "x"}
    meant = Evaluation(plain.response, plain.scores, meant={"a": "x", "b": "x"})
    assert meant.names() == {"a": "x", "b": "unnamed"}
    of_another = Verdict("a", "y", 0.01, 0.01, 20, "gaussian", True, False, "")
    assert Evaluation(plain.response, plain.scores, verdicts=[of_another]).names()["a"] == "unnamed"
    change = torch.tensor([4.0, -0.5, 4.0, -0.5]).double()
    table = torch.stack([-change / 2, 0 * change, change / 2])[None, :, :, None]
    response = Response(("a",), ("x",), (-1.0, 0.0, 1.0), table, torch.ones(1).double())
    assert Evaluation(response, scores(response)).names() == {"a": "unnamed"}  # 1.75 with an error of 1.3


def test_the_lower_end_is_remembered() -> None:
    sampler, directions = made()
    one_sided = evaluate(sampler, directions, judge, range(3), strengths=(0, 3)).effects()
    assert (one_sided.strength, one_sided.low) == (3.0, 0.0)
    moves = named(directions, one_sided, least=0.0)[0].origin["moves"]
    assert (moves["strength"], moves["from"]) == (3.0, 0.0)
    both = evaluate(sampler, directions, judge, range(3), strengths=(-3, 3)).effects()
    assert "from" not in named(directions, both, least=0.0)[0].origin["moves"]
    kept = named(directions, both, least=0.0, only=[directions.names[1]])
    assert kept.names[0] == directions.names[0]
    assert kept.names[1] != directions.names[1]


def test_attributes_that_directions_remember() -> None:
    """A supervised direction is judged by what it is for, where the scorer has that."""
    sampler, directions = made()
    first, second = directions
    known = Directions([first.with_origin(attribute="red"), second.with_origin(attribute="else")])
    found = evaluate(sampler, known, judge, range(3))
    assert found.scores[0].attribute == "red"
    given = evaluate(sampler, known, judge, range(3), attributes={first.name: "bright"})
    assert given.scores[0].attribute == "bright"


def test_errors() -> None:
    sampler, directions = made()
    three = hspace.random_directions(sampler.setting(), norms=[2.0, 1.0], n=3)
    with pytest.raises(HspaceError, match=r"there is a distance 'pixel' already: give yours another name"):
        evaluate(sampler, directions, judge, range(4), distances={"pixel": content})
    with pytest.raises(HspaceError, match=r"no unit of red"):
        evaluate(sampler, directions, judge, range(4), unit={"bright": 1.0})
    with pytest.raises(HspaceError, match=r"3 controls \(gaussian\) can't be shared equally by 2 directions"):
        evaluate(sampler, directions, judge, range(4), controls=three)
    with pytest.raises(HspaceError, match=r"1 controls of each direction can show nothing at the level 0.05: take 20"):
        evaluate(sampler, directions, judge, range(4), controls=three[:2])
