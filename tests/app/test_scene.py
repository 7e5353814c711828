"""Scenes: what comes from a browser is checked, and the picture depends on where the sliders are, nothing else."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from tests.tiny import unchecked_types

import hspace
from hspace.app.scene import LIMIT, Scene
from hspace.directions import Directions, Edit, Term
from hspace.errors import HspaceError

names = st.text(max_size=5)
timesteps = st.integers(0, 2**63 - 1)
scenes = st.builds(
    Scene,
    seed=timesteps,
    photo=st.none() | names,
    strengths=st.dictionaries(names, st.floats(-LIMIT, LIMIT), max_size=4),
    window=st.none() | st.tuples(timesteps, timesteps).map(lambda pair: (max(pair), min(pair))),
    injection=st.sampled_from([None, "symmetric", "asymmetric"]),
    prompt=st.none() | names,
)
numbers = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 2**63, True])
anything = st.recursive(
    st.none() | st.booleans() | numbers | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
FIELDS = {"seed": 0, "photo": None, "strengths": {"smile": 1}, "window": [9, 2], "injection": None, "prompt": None}


@given(scenes)
def test_json_and_back(scene: Scene) -> None:
    assert Scene.from_json(json.loads(json.dumps(scene.to_json(), allow_nan=False))) == scene


def found_or_refused(data: Any) -> None:
    with unchecked_types():
        try:
            scene = Scene.from_json(data)
        except HspaceError:
            return
    assert Scene.from_json(json.loads(json.dumps(scene.to_json(), allow_nan=False))) == scene


@given(anything)
def test_other_json_is_refused_in_words(data: Any) -> None:
    found_or_refused(data)


@given(st.sampled_from(sorted(FIELDS)), anything)
@example("strengths", {"smile": 10**5000})
@example("strengths", {"smile": math.nan})
@example("window", [10**5000, 0])
@example("seed", 10**5000)
def test_a_field_of_other_json_is_refused_in_words(field: str, value: Any) -> None:
    found_or_refused(FIELDS | {field: value})


@pytest.mark.parametrize(
    "wrong",
    [
        {"seed": -1},
        {"seed": 2**63},
        {"seed": True},
        {"seed": 1.0},
        {"photo": 3},
        {"strengths": {"smile": 5.01}},
        {"strengths": {"smile": -math.inf}},
        {"strengths": {"smile": math.nan}},
        {"strengths": {"smile": True}},
        {"strengths": {"smile": "1"}},
        {"strengths": []},
        {"window": [2, 9]},
        {"window": [9, -1]},
        {"window": [True, False]},
        {"window": [9]},
        {"injection": "both"},
        {"prompt": 3},
        {"prompt": 1001 * "x"},
    ],
)
def test_each_field_has_its_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(HspaceError):
        Scene.from_json(FIELDS | wrong)


@pytest.mark.parametrize("missing", sorted(FIELDS))
def test_a_field_that_is_missing(missing: str) -> None:
    with pytest.raises(HspaceError, match="incomplete"):
        Scene.from_json({key: value for key, value in FIELDS.items() if key != missing})


def test_a_slider_at_0_is_no_slider() -> None:
    assert Scene(strengths={"smile": 1.0}).moved("smile", 0) == Scene(strengths={"age": -0.0}) == Scene()
    assert Scene(seed=3, window=(5, 1), strengths={"smile": 1.0}).reset() == Scene(seed=3, window=(5, 1))


def test_what_was_given_is_not_what_is_kept() -> None:
    given_ones = {"smile": 1.0}
    scene = Scene(strengths=given_ones)
    given_ones["smile"] = 9.0
    assert scene.strengths == {"smile": 1.0}


def test_the_edit_is_the_sum_of_its_sliders(sampler: hspace.Sampler, pcs: Path, noise: Path) -> None:
    opened = [*Directions.load(pcs), *Directions.load(noise)]
    directions = {item.name: item for item in opened}
    scene = Scene(strengths={"random0": 1.5, "pc2": -2.0, "pc0": 1.0, "gone": 3.0}, window=(70, 20))
    edit = scene.edit(directions)
    assert edit is not None
    assert [(t.direction.name, t.strength, t.window) for t in edit.terms] == [
        ("pc0", 1.0, (70, 20)),
        ("pc2", -2.0, (70, 20)),
        ("random0", 1.5, None),
    ]
    by_hand = Edit(
        [
            Term(directions["pc0"], 1.0, (70, 20)),
            Term(directions["pc2"], -2.0, (70, 20)),
            Term(directions["random0"], 1.5),
        ]
    )
    assert torch.equal(sampler.run([0], edit), sampler.run([0], by_hand))
    assert Scene(strengths={"gone": 3.0}).edit(directions) is None
    assert Scene().edit(directions) is None


def test_which_slider_moved_first_does_not_matter(sampler: hspace.Sampler, pcs: Path) -> None:
    directions = {item.name: item for item in Directions.load(pcs)}
    one = Scene().moved("pc0", 1.1).moved("pc1", 0.7).moved("pc2", -0.9)
    other = Scene().moved("pc2", -0.9).moved("pc0", 3.0).moved("pc1", 0.7).moved("pc0", 0).moved("pc0", 1.1)
    assert torch.equal(sampler.run([1], one.edit(directions)), sampler.run([1], other.edit(directions)))


def test_the_way_shifts_go_in(pcs: Path) -> None:
    directions = {item.name: item for item in Directions.load(pcs)}
    for asked, found in ((None, "symmetric"), ("symmetric", "symmetric"), ("asymmetric", "asymmetric")):
        edit = Scene(strengths={"pc0": 1.0}, injection=asked).edit(directions)
        assert edit is not None
        assert edit.injection == found
