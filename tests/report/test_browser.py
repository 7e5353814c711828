"""The page as a reader's browser shows it."""

from __future__ import annotations

import pytest
from PIL import Image
from tests.browser import Open
from tests.report.test_page import made

from hspace.report import report

LONG = "a_long_name_that_somebody_gave_without_any_space_in_it"
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report with strips wider than a telephone."""
    directions, found = made(("smile", LONG))
    strips = {name: Image.effect_noise((900, 120), 64) for name in directions.names}
    file = tmp_path_factory.mktemp("report") / "report.html"
    file.write_text(report(directions, found, strips, commands={"All": "hspace report x"}), encoding="utf-8")
    return file.as_uri()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_opens_without_complaint(visit: Open, address: str, scheme: str) -> None:
    seen = visit(address, color_scheme=scheme)
    pictures = seen.page.locator("img").evaluate_all("all => all.map(img => [img.naturalWidth, img.alt])")
    assert [width for width, _ in pictures] == [900, 900]
    assert all(words for _, words in pictures)
    assert not seen.overflow()
    assert not seen.complaints()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_all_words_can_be_read(visit: Open, address: str, scheme: str) -> None:
    texts = visit(address, color_scheme=scheme).texts()
    assert {"soft", "bad"} <= {name for text in texts for name in text.classes}
    assert not [text for text in texts if text.contrast < 4.5]
    assert all((sum(text.ink) > sum(text.paper)) == (scheme == "dark") for text in texts)


def test_fits_a_telephone(visit: Open, address: str) -> None:
    seen = visit(address, width=360, height=640)
    seen.page.locator("summary").evaluate_all("all => all.forEach(summary => summary.click())")
    assert not seen.overflow()
    assert seen.page.locator("nav a").last.bounding_box()["height"] < 30  # links wrap between each other, not inside


def test_links_lead_to_every_card(visit: Open, address: str) -> None:
    page = visit(address, width=360, height=640).page
    cards = page.locator(".card").evaluate_all("all => all.map(card => card.id)")
    assert len(cards) == 2
    for card in [*cards, "entanglement"]:
        page.locator(f'nav a[href="#{card}"]').click()
        top = page.locator(f"#{card}").evaluate("part => part.getBoundingClientRect().top")
        assert 0 <= round(top) < 640, card
