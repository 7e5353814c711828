"""Leaks, what to project out, and directions that do the same, on matrices made by hand."""

from __future__ import annotations

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
    duplicates,
    evaluate,
    leaks,
    likeness,
    projected,
    scores,
    suggestions,
)


def toy(effects: list[list[float]]) -> Evaluation:
    ends = torch.tensor(effects).double()
    table = torch.stack([-ends / 2, 0 * ends, ends / 2], 1)[:, :, None].expand(-1, -1, 2, -1)
    names = tuple("abcdef"[: len(effects)])
    response = Response(names, ("x", "y", "z"), (-1.0, 0.0, 1.0), table, torch.ones(3).double())
    return Evaluation(response, scores(response))


def test_leaks_and_suggestions() -> None:
    found = toy([[2.0, 1.0, 0.0], [0.5, -4.0, 0.0], [3.0, 0.0, 0.1]])  # a and c are both for x
    torch.testing.assert_close(leaks(found), torch.tensor([[1, 0.5, 1], [0.125, 1, 0.125], [1, 0, 1]]).double())
    (pair,) = suggestions(found)
    assert (pair.direction, pair.other, pair.attribute, pair.share) == ("a", "b", "y", 0.5)
    assert not suggestions(found, above=0.6)
    faint = toy([[0.02, 0.01, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0]])
    assert not suggestions(faint)
    assert suggestions(faint, least=0.01)
    assert bool((leaks(faint)[2] == 0).all())


def test_duplicates_by_what_they_do() -> None:
    found = toy([[2.0, 0.1, 0], [0, 0, 1.0], [-3.0, 0, 0], [0.01, 0, 0], [0.1, 0, 2.0], [1.0, 1.0, 0]])
    assert duplicates(found) == [["c", "a"], ["e", "b"]]  # d does nothing, f is between
    assert duplicates(found, above=0.7) == [["c", "a", "f"], ["e", "b"]]
    assert duplicates(found, least=0.001)[0] == ["c", "a", "d"]
    table = likeness(found)
    assert float(table[0, 2]) == pytest.approx(-1, abs=0.01)
    assert torch.equal(table.diagonal().round(decimals=6), torch.ones(6).double())
    assert bool((likeness(toy([[0.0, 0, 0], [1.0, 0, 0]]))[0] == 0).all())


def judge(images: Tensor) -> dict[str, Tensor]:
    return {"bright": images.mean((1, 2, 3)), "red": images[:, 0].mean((1, 2)), "top": images[:, :, 0].mean((1, 2))}


def test_projected_is_without_the_others() -> None:
    sampler = hspace.Sampler(tiny.denoiser(dtype=torch.float32), 2, 0.0)
    pcs = hspace.PCA(3).fit(sampler, range(12)).directions_
    three = Directions([pcs[0] + 0.5 * pcs[1], pcs[1], pcs[2] + 0.2 * pcs[0]])
    found = evaluate(sampler, three, judge, range(4))
    clean = projected(three, found)
    assert clean.names == three.names
    for i, item in enumerate(clean):
        others = [three[j] for j in range(3) if j != i]
        assert max(abs(item.cosine(other)) for other in others) < 1e-5
    table = leaks(found)
    level = float(table[~torch.eye(3, dtype=torch.bool)].median())
    some = projected(three, found, above=level)
    for i in range(3):
        for j in range(3):
            if i != j and float(table[i, j]) > level:
                assert abs(some[i].cosine(three[j])) < 1e-5
    kept = projected(three, found, above=1e9)
    assert all(torch.equal(a.vectors, b.vectors) for a, b in zip(kept, three, strict=True))
    with pytest.raises(HspaceError, match=r"the evaluation is of other directions"):
        projected(three[:2], found)
