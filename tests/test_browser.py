"""A page that does what pages shall not do is found out."""

from __future__ import annotations

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tests.browser import Open, Text, executable, missing

BAD = """<!DOCTYPE html><title>bad</title><link rel="icon" href="data:,">
<style>body { background: #fff; color: #000; }
div { background: rgb(0 0 0 / 50%); color: rgb(255 255 255 / 50%); }</style>
<div class="a b">grey on grey</div><p style="width: 2000px">wide</p>
<img src="http://pictures.invalid/1.png"><img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">
<script>console.info("fine"); console.warn("careful"); throw new Error("broken")</script>"""


def test_notices(visit: Open, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(BAD, encoding="utf-8")
    seen = visit((tmp_path / "bad.html").as_uri(), width=400)
    refused = "error: Failed to load resource: net::ERR_NAME_NOT_RESOLVED"
    assert sorted(seen.messages) == [refused, "warning: careful"]
    assert [error.splitlines()[0] for error in seen.errors] == ["uncaught: broken"]
    assert seen.requests == ["http://pictures.invalid/1.png"]
    assert len(seen.complaints()) == 4
    assert seen.overflow() > 1600
    grey, wide = seen.texts()
    assert grey == Text("grey on grey", ("a", "b"), (191, 191, 191), (127, 127, 127))
    assert wide.contrast == 21


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return None


def test_a_server_of_this_machine_is_home(visit: Open, tmp_path: Path) -> None:
    page = '<link rel="icon" href="data:,"><link rel="stylesheet" href="a.css"><p>words'
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    (tmp_path / "a.css").write_text("body { background: #111; color: #fff }", encoding="utf-8")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path)) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        seen = visit(f"http://127.0.0.1:{server.server_port}/page.html")
        server.shutdown()
    assert [text.paper for text in seen.texts()] == [(17, 17, 17)]  # the style sheet came
    assert not seen.complaints()


def test_the_variable_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHROMIUM", sys.executable)
    assert executable() == sys.executable
    monkeypatch.setenv("CHROMIUM", "no-such-browser")
    assert executable() is None
    assert missing()


def test_contrast() -> None:
    assert Text("", (), (118, 118, 118), (255, 255, 255)).contrast == pytest.approx(4.54, abs=0.005)  # WCAG's example
