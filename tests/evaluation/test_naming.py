"""Names by what directions move, on tables of effects made up by hand."""

from __future__ import annotations

import pytest
import torch
from tests import tiny
from torch import Tensor

import hspace
from hspace.errors import HspaceError
from hspace.evaluation import Effects, effects, named, told

ATTRIBUTES = ("yaw", "age", "smile")


@pytest.fixture(scope="module")
def sampler() -> hspace.Sampler:
    return hspace.Sampler(tiny.denoiser(dtype=torch.float32), 2, 0.0)


def directions(sampler: hspace.Sampler, *names: str) -> hspace.Directions:
    made = hspace.random_directions(sampler.setting(), [1.0, 1.0], n=len(names))
    given = [item.renamed(name) for item, name in zip(made, names, strict=True)]
    return hspace.Directions(given, {"something": torch.arange(2.0 * len(names)).reshape(2, -1)})


def measured(names: tuple[str, ...], *changes: list[float], attributes: tuple[str, ...] = ATTRIBUTES) -> Effects:
    table = torch.tensor(changes, dtype=torch.float32)
    return Effects(names, attributes, table, torch.zeros_like(table), strength=3.0)


def test_the_attribute_that_moves_most(sampler: hspace.Sampler) -> None:
    given = directions(sampler, "d0", "d1", "d2", "d3")
    table = measured(given.names, [0.1, 1.5, -0.3], [-0.9, 0.2, 0.95], [0.0, -2.5, 2.0], [1.0, 0.0, 0.0])
    found = named(given, table)
    assert found.names == ("age", "d1", "age-2", "yaw")
    for item, before, sign in zip(found, given, (1, 1, -1, 1), strict=True):
        assert torch.equal(item.vectors, sign * before.vectors)
        assert item.origin["method"] == before.origin["method"]
    moves = [item.origin["moves"] for item in found]
    assert [move["attribute"] for move in moves] == ["age", "smile", "age", "yaw"]
    assert [move["change"] for move in moves] == pytest.approx([1.5, 0.95, 2.5, 1.0])
    assert {move["strength"] for move in moves} == {3.0}
    assert torch.equal(found.measured["something"], given.measured["something"])
    assert given.names == ("d0", "d1", "d2", "d3")


def test_the_unit_decides_what_is_large(sampler: hspace.Sampler) -> None:
    given = directions(sampler, "d0", "d1")
    table = measured(given.names, [10.0, 0.3, 0.0], [-5.0, 0.01, 0.0])
    unit = {"yaw": 20.0, "age": 0.1, "smile": 1.0}
    found = named(given, table, unit=unit)
    assert found.names == ("age", "d1")
    assert found[0].origin["moves"]["change"] == pytest.approx(3.0)
    assert found[1].origin["moves"] == {"attribute": "yaw", "change": -0.25, "strength": 3.0}
    assert named(given, table, unit=unit, least=0.2).names == ("age", "yaw")


def test_told_leaves_name_and_sign(sampler: hspace.Sampler) -> None:
    (item,) = directions(sampler, "d0")
    found = told(item, measured(("d0",), [0.5, -4.0, 1.0]))
    assert found.name == "d0"
    assert torch.equal(found.vectors, item.vectors)
    assert found.origin["moves"] == {"attribute": "age", "change": -4.0, "strength": 3.0}


def test_names_stay_unique(sampler: hspace.Sampler) -> None:
    """One that keeps its name, or an attribute that is called like a second one, is in nobody's way."""
    given = directions(sampler, "d0", "age", "d2")
    assert named(given, measured(given.names, [0, 2, 0], [0, 0.5, 0], [0, 3, 0])).names == ("age-2", "age", "age-3")
    table = measured(given.names, [2, 0], [0, 2], [3, 0], attributes=("yaw", "yaw-2"))
    assert named(given, table).names == ("yaw", "yaw-2", "yaw-3")


def test_naming_again_changes_nothing(sampler: hspace.Sampler) -> None:
    given = directions(sampler, "d0", "d1")
    once = named(given, measured(given.names, [0.1, -1.5, 0.3], [0.9, 0.2, 0.1]))
    again = named(once, measured(once.names, [-0.1, 1.5, -0.3], [0.9, 0.2, 0.1]))
    assert again.names == once.names == ("age", "d1")
    for a, b in zip(again, once, strict=True):
        assert torch.equal(a.vectors, b.vectors)
        assert a.origin["moves"] == b.origin["moves"]


def test_a_named_direction_raises_its_attribute(sampler: hspace.Sampler) -> None:
    """With effects measured for real, before and after."""

    def scorer(images: Tensor) -> dict[str, Tensor]:
        return {"red": 1e3 * images[:, 0].mean((1, 2)), "contrast": 1e3 * images.flatten(1).std(1)}

    given = directions(sampler, "d0", "d1", "d2", "d3")
    found = named(given, effects(sampler, given, scorer, range(4)))
    again = effects(sampler, found, scorer, range(4))
    for item in found:
        attribute, change = again.largest(item.name)
        assert change == pytest.approx(item.origin["moves"]["change"], abs=2e-2)
        assert item.name.removesuffix("-2").removesuffix("-3").removesuffix("-4") == attribute
        assert change >= 1


@pytest.mark.parametrize("unit", [{"yaw": 1.0, "age": 1.0}, {"yaw": 1.0, "age": 1.0, "smile": 0.0}])
def test_a_unit_that_is_none(sampler: hspace.Sampler, unit: dict[str, float]) -> None:
    given = directions(sampler, "d0")
    with pytest.raises(HspaceError, match="the unit of 'smile' must be positive, found"):
        named(given, measured(given.names, [1.0, 0.0, 0.0]), unit=unit)
