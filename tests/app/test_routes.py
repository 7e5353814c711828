"""Real requests to the running app: what of the server can be reached, by whom, and that nothing else comes out."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import gradio as gr
import httpx
import pytest
from tests.app.wire import API, Route, Wire, file_data, routes

from hspace.app.folder import private_folder
from hspace.app.guard import ASSETS, PAGE, PUBLIC
from hspace.app.handlers import Handlers
from hspace.app.serving import opened
from hspace.directions import BUNDLED

SECRET = b"nobody shall read this"
PNG = b"\x89PNG\r\n\x1a\n" + SECRET
MINE = (f"{API}/file=", f"{API}/heartbeat/")


def picture_of(wire: Wire) -> str:
    """The path of the picture that the page shows."""
    wire.load()
    path = wire.results(wire.after(wire.event("load")), [None])["data"][0]["path"]
    assert isinstance(path, str)
    return path


def known(route: Route) -> bool:
    """One that the page uses."""
    allowed = {**PUBLIC, **PAGE}.get(route.path, ())
    return route.method in allowed or (
        route.method in ("GET", "HEAD") and route.path.startswith((*ASSETS, *MINE)) and "{" in route.path
    )


def test_there_are_only_the_routes_of_the_page(wire: Wire, app: gr.Blocks) -> None:
    """Gradio has some forty more: a proxy, an editor of the app's code, histories, direct calls."""
    found = routes(app.app)
    assert len(found) > 60
    assert {*PUBLIC, *PAGE} <= {route.path for route in found}
    closed = [route for route in found if not known(route)]
    assert {f"{API}/proxy={{url_path:path}}", f"{API}/run/{{api_name}}", f"{API}/vibe-edit", f"{API}/deep_link"} <= {
        route.path for route in closed
    }
    for route in closed:
        status, body = wire.raw(route.address, route.method)
        assert status == 404, route
        assert b"no such page" in body or route.method == "HEAD", route  # the guard's own words


def test_with_a_login_every_route_asks_for_it(handlers: Handlers) -> None:
    with opened(handlers, auth=("me", "secret")) as blocks:
        stranger = Wire(blocks.local_url)
        open_to_all = set()
        for route in routes(blocks.app):
            status, body = stranger.raw(route.address, route.method)
            if status == 401:
                continue
            open_to_all.add((route.method, route.path))
            assert b"pc0" not in body
            assert str(private_folder()).encode() not in body
        assert open_to_all == {
            ("GET", "/"),  # the form for the login
            ("HEAD", "/"),
            ("POST", "/login"),
            ("POST", "/login/"),
            ("GET", "/assets/{path:path}"),  # Gradio's own scripts, styles, fonts and names
            ("GET", "/static/{path:path}"),
            ("GET", "/favicon.ico"),
            ("GET", "/manifest.json"),
            ("GET", "/robots.txt"),
            ("GET", "/theme.css"),
            ("GET", f"{API}/theme.css"),
        }
        assert '"auth_required":true' in stranger.page.text.replace(" ", "")
        assert stranger.http.get(f"{API}/startup-events").status_code == 401
        assert stranger.http.get("/nothing").status_code == 401
        for wrong in (("me", "Secret"), ("me", ""), ("", "secret"), ("you", "secret")):
            answer = stranger.http.post("/login", data={"username": wrong[0], "password": wrong[1]})
            assert answer.status_code in (400, 422)
            assert stranger.http.get("/config").status_code == 401
        stranger.http.cookies.set(f"access-token-unsecure-{blocks.app.cookie_id}", "guessed")
        assert stranger.http.get("/config").status_code == 401
        assert stranger.http.post(f"{API}/upload", files={"files": ("x.png", PNG)}).status_code == 401
        stranger.close()
        me = Wire(blocks.local_url, ("me", "secret"))
        assert me.load().startswith("seed 0: preview in")
        assert me.http.get(f"{API}/file={me.upload('mine.png', PNG)}").content == PNG
        me.http.get("/logout")
        assert me.http.get("/config").status_code == 401
        me.close()


