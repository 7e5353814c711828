"""A real browser for tests of pages: the system's Chromium, driven by Playwright, without a network."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LEVELS = ("warning", "error", "assert")  # of console messages that are a complaint
NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",  # which refuses root, the user of most containers
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    # Nothing but this machine is ever reached, whatever a page asks for.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)


def executable() -> str | None:
    """Chromium's path: the one that the environment variable CHROMIUM names, or the first known name on PATH."""
    names = (os.environ["CHROMIUM"],) if os.environ.get("CHROMIUM") else NAMES
    return next(filter(None, map(shutil.which, names)), None)


def missing() -> str | None:
    """Why there is no browser, in words."""
    if importlib.util.find_spec("playwright") is None:
        return "no browser: the package playwright is not installed"
    if executable() is None:
        return f"no browser: {os.environ.get('CHROMIUM') or ', '.join(NAMES)} not found (CHROMIUM=... names another)"
    return None


# A hook and not the fixture: pytest then reports all skips in one line.
@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Without a browser the tests that want one are skipped; under CI=true they fail."""
    if "browser" in getattr(item, "fixturenames", ()) and (reason := missing()):
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


# Of a module, not of the session: while Playwright is open, asyncio.run is refused in this thread.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=executable(), args=ARGUMENTS)
        yield chromium
        chromium.close()


@dataclass(frozen=True)
class Text:
    """What an element says, and in which colours it is seen: red, green, blue up to 255."""

    words: str
    classes: tuple[str, ...]
    ink: tuple[int, ...]
    paper: tuple[int, ...]

    @property
    def contrast(self) -> float:
        """WCAG 2's ratio, 1 to 21."""
        dark, light = sorted((luminance(self.ink), luminance(self.paper)))
        return (light + 0.05) / (dark + 0.05)


def luminance(colour: tuple[int, ...]) -> float:
    """WCAG 2's relative luminance of sRGB."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (level / 255 for level in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# Every element with words of its own. One pixel is painted with the backgrounds behind it, outermost first, and then
# with the colour of its text: whatever notation or opacity colours have, that is what is seen.
TEXTS = """() => {
  const pixel = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
  const paint = colour => { pixel.fillStyle = colour; pixel.fillRect(0, 0, 1, 1); };
  const seen = () => [...pixel.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  const own = element => [...element.childNodes].filter(n => n.nodeType === 3).map(n => n.data.trim()).join(" ").trim();
  return [...document.querySelectorAll("body, body *:not(script, style, template)")].filter(own).map(element => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.unshift(getComputedStyle(e).backgroundColor);
    ["white", ...layers].forEach(paint);
    const paper = seen(), style = getComputedStyle(element);
    paint(element instanceof SVGElement ? style.fill : style.color);
    return {words: own(element), classes: [...element.classList], ink: seen(), paper};
  });
}"""


@dataclass
class Visit:
    """An open page and what came of it, filled for as long as it is open."""

    page: Page
    address: str
    messages: list[str] = field(default_factory=list)  # the console's warnings and errors
    errors: list[str] = field(default_factory=list)  # exceptions that nothing in the page caught
    requests: list[str] = field(default_factory=list)  # to anywhere but the page's file or its server

    def complaints(self) -> list[str]:
        """All three in one list, for a page that shall have none."""
        return [*self.messages, *self.errors, *(f"request of {address}" for address in self.requests)]

    def texts(self) -> list[Text]:
        """All words of the page with their colours."""
        return [
            Text(found["words"], tuple(found["classes"]), tuple(found["ink"]), tuple(found["paper"]))
            for found in self.page.evaluate(TEXTS)
        ]

    def overflow(self) -> int:
        """How many pixels the page can be scrolled sideways."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def asked(self, address: str) -> None:
        """Keeps a request that leaves the page."""
        to, here = urlsplit(address), urlsplit(self.address)
        inline = to.scheme in ("data", "blob", "about")
        home = to.netloc == here.netloc and (here.scheme != "file" or to.path == here.path)
        if not inline and not home:
            self.requests.append(address)


Open = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Open]:
    """Opens a page in a profile of its own: visit(address, width=, height=, color_scheme="light" or "dark", ...)."""
    contexts = []

    def open_page(address: str, *, width: int = 1280, height: int = 900, **options: Any) -> Visit:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        seen = Visit(context.new_page(), address)
        context.on("console", lambda m: seen.messages.append(f"{m.type}: {m.text}") if m.type in LEVELS else None)
        context.on("weberror", lambda error: seen.errors.append(f"uncaught: {error.error}"))
        context.on("request", lambda request: seen.asked(request.url))
        seen.page.on("websocket", lambda socket: seen.asked(socket.url))
        seen.page.goto(address)
        return seen

    yield open_page
    for context in contexts:
        context.close()
