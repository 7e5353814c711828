from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import tiny

from hspace.diffusion import Setting
from hspace.errors import HspaceError
from hspace.models import Condition
from hspace.models.conditioning import Labels

CONDITIONS = st.builds(
    Condition,
    prompt=st.none() | st.text(max_size=8),
    negative_prompt=st.text(max_size=8),
    label=st.none() | st.integers(0, 10**6),
    guidance_scale=st.floats(-10, 100),
    shifted=st.sampled_from(["both", "conditional"]),
)


@given(CONDITIONS)
def test_as_json_and_back(condition: Condition) -> None:
    assert Condition.from_json(json.loads(json.dumps(condition.to_json()))) == condition


@given(CONDITIONS)
def test_given_is_what_makes_it_again(condition: Condition) -> None:
    assert Condition(**condition.given()) == condition


@given(CONDITIONS, CONDITIONS)
def test_settings_keep_it_and_are_equal_without_it(one: Condition, other: Condition) -> None:
    plain = tiny.plain_denoiser()
    import hspace

    setting = hspace.Sampler(plain, 2).setting()
    with_one, with_other = (Setting(**{**vars(setting), "condition": each}) for each in (one, other))
    assert Setting.from_json(json.loads(json.dumps(with_one.to_json()))).condition == one
    assert with_one == with_other == setting
    assert "condition" not in setting.to_json()


DAMAGE: dict[str, Any] = {
    "no condition": None,
    "a list": [],
    "no prompt": {"negative_prompt": "", "label": None, "guidance_scale": 1.0, "shifted": "both"},
    "a prompt that is a number": {**Condition().to_json(), "prompt": 3},
    "a label that is a word": {**Condition().to_json(), "label": "cat"},
    "something more": {**Condition().to_json(), "more": 1},
}


@pytest.mark.parametrize("data", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_ones_are_refused(data: Any) -> None:
    with pytest.raises(HspaceError, match="not the condition of a run: incomplete or damaged"):
        Condition.from_json(data)


WORDS: dict[str, Condition] = {
    "prompt 'a cat'": Condition("a cat"),
    "label 3": Condition(label=3),
    "prompt 'a cat', guidance 7.5": Condition("a cat", guidance_scale=7.5),
    "prompt 'a cat', guidance 2 against 'rain', shifted in the conditional pass only": Condition(
        "a cat", "rain", guidance_scale=2.0, shifted="conditional"
    ),
    "no condition": Condition(),
}


@pytest.mark.parametrize(("words", "condition"), WORDS.items(), ids=WORDS.keys())
def test_in_words(words: str, condition: Condition) -> None:
    assert str(condition) == words


def test_labels_of_a_network_of_ones_own() -> None:
    none, own = Labels(5, none=5).branches(Condition(label=2, guidance_scale=2.0)).inputs
    assert (int(none["class_labels"]), int(own["class_labels"])) == (5, 2)