def test_a_visitor_reads_their_own_files_only(wire: Wire, other: Wire) -> None:
    upload, picture = wire.upload("mine.png", PNG), picture_of(wire)
    assert wire.http.get(f"{API}/file={upload}").content == PNG
    assert wire.http.get(f"{API}/file={picture}").content.startswith(b"\x89PNG")
    answer = other.http.get(f"{API}/file={upload}")
    assert answer.status_code == 403
    assert SECRET not in answer.content
    theirs = other.upload("theirs.png", PNG + b"!")
    assert wire.http.get(f"{API}/file={theirs}").status_code == 403
    assert other.upload("mine.png", PNG) == upload  # who has the same bytes has the same file
    assert other.http.get(f"{API}/file={upload}").content == PNG


def test_a_cookie_that_the_app_did_not_give_is_none(wire: Wire, other: Wire) -> None:
    upload = wire.upload("mine.png", PNG)
    ((name, value),), ((_, others),) = wire.http.cookies.items(), other.http.cookies.items()
    forged = (f"{value.partition('.')[0]}.{others.partition('.')[2]}", value[:-1], "", ".", "x.y", f"é{value}")
    for each in forged:
        answer = httpx.get(f"{wire.address}{API}/file={upload}", headers=[(b"Cookie", f"{name}={each}".encode())])
        assert answer.status_code == 403, each
    assert httpx.get(f"{wire.address}{API}/file={upload}", headers={"Cookie": f"{name}={value}"}).status_code == 200


def test_a_session_is_its_visitors(wire: Wire, other: Wire) -> None:
    load = other.event("load")
    assert other.http.get(f"{API}/queue/data", params={"session_hash": wire.session}).status_code == 403
    assert other.http.get(f"{API}/heartbeat/{wire.session}").status_code == 403
    assert other.join(load, [], wire.session).status_code == 403
    body = {"session_hash": wire.session, "fn_index": load, "event_id": "x"}
    assert other.http.post(f"{API}/cancel", json=body).status_code == 403
    both = f"{API}/queue/data?session_hash={other.session}&session_hash={wire.session}"
    assert other.raw(both)[0] == 403
    assert other.http.post(f"{API}/queue/join", content=b"[" * 100_000).status_code == 403
    assert other.http.post(f"{API}/queue/join", content=b"not JSON").status_code == 403
    answer = other.http.post(f"{API}/queue/join", content=b'"' + b"x" * 5_000_000 + b'"')
    assert answer.status_code == 413
    assert wire.load().startswith("seed 0")  # and nothing of it has hurt


@pytest.fixture
def forbidden(app: gr.Blocks, wire: Wire, other: Wire, folder: Path, tmp_path: Path) -> dict[str, Path]:
    """Files that are there, and nobody's business."""
    (tmp_path / "secret.txt").write_bytes(SECRET)
    visitors = [
        value.folder
        for session in app.app.state_holder.session_data.values()
        for value in session.state_data.values()
        if hasattr(value, "folder")
    ]
    assert len(visitors) >= 2
    (visitors[0] / "kept.txt").write_bytes(SECRET)
    upload = Path(wire.upload("own.png", PNG))
    link = upload.parent / "link.png"  # a visitor cannot make one; and if they could
    link.unlink(missing_ok=True)
    link.symlink_to(tmp_path / "secret.txt")
    examples = private_folder() / "examples"
    examples.mkdir(exist_ok=True)
    (examples / "one.txt").write_bytes(SECRET)
    return {
        "a file": tmp_path / "secret.txt",
        "a link to one": link,
        "accounts": Path("/etc/passwd"),
        "the environment": Path("/proc/self/environ"),
        "the working directory": Path.cwd() / "pyproject.toml",
        "the model": folder / "model" / "unet" / "config.json",
        "its directions": folder / "pcs.safetensors",
        "bundled directions": next(iter(BUNDLED.values())),
        "a visitor's folder": visitors[0] / "kept.txt",
        "another's upload": Path(other.upload("theirs.png", PNG + b"theirs")),
        "another's picture": Path(picture_of_moved(other)),
        "Gradio's other files": examples / "one.txt",
        "the source": Path(__file__),
    }


