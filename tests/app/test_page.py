"""The app in a real browser: sliders move pictures, nothing else does, and what goes wrong is said in a line."""

from __future__ import annotations

import io
from pathlib import Path

import gradio as gr
import pytest
from click.testing import Result
from PIL import Image
from playwright.sync_api import Route
from tests.browser import Open, Visit
from typer.testing import CliRunner

from hspace.app.handlers import Handlers
from hspace.app.visitor import Visitor
from hspace.cli import app as command_line
from hspace.directions import Directions

WAIT = 60_000  # milliseconds: a bound, for machines with much else to do
LONG = 120_000  # of a search, whose process starts first


@pytest.fixture(scope="module")
def server(app: gr.Blocks) -> str:
    """Its address."""
    return str(app.local_url)


@pytest.fixture
def seen(visit: Open, server: str) -> Visit:
    """A visitor who sees the first picture."""
    found = visit(server)
    finished(found)
    return found


def finished(seen: Visit, what: str = "seed 0") -> bytes:
    """The picture of what the page says it shows, no preview any more."""
    seen.page.wait_for_function(
        "what => { const now = document.querySelector('#words')?.innerText ?? '';"
        " return now.startsWith(what + ':') && now.includes('picture in') }",
        arg=what,
        timeout=WAIT,
    )
    seen.page.wait_for_selector("#picture img", state="attached", timeout=WAIT)  # perhaps under another tab
    source = seen.page.get_attribute("#picture img", "src")
    assert source is not None
    return seen.page.request.get(source).body()


def move(seen: Visit, name: str, presses: int, what: str) -> bytes:
    """Moves a slider by the keyboard, each press a tenth, until the page shows what it should."""
    seen.page.locator(f"input[type=range][aria-label*='{name}']").focus()
    for _ in range(abs(presses)):
        seen.page.keyboard.press("ArrowRight" if presses > 0 else "ArrowLeft")
    return finished(seen, what)


