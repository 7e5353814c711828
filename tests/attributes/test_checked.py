from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hspace.attributes import load_scorer, scored
from hspace.errors import HspaceError

IMAGES = torch.zeros(4, 3, 64, 64)


def answering(answer: Any) -> Any:
    return lambda images: answer


@pytest.mark.parametrize(
    "scores",
    [
        torch.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True),
        torch.tensor([1, 2, 3, 4], dtype=torch.int32),
        torch.tensor([1, 2, 3, 4], dtype=torch.bfloat16),
        np.array([1, 2, 3, 4], dtype=np.float32),
        [1, 2.0, 3, 4],
        (1, 2, 3, 4),
        [torch.tensor(1), torch.tensor(2), torch.tensor(3), torch.tensor(4)],
    ],
    ids=str,
)
def test_numbers_of_any_kind_become_float64_on_the_cpu(scores: Any) -> None:
    found = scored(answering({"smile": scores}), IMAGES)["smile"]
    assert torch.equal(found, torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64))
    assert not found.requires_grad


def test_a_real_scorers_answer_is_unchanged() -> None:
    scorer = load_scorer()
    found, expected = scored(scorer, IMAGES), scorer(IMAGES)
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name].double()) for name in expected)


def test_scorers_run_without_gradients() -> None:
    layer = nn.Linear(3, 1)
    seen = []

    def scorer(images: Tensor) -> dict[str, Tensor]:
        seen.append(torch.is_grad_enabled())
        return {"x": layer(images.mean((2, 3)))[:, 0]}

    assert not scored(scorer, IMAGES)["x"].requires_grad
    assert seen == [False]


def test_the_answer_is_a_copy() -> None:
    memory = torch.zeros(4, dtype=torch.float64)  # which the scorer writes to at each call
    found = scored(answering({"smile": memory}), IMAGES)["smile"]
    memory += 1
    assert torch.equal(found, torch.zeros(4, dtype=torch.float64))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (torch.zeros(4), "the scorer returned Tensor, not a mapping from attributes' names to scores"),
        (None, "the scorer returned NoneType, not a mapping"),
        ({}, "the scorer returned no attributes"),
        ({3: torch.zeros(4)}, "the scorer returned an attribute whose name is no text: 3"),
        ({"smile": torch.zeros(3)}, "the scorer returned 3 scores of 'smile' for 4 pictures"),
        ({"a": [0] * 4, "smile": []}, "the scorer returned 0 scores of 'smile' for 4 pictures"),
        ({"smile": torch.zeros(4, 1)}, r"the scorer returned scores of 'smile' of shape \(4, 1\), expected \(4,\)"),
        ({"smile": 0.5}, r"the scorer returned scores of 'smile' of shape \(\), expected \(4,\)"),
        ({"smile": [0, np.nan, 0, np.nan]}, r"the scorer returned NaN for 'smile' \(picture 2 of 4\)"),
        ({"smile": [0, 0, 0, -np.inf]}, r"the scorer returned -inf for 'smile' \(picture 4 of 4\)"),
        ({"smile": ["much"] * 4}, "the scorer returned for 'smile' a list that can't be read as numbers"),
        ({"smile": None}, "the scorer returned for 'smile' a NoneType that can't be read as numbers"),
        ({"smile": torch.zeros(4, dtype=torch.complex64)}, "for 'smile' a Tensor that can't be read as numbers"),
        ({"smile": np.array([object()] * 4)}, "for 'smile' a ndarray that can't be read as numbers"),
    ],
)
def test_bad_answers_are_one_clear_line(answer: Any, message: str) -> None:
    with pytest.raises(HspaceError, match=message) as caught:
        scored(answering(answer), IMAGES)
    assert "\n" not in str(caught.value)


def test_what_the_scorer_raises_itself_comes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        scored(lambda images: {"smile": images.mean((1, 2, 3)) + 1 / 0}, IMAGES)
