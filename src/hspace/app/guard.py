"""What of Gradio's server a visitor can reach: the routes of the page, their own events, their own files.

Gradio hands any file of its temporary folder to whoever names it, its events to whoever names the session, and has
routes that this page does not use. A cookie tells visits apart here, and every request is measured by it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["ASSETS", "PAGE", "PUBLIC", "Guard"]

_API = "/gradio_api"
ASSETS = ("/assets/", "/static/")
"""Scripts, styles and fonts of Gradio's own, the same for everybody."""
PUBLIC = {
    "/": ("GET", "HEAD"),  # without a login it is the form for it
    "/login": ("POST",),
    "/login/": ("POST",),
    "/favicon.ico": ("GET", "HEAD"),
    "/manifest.json": ("GET", "HEAD"),
    "/robots.txt": ("GET", "HEAD"),
    "/theme.css": ("GET", "HEAD"),
    f"{_API}/theme.css": ("GET", "HEAD"),
}
"""What needs no login, by path; methods."""
PAGE = {
    "/config": ("GET",),
    "/logout": ("GET",),
    f"{_API}/app_id": ("GET",),
    f"{_API}/cancel": ("POST",),
    f"{_API}/component_server": ("POST",),
    f"{_API}/queue/data": ("GET",),
    f"{_API}/queue/join": ("POST",),
    f"{_API}/reset": ("POST",),
    f"{_API}/upload": ("POST",),
    f"{_API}/upload_progress": ("GET",),
}
"""The page's other routes; with those of files and heartbeats they are all that there is."""
_FILE, _HEARTBEAT, _START = f"{_API}/file=", f"{_API}/heartbeat/", f"{_API}/startup-events"
_OF_NOBODY = ("/config", "/logout", f"{_API}/app_id")
_JSON_BYTES = 4 * 2**20  # of an event's values; files come by the upload
_STAY = 3600.0  # seconds that files are kept after they were last named, see `page`
_MOST = 100_000  # grants in memory
_RELOAD = "this is not your session: reload the page (it needs cookies)"
_NO_FILE = "no file of yours"


