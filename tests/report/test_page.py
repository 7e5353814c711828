"""The page needs nothing beside itself, and says what was measured."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
import torch
from PIL import Image
from tests import tiny
from torch import Tensor

import hspace
from hspace.directions import Directions
from hspace.errors import HspaceError
from hspace.evaluation import Content, Evaluation, Response, evaluate, scores
from hspace.report import report
from hspace.report.entanglement import leaks, suggestions


def made(names: tuple[str, str] = ("smile", "<b>")) -> tuple[Directions, Evaluation]:
    sampler = hspace.Sampler(tiny.denoiser(dtype=torch.float32), 2, 0.0)
    two = hspace.random_directions(sampler.setting(), norms=[2.0, 1.0], n=2)
    directions = two.renamed(dict(zip(two.names, names, strict=True)))

    def judge(images: Tensor) -> dict[str, Tensor]:
        return {"bright": images.mean((1, 2, 3)), "red": images[:, 0].mean((1, 2))}

    controls = hspace.random_directions(sampler.setting(), norms=[2.0, 1.0], n=40, seed=5)
    return directions, evaluate(sampler, directions, judge, range(3), controls=controls)


def strips(directions: Directions) -> dict[str, Image.Image]:
    return {name: Image.new("RGB", (8, 8)) for name in directions.names}


class Page(HTMLParser):
    """Collects what a page refers to, and checks that what opens is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "link", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_self_contained_and_complete() -> None:
    directions, found = made()
    html = report(directions, found, strips(directions), title="Two & more", commands={"All": "hspace report x"})
    page = Page(html)
    assert all(reference.startswith(("data:", "#")) for reference in page.references)
    assert "script" not in page.tags
    assert "url(" not in html
    assert page.tags.count("img") == 2
    text = " ".join("".join(page.text).split())
    assert "<b>" in text  # a name is text, never markup
    assert "Two & more" in text
    for verdict in found.verdicts:
        assert verdict.words in text
    for score in found.scores:
        assert f"moves {score.attribute} by {score.effect:+.2f} ± {score.error:.2f}" in text
    assert "hspace report x" in text


def toy(effects: list[list[float]]) -> Evaluation:
    ends = torch.tensor(effects).double()
    table = torch.stack([-ends / 2, 0 * ends, ends / 2], 1)[:, :, None].expand(-1, -1, 2, -1)
    names = tuple("abc"[: len(effects)])
    response = Response(names, ("x", "y", "z"), (-1.0, 0.0, 1.0), table, torch.ones(3).double())
    nothing = {name: Content(0.0, 1.0) for name in names}
    return Evaluation(response, scores(response), nothing, dict.fromkeys(names, 0.0), [], (0, 1))


def test_entanglement() -> None:
    found = toy([[2.0, 1.0, 0.0], [0.5, -4.0, 0.0], [3.0, 0.0, 0.1]])  # a and c are both for x
    torch.testing.assert_close(leaks(found), torch.tensor([[1, 0.5, 1], [0.125, 1, 0.125], [1, 0, 1]]).double())
    (pair,) = suggestions(found)
    assert (pair.direction, pair.other, pair.attribute, pair.share) == ("a", "b", "y", 0.5)
    assert not suggestions(found, above=0.6)


def test_refuses_what_does_not_belong_together() -> None:
    directions, found = made()
    with pytest.raises(HspaceError, match=r"the evaluation is of smile, <b>, the directions are smile"):
        report(directions[:1], found, strips(directions))
    with pytest.raises(HspaceError, match=r"no strip of <b>"):
        report(directions, found, {"smile": Image.new("RGB", (8, 8))})