def picture_of_moved(wire: Wire) -> str:
    """One that nobody else has: of another seed."""
    wire.results(wire.event("input", "seed"), [None, 7])
    path = wire.results(wire.after(wire.event("input", "seed")), [None])["data"][0]["path"]
    assert isinstance(path, str)
    return path


def spellings(path: Path, own: Path) -> Iterator[str]:
    """Of a path, after `file=` and the like."""
    plain, up = str(path), "../" * 12 + str(path).lstrip("/")
    upload = f"{own.parent}/"
    yield from (plain, f"/{plain}", f"//{plain}", up, f"file://{plain}", f"FILE://{plain}", f"~/{up}", f"./{up}")
    yield from (f"{upload}{up}", f"{upload}..//{up}", f"{own}/{up}", f"{upload}%2e%2e/{up}", f"{own}\0{plain}")
    yield from (quote(plain, safe=""), quote(up, safe=""), up.replace("../", "..%2f"), up.replace("../", "%2e%2e/"))
    yield from (quote(quote(up, safe=""), safe=""), up.replace("/", "\\"), up.replace("../", "....//"))
    yield from (f"{plain}%00.png", f"{plain}%00", f"{plain}?x=.png", f"{plain}#.png", f"{plain};.png", f"{plain}/.")
    yield from (os.path.relpath(path), f"{quote(upload)}{os.path.relpath(path, own.parent)}")


DOORS = (
    *(f"{API}/{door}" for door in ("file=", "file/", "proxy=", "proxy=file://", "stream/", "svelte/", "deep_link/")),
    *(
        "/file=",
        "/file/",
        "/proxy=",
        "/static/",
        "/assets/",
        "/svelte/",
        "/config/",
        "/favicon.ico/",
        "/theme.css/",
        "/",
    ),
    *(f"{API}/custom_component/x/client/", f"{API}/stream/x/1/1/", f"{API}/run-history/records/x/y/assets/"),
    *(f"{API}/call/x/", f"{API}/heartbeat/", "/pwa_icon/", "/monitoring/", "/?deep_link=", "/config?deep_link="),
)


def test_no_route_gives_a_file_that_is_not_the_visitors(wire: Wire, forbidden: dict[str, Path]) -> None:
    own = Path(wire.upload("own.png", PNG))
    assert wire.raw(f"{API}/file={own}") == (200, PNG)
    for what, path in forbidden.items():
        content = path.read_bytes()
        assert len(content) > 10
        for door in DOORS:
            if what not in ("a file", "accounts", "another's upload") and "file=" not in door:
                continue  # elsewhere three of them stand for all
            for spelling in spellings(path, own):
                if any(c <= " " for c in spelling):  # as it is on a line of HTTP
                    spelling = quote(spelling, safe="/%=:")
                status, body = wire.raw(door + spelling)
                assert content[:200] not in body, (what, door, spelling)
                assert SECRET not in body, (what, door, spelling)
                if "file=" in door:
                    assert status in (403, 404), (what, door, spelling)


