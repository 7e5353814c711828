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
from hspace.evaluation import Evaluation, evaluate
from hspace.report import report


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


def test_refuses_what_does_not_belong_together() -> None:
    directions, found = made()
    with pytest.raises(HspaceError, match=r"the evaluation is of smile, <b>, the directions are smile"):
        report(directions[:1], found, strips(directions))
    with pytest.raises(HspaceError, match=r"no strip of <b>"):
        report(directions, found, {"smile": Image.new("RGB", (8, 8))})