def pixels(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


def taken(seen: Visit, folder: Path) -> list[Path]:
    """The files that are offered, downloaded."""
    seen.page.wait_for_selector("#files a[download]", timeout=WAIT)
    found = []
    for link in seen.page.locator("#files a[download]").all():
        source, name = link.get_attribute("href"), link.get_attribute("download")
        assert source is not None
        assert name is not None
        found.append(folder / Path(name).name)
        found[-1].write_bytes(seen.page.request.get(source).body())
    return found


def tab(seen: Visit, name: str) -> None:
    seen.page.get_by_role("tab", name=name).click()


def told(seen: Visit, words: str) -> str:
    """What the work says in the end."""
    seen.page.wait_for_function(
        "words => (document.querySelector('#work')?.innerText ?? '').includes(words)", arg=words, timeout=LONG
    )
    return seen.page.inner_text("#work")


def toast(seen: Visit) -> str:
    seen.page.wait_for_selector(".toast-body", timeout=WAIT)
    return seen.page.inner_text(".toast-body")


def test_a_slider_moves_the_picture_and_reset_brings_it_back(seen: Visit) -> None:
    first = finished(seen)
    moved = move(seen, "pc0", 20, "seed 0, 2 pc0")
    assert pixels(moved).tobytes() != pixels(first).tobytes()
    seen.page.click("#reset")
    assert finished(seen) == first
    assert not seen.complaints()


def test_requests_that_overtake_each_other(seen: Visit) -> None:
    """The first move is held back on its way: the last one counts all the same, and so does a reset."""
    finished(seen)
    held: list[Route] = []

    def hold(route: Route) -> None:
        body = route.request.post_data_json
        if not held and any(isinstance(value, float) and value == 0.1 for value in body["data"]):
            held.append(route)
        else:
            route.continue_()

    seen.page.route("**/queue/join*", hold)
    seen.page.focus("input[type=range][aria-label*='pc0']")
    with seen.page.expect_request("**/queue/join*"):
        seen.page.keyboard.press("ArrowRight")
    shown = move(seen, "pc0", 4, "seed 0, 0.5 pc0")
    assert held
    with seen.page.expect_response("**/queue/join*"):
        held.pop().continue_()
    seen.page.wait_for_timeout(1000)  # nothing is to happen, and nothing tells that it has not
    assert finished(seen, "seed 0, 0.5 pc0") == shown
    assert not seen.complaints()


def test_a_visitor_sees_their_own_sliders_only(seen: Visit, visit: Open, server: str) -> None:
    first = finished(seen)
    other = visit(server)
    finished(other)
    moved = move(other, "pc1", 20, "seed 0, 2 pc1")
    assert pixels(moved).tobytes() != pixels(first).tobytes()
    assert finished(seen) == first


def test_a_recipe_makes_the_very_same_picture(
    seen: Visit, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the shell, by the line that the page shows."""
    move(seen, "pc0", 15, "seed 0, 1.5 pc0")
    shown = move(seen, "pc2", -10, "seed 0, 1.5 pc0 - pc2")
    seen.page.click("text=Take it home")
    seen.page.click("#export")
    seen.page.wait_for_selector("#files a[download]", timeout=WAIT)
    taken(seen, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["pcs.safetensors", "picture.png", "recipe.json", "strip.png", "sweep.gif", "sweep.mp4"]
    line = seen.page.inner_text("#shell .cm-content").strip()
    assert line.startswith("hspace edit --recipe recipe.json")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "picture.png").rename(tmp_path / "taken.png")
    result: Result = CliRunner().invoke(command_line, [*line.split()[1:], "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "picture.png").read_bytes() == (tmp_path / "taken.png").read_bytes()
    assert pixels((tmp_path / "picture.png").read_bytes()).tobytes() == pixels(shown).tobytes()


def test_a_photo(seen: Visit, tmp_path: Path) -> None:
    first = finished(seen)
    Image.new("RGB", (40, 30), (200, 30, 90)).save(tmp_path / "photo.png")
    seen.page.click("text=Your photo")
    seen.page.set_input_files("#photo input[type=file]", tmp_path / "photo.png")
    photo = finished(seen, "photo")
    assert "PSNR of" in seen.page.inner_text("#quality")
    red, green, blue = pixels(photo).resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
    assert red > blue > green
    assert pixels(move(seen, "pc0", 20, "photo, 2 pc0")).tobytes() != pixels(photo).tobytes()
    seen.page.click("#reset")
    assert finished(seen, "photo") == photo
    seen.page.click("#back")
    assert finished(seen) == first


def test_a_corrupt_photo_and_wrong_files_are_told(seen: Visit, tmp_path: Path) -> None:
    first = finished(seen)
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
    seen.page.click("text=Your photo")
    seen.page.set_input_files("#photo input[type=file]", tmp_path / "photo.png")
    assert "photo.png" in toast(seen)
    seen.page.reload()
    finished(seen)
    (tmp_path / "wrong.safetensors").write_bytes(b"not at all")
    seen.page.click("text=Add, rename, remove")
    seen.page.set_input_files("#add input[type=file]", tmp_path / "wrong.safetensors")
    message = toast(seen)
    assert ".safetensors" in message
    assert "Traceback" not in message
    assert finished(seen) == first


def test_sliders_are_added_renamed_removed_and_searched(seen: Visit, folder: Path, tmp_path: Path) -> None:
    first = finished(seen)
    copy = tmp_path / "more.safetensors"
    Directions.load(folder / "pcs.safetensors")[:1].renamed({"pc0": "smile"}).save(copy)
    seen.page.click("text=Add, rename, remove")
    seen.page.set_input_files("#add input[type=file]", copy)
    seen.page.wait_for_selector("input[type=range][aria-label*='smile']", timeout=WAIT)
    assert pixels(move(seen, "smile", 20, "seed 0, 2 smile")).tobytes() != pixels(first).tobytes()
    choose(seen, "#name", "smile")
    seen.page.fill("#other textarea, #other input", "grin")
    seen.page.click("#rename")
    seen.page.wait_for_selector("input[type=range][aria-label*='grin']", timeout=WAIT)
    assert float(seen.page.input_value("input[type=range][aria-label*='grin']")) == 2.0
    seen.page.fill("#search textarea, #search input", "gri")
    seen.page.wait_for_function("document.querySelectorAll('.hspace-slider').length === 1", timeout=WAIT)
    choose(seen, "#name", "grin")
    seen.page.click("#remove")
    assert finished(seen) == first
    seen.page.click("#remove")
    assert "choose a slider first" in toast(seen)


def choose(seen: Visit, dropdown: str, *names: str) -> None:
    """From its list."""
    for name in names:
        seen.page.focus(f"{dropdown} input")
        seen.page.click(f"{dropdown} [role=option][aria-label='{name}']", timeout=WAIT)
    seen.page.keyboard.press("Tab")  # its list closes


def test_draw_a_mask_and_discover(seen: Visit) -> None:
    first = finished(seen)
    tab(seen, "Discover")
    seen.page.click("text=What changes this picture")
    seen.page.click("#place")
    canvas = seen.page.locator("#canvas canvas[data-ready]")
    canvas.wait_for(timeout=WAIT)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    seen.page.mouse.move(x - 60, y)
    seen.page.mouse.down()
    seen.page.mouse.move(x + 10, y, steps=8)
    seen.page.mouse.up()
    seen.page.check("#still input")
    seen.page.click("#jacobian")
    words = told(seen, "and a slider now")
    name = words.split("now: ")[1].split(",")[0]
    assert name.startswith("part t")
    tab(seen, "Sliders")
    seen.page.wait_for_selector(f"input[type=range][aria-label*='{name}']", timeout=WAIT)
    moved = move(seen, name, 30, f"seed 0, 3 {name}")
    assert pixels(moved).tobytes() != pixels(first).tobytes()


def test_cancel_a_search(seen: Visit) -> None:
    tab(seen, "Discover")
    seen.page.fill("#pca-samples input[type=number]", "1000")
    seen.page.click("#pca")
    told(seen, "%")
    assert seen.page.get_attribute("#work progress", "value") is not None
    assert seen.page.locator(".hspace-slider").count() == 3
    moved = move_behind(seen, "pc0", 20, "seed 0, 2 pc0")  # pictures go on meanwhile
    assert moved
    seen.page.click("#cancel")
    assert told(seen, "Cancelled.") == "Cancelled."
    seen.page.wait_for_selector("#cancel", state="hidden", timeout=WAIT)
    assert seen.page.locator(".hspace-slider").count() == 3


def test_who_closes_the_page_searches_no_more(
    visit: Open, server: str, handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    visitors: list[Visitor] = []
    arrive = handlers.arrive
    monkeypatch.setattr(handlers, "arrive", lambda: visitors.append(arrive()) or visitors[-1])
    found = visit(server)
    finished(found)
    tab(found, "Discover")
    found.page.fill("#pca-samples input[type=number]", "1000")
    found.page.click("#pca")
    told(found, "%")
    (visitor,) = visitors
    assert visitor.work is not None
    assert not visitor.work.cancelled
    found.page.close()
    assert visitor.work.wait(60)
    assert visitor.work.cancelled


def move_behind(seen: Visit, name: str, presses: int, what: str) -> bytes:
    """Moves a slider under the other tab."""
    tab(seen, "Sliders")
    return move(seen, name, presses, what)


def test_components_are_found_and_disentangled(seen: Visit, tmp_path: Path) -> None:
    tab(seen, "Discover")
    seen.page.fill("#pca-samples input[type=number]", "20")
    seen.page.fill("#pca-components input[type=number]", "2")
    seen.page.click("#pca")
    told(seen, "pc0 (2), pc1 (2)")
    tab(seen, "Disentangle")
    choose(seen, "#tangled", "pc0 (2)")
    choose(seen, "#others", "pc1", "pc2")
    seen.page.click("#disentangle")
    told(seen, "pc0 (2) without pc1, pc2")
    seen.page.wait_for_selector("#profile img", timeout=WAIT)
    assert "red" in seen.page.inner_text("#effects")
    tab(seen, "Sliders")
    name = "pc0 (2) without pc1, pc2"
    seen.page.wait_for_selector(f"input[type=range][aria-label*='{name}']", timeout=WAIT)
    seen.page.click("text=Take it home")
    seen.page.click("#export-sliders")
    names = Directions.load(taken(seen, tmp_path)[0]).names
    assert names == ("pc0", "pc1", "pc2", "pc0 (2)", "pc1 (2)", name)


def test_a_recipe_is_brought_back(seen: Visit, visit: Open, server: str, tmp_path: Path) -> None:
    seen.page.fill("#seed input", "8")
    shown = move(seen, "pc1", 25, "seed 8, 2.5 pc1")
    seen.page.click("text=Take it home")
    seen.page.click("#export")
    recipe = next(path for path in taken(seen, tmp_path) if path.suffix == ".json")
    other = visit(server)
    finished(other)
    other.page.click("text=Add, rename, remove")
    other.page.set_input_files("#add input[type=file]", recipe)
    assert finished(other, "seed 8, 2.5 pc1") == shown
    assert other.page.input_value("#seed input") == "8"
    slider = "input[type=range][aria-label*='pc1']"
    other.page.wait_for_function(f"document.querySelector(\"{slider}\")?.value === '2.5'", timeout=WAIT)
    other.page.set_input_files("#add input[type=file]", [])
    recipe.write_text("{}")
    other.page.reload()
    finished(other)
    other.page.click("text=Add, rename, remove")
    other.page.set_input_files("#add input[type=file]", recipe)
    assert "recipe.json: expected a recipe" in toast(other)


def test_the_strip_follows_the_slider_moved_last(seen: Visit) -> None:
    tab(seen, "Strip")
    assert "move a slider first" in toast(seen)
    move(seen, "pc0", 10, "seed 0, pc0")
    seen.page.wait_for_selector("#strip img", timeout=WAIT)
    first = seen.page.get_attribute("#strip img", "src")
    move(seen, "pc1", 10, "seed 0, pc0 + pc1")
    seen.page.wait_for_function(f"document.querySelector('#strip img').src !== '{first}'", timeout=WAIT)
    tab(seen, "Before and after")
    seen.page.wait_for_selector("#compared img", timeout=WAIT)


def test_everything_has_a_name_and_is_reached_by_the_keyboard(seen: Visit) -> None:
    """By Tab alone; what is one of several, such as a tab or a radio button, by the arrows from there."""
    for name in ("Advanced", "Your photo", "Take it home", "Add, rename, remove"):
        seen.page.click(f"text={name}")
    names = seen.page.evaluate(NAMES)
    assert [entry for entry in names if not entry["name"]] == []
    reached = set()
    seen.page.focus("#words, body")
    for _ in range(200):
        seen.page.keyboard.press("Tab")
        reached.add(seen.page.evaluate("document.activeElement.closest('[id]')?.id ?? ''"))
    for control in (
        "seed",
        "lock",
        "dice",
        "reset",
        "first",
        "last",
        "injection",
        "back",
        "export",
        "search",
        "rename",
    ):
        assert control in reached or any(control in name for name in reached), control
    assert seen.page.locator(".hspace-slider input[type=range]").count() == 3


NAMES = """() => [...document.querySelectorAll("button, input, select, textarea, [role=slider], [role=tab]")]
  .filter(element => element.offsetParent && element.type !== 'file')
  .map(element => ({
    html: element.outerHTML.slice(0, 200),
    name: (element.getAttribute('aria-label') || element.innerText || element.title || element.placeholder
      || [...(element.labels ?? [])].map(label => label.innerText).join(' ')
      || document.getElementById(element.getAttribute('aria-labelledby'))?.innerText || '').trim(),
  }))"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_screens_light_and_dark(visit: Open, server: str, scheme: str) -> None:
    address = f"{server}?__theme={scheme}"
    seen = visit(address, width=360, height=740, color_scheme=scheme)
    finished(seen)
    assert seen.overflow() == 0
    dark = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(int(x) for x in dark.strip("rgba()").split(",")[:3]) < 200) == (scheme == "dark")