@pytest.fixture
def listener() -> Iterator[tuple[str, list[bytes]]]:
    """A server of somebody's: its address, and what came."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    heard.append(connection.recv(1000))

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/photo.png", heard
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_events_take_files_of_the_visitor_only_and_fetch_nothing(
    wire: Wire, forbidden: dict[str, Path], listener: tuple[str, list[bytes]]
) -> None:
    address, heard = listener
    elsewhere = [address, address.replace("127.0.0.1", "localhost"), address.replace("127.0.0.1", "2130706433")]
    for elem_id, inputs in {"photo": 1, "add": 2}.items():
        event = wire.event("upload", elem_id)

        def data(value: object, inputs: int = inputs) -> list[object]:
            return [None, value, 0][: inputs + 1]

        own = Path(wire.upload("own.png", PNG))
        for path in [*map(str, forbidden.values()), *elsewhere, f"file://{forbidden['a file']}", f"{own}/../link.png"]:
            for forged in (file_data(path), {"path": path}, [file_data(path)], {"a": {"b": [file_data(path)]}}):
                answer = wire.join(event, data(forged))
                assert answer.status_code == 403, (elem_id, path)
        for url in (*elsewhere, f"file://{forbidden['a file']}", f"{API}/proxy={address}"):
            for extra in ({"url": url}, {"url": url, "is_stream": True}, {"url": url, "orig_name": url}):
                output = wire.results(event, data(file_data(str(own), **extra)))
                assert "error" in output  # own.png is no picture, and that is what is said
                assert SECRET.decode() not in str(output)
    for door in (f"{API}/file=", f"{API}/proxy=", f"{API}/file/", "/file=", "/proxy="):
        for spelling in (address, quote(address, safe=""), address.removeprefix("http:"), address.upper()):
            assert wire.raw(door + spelling)[0] in (403, 404)
    assert not heard


def test_a_path_in_a_text_gives_no_claim_to_the_file(wire: Wire, other: Wire) -> None:
    """An answer that repeats it, as that about an unknown slider does, would look as if the app had named it."""
    theirs = other.upload("theirs.png", PNG)
    fresh = other.upload("fresh.png", PNG + os.urandom(8))
    for text in (fresh, f"no {fresh}", {fresh: 1}, [fresh]):
        assert wire.join(wire.event("click", "rename"), [None, text, "x", 0]).status_code == 403
    assert wire.http.get(f"{API}/file={fresh}").status_code == 403
    assert theirs != fresh


@pytest.mark.parametrize(
    "name",
    [
        *("../../../x.png", "..", ".", "/etc/x.png", "..\\..\\x.png", "C:\\x.png", "%2e%2e%2fx.png", "x\0.png"),
        *("~/x.png", "$(touch x).png", "x" * 300 + ".png", ".htaccess", "x\n.png", "con", "a/b/c.png", "", "é☃.png"),
    ],
)
def test_uploads_stay_in_their_folder_whatever_their_name(wire: Wire, name: str) -> None:
    folder = private_folder()

    def outside() -> set[Path]:
        return {
            *Path.cwd().iterdir(),
            *folder.parent.glob("x*"),
            *folder.parent.glob("*.png"),
            *Path("/etc").glob("x*"),
        }

    before = outside()
    content = PNG + name.encode()
    answer = wire.http.post(f"{API}/upload", files={"files": (name or None, content)})
    assert outside() == before
    if answer.status_code == 200 and answer.json():
        path = Path(answer.json()[0])
        assert path.parent.parent == folder
        assert path.read_bytes() == content
        assert path.resolve() == path
    else:
        assert answer.status_code in (200, 400, 422, 500)  # 500: Gradio's, of a form without a file


@pytest.mark.parametrize("name", ["page.html", "drawing.svg", "script.js", "sheet.xml", "photo.png"])
def test_uploads_never_run_as_a_page(wire: Wire, name: str) -> None:
    answer = wire.http.get(f"{API}/file={quote(wire.upload(name, b'<script>alert(1)</script>'))}")
    assert answer.status_code == 200
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private"
    if name != "photo.png":
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["content-type"] == "application/octet-stream"


def test_the_folder_is_this_users_alone(wire: Wire) -> None:
    folder = private_folder()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.parent == Path(tempfile.gettempdir()).resolve()
    assert Path(wire.upload("mine.png", PNG)).is_relative_to(folder)
    assert Path(picture_of(wire)).is_relative_to(folder)