class Guard:
    """ASGI middleware, inside of all others.

    * Only routes that the page uses exist; the rest is 404.
    * If the app asks for a login, so does every route but `PUBLIC` and `ASSETS`.
    * The first page that a browser opens brings a signed cookie. A session belongs to the cookie that uses it first.
    * A file can be read, or named in an event, by the visits that the app has named it to: in the answer to their
      upload, or among the results of their events.
    * Bodies of requests are limited.

    Args:
        app: What it stands in front of.
        folder: Where Gradio keeps files; nobody else's, and of a name that nobody guesses.
        max_bytes: Of all files of an upload together.
    """

    def __init__(self, app: ASGIApp, folder: Path, max_bytes: int) -> None:
        self._app, self._folder = app, folder
        self._max_bytes = max_bytes
        self._secret = secrets.token_bytes(32)
        self._cookie = f"hspace-visit-{secrets.token_hex(4)}"  # a browser has one jar for all ports of a machine
        self._grants = _Grants()
        self._owners: OrderedDict[str, str] = OrderedDict()  # visits by session
        self._named = re.compile(re.escape(folder.name) + r"[\\/]+([0-9a-f]{64})(?![0-9a-f])")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._request(scope, receive, send)
        # Gradio has no web sockets: what else there is stays unanswered, which closes it.

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method, cookies = scope["path"], scope["method"], cookie_parser(_header(scope, b"cookie"))
        visit = self._visit(cookies)
        if self._is_public(path, method, scope["app"]):
            cookie = f"{self._cookie}={self._issue()}" if visit is None and path == "/" else None
            await self._app(scope, receive, _with_headers(send, cookie=cookie))
        elif not _logged_in(scope["app"], cookies):
            await _refuse(401, "log in first", scope, receive, send)
        elif method in ("GET", "HEAD") and path.startswith(_FILE):
            if visit is not None and self._may_read(visit, path.removeprefix(_FILE)):
                await self._app(scope, receive, _with_headers(send, private=True))
            else:
                await _refuse(403, _NO_FILE, scope, receive, send)
        elif method not in PAGE.get(path, ()) and not (method == "GET" and path.startswith(_HEARTBEAT)):
            await _refuse(404, "no such page", scope, receive, send)
        elif path in _OF_NOBODY:
            await self._app(scope, receive, _with_headers(send))
        elif visit is None:
            await _refuse(403, _RELOAD, scope, receive, send)
        else:
            await self._of(visit, scope, receive, send)

    async def _of(self, visit: str, scope: Scope, receive: Receive, send: Send) -> None:
        """A request of a visit: to its own session, with its own files, and what the answer names is its own, too."""
        path = scope["path"]
        if path.startswith(_HEARTBEAT):
            own = self._owns(visit, path.removeprefix(_HEARTBEAT))
        elif path == f"{_API}/queue/data":
            own = self._owns(visit, _query(scope, "session_hash"))
        elif _header(scope, b"content-type").partition(";")[0].strip().lower() == "multipart/form-data":
            length = _header(scope, b"content-length")
            if not (length.isdecimal() and int(length) <= self._max_bytes):
                await _body(receive, self._max_bytes)
                status, why = (413, "that is more than the limit") if length else (411, "how long is it?")
                await _refuse(status, why, scope, receive, send)
                return
            own, (receive, send) = True, _heard_out(receive, send)
        elif scope["method"] == "POST":
            body = await _body(receive, _JSON_BYTES)
            if body is None:
                await _refuse(413, "that is more than the limit", scope, receive, send)
                return
            own, receive = self._may_send(visit, body), _again(body, receive)
        else:
            own = True
        if own:
            await self._app(scope, receive, _with_headers(self._noting(visit, send)))
        else:
            await _refuse(403, _RELOAD, scope, receive, send)

    def _is_public(self, path: str, method: str, app: Any) -> bool:
        if path == _START:  # `launch` opens the queue by it
            return method == "GET" and not app.startup_events_triggered
        return method in PUBLIC.get(path, ()) or (method in ("GET", "HEAD") and path.startswith(ASSETS))

    def _may_read(self, visit: str, name: str) -> bool:
        path = Path(name)
        return (
            path.parent.parent == self._folder
            and path.name not in ("", ".", "..")
            and "\0" not in name
            and self._grants.has(visit, path.parent.name)
            and not path.is_symlink()
        )

    def _may_send(self, visit: str, body: bytes) -> bool:
        """Whether an event is of the visit's own session, and of no file but its own."""
        try:
            values = json.loads(body)
        except (ValueError, RecursionError):
            return False
        if not isinstance(values, dict):
            return False
        session = values.get("session_hash")
        if session is not None and not (isinstance(session, str) and self._owns(visit, session)):
            return False
        for value in _inside(values):
            if isinstance(value, dict) and isinstance(path := value.get("path"), str) and path:
                if not self._may_read(visit, path):
                    return False
            elif isinstance(value, str) and not all(self._grants.has(visit, x) for x in self._named.findall(value)):
                return False  # or its answer would name it to this visit
        return True

    def _owns(self, visit: str, session: str) -> bool:
        if not session:
            return False
        owner = self._owners.setdefault(session, visit)
        self._owners.move_to_end(session)
        while len(self._owners) > _MOST:
            self._owners.popitem(last=False)
        return owner == visit

    def _noting(self, visit: str, send: Send) -> Send:
        """Every file that an answer names is the visit's from then on."""

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.body":
                for name in self._named.findall(message.get("body", b"").decode("utf-8", "replace")):
                    self._grants.add(visit, name)
            await send(message)

        return noting

    def _issue(self) -> str:
        visit = secrets.token_urlsafe(24)
        return f"{visit}.{self._sign(visit)}"

    def _visit(self, cookies: dict[str, str]) -> str | None:
        """Whose request it is; None without a cookie of ours."""
        visit, _, signature = cookies.get(self._cookie, "").partition(".")
        return visit if hmac.compare_digest(signature.encode(), self._sign(visit).encode()) else None

    def _sign(self, visit: str) -> str:
        return hmac.new(self._secret, visit.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


class _Grants:
    """Which visit may read which file; forgotten when the file goes."""

    def __init__(self) -> None:
        self._until: OrderedDict[tuple[str, bytes], float] = OrderedDict()

    def add(self, visit: str, name: str) -> None:
        now = time.monotonic()
        key = (visit, bytes.fromhex(name))
        self._until[key] = now + 2 * _STAY  # it goes within two rounds of clearing
        self._until.move_to_end(key)
        while len(self._until) > _MOST or next(iter(self._until.values())) < now:
            self._until.popitem(last=False)

    def has(self, visit: str, name: str) -> bool:
        if not re.fullmatch(r"[0-9a-f]{64}", name):
            return False
        return (visit, bytes.fromhex(name)) in self._until


def _logged_in(app: Any, cookies: dict[str, str]) -> bool:
    """By Gradio's own tokens."""
    if app.auth is None:
        return True
    names = (f"access-token-{app.cookie_id}", f"access-token-unsecure-{app.cookie_id}")
    return any(cookies.get(name) in app.tokens for name in names)


def _inside(value: Any) -> Iterator[Any]:
    """A JSON value and all within, keys too."""
    left = [value]
    while left:
        value = left.pop()
        yield value
        if isinstance(value, dict):
            left += [*value.keys(), *value.values()]
        elif isinstance(value, list):
            left += value


def _header(scope: Scope, name: bytes) -> str:
    return "; ".join(value.decode("latin-1") for key, value in scope["headers"] if key == name)


def _query(scope: Scope, name: str) -> str:
    values = parse_qs(scope["query_string"].decode("latin-1")).get(name, [])
    return values[0] if len(values) == 1 else ""


async def _body(receive: Receive, most: int) -> bytes | None:
    """All of it; None if it is longer. What is too long is heard out, or its sender would not hear the answer."""
    parts, length, more = [], 0, True
    while more and length <= 16 * most:
        message = await receive()
        if message["type"] != "http.request":  # the sender is gone
            break
        part, more = message.get("body", b""), message.get("more_body", False)
        length += len(part)
        if length <= most:
            parts.append(part)
        else:
            parts.clear()
    return b"".join(parts) if length <= most else None


def _heard_out(receive: Receive, send: Send) -> tuple[Receive, Send]:
    """No answer before the end of the request: who is still sending would not hear it."""
    more = True

    async def hear() -> Message:
        nonlocal more
        message = await receive()
        more = message["type"] == "http.request" and message.get("more_body", False)
        return message

    async def answer(message: Message) -> None:
        while more:
            await hear()
        await send(message)

    return hear, answer


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that was read, for the next who reads it."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


def _with_headers(send: Send, cookie: str | None = None, private: bool = False) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers["X-Content-Type-Options"] = "nosniff"
            if private:
                headers["Cache-Control"] = "private"
            if cookie:
                headers.append("Set-Cookie", f"{cookie}; Path=/; HttpOnly; SameSite=Lax")
        await send(message)

    return with_headers


async def _refuse(status: int, why: str, scope: Scope, receive: Receive, send: Send) -> None:
    await JSONResponse({"detail": why}, status)(scope, receive, send)
