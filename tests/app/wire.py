"""The app by its own protocol, without a browser: what one visitor's page sends, and whatever else one may try."""

from __future__ import annotations

import http.client
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

API = "/gradio_api"
META = {"_type": "gradio.FileData"}


@dataclass(frozen=True)
class Route:
    """Of the running server, as it declares it."""

    method: str
    path: str

    @property
    def address(self) -> str:
        """With something for each parameter."""
        filled = self.path
        for name, value in {"id": "x", "environment": "client", "component_id": "1", "size": "16"}.items():
            filled = filled.replace(f"{{{name}}}", value)
        return "".join(
            part.partition("}")[2] if i else part for i, part in enumerate(filled.replace("{", "x{").split("{"))
        )


def routes(app: Any) -> list[Route]:
    """All of them, those of routers within included."""

    def inside(found: Any) -> Iterator[Route]:
        for route in found:
            if hasattr(route, "path"):
                yield from (Route(method, route.path) for method in sorted(route.methods))
            else:
                yield from inside(route.original_router.routes)

    return list(inside(app.routes))


class Wire:
    """A visitor: a jar of cookies and a session."""

    def __init__(self, address: str, login: tuple[str, str] | None = None) -> None:
        self.address = address = address.rstrip("/")
        self.http = httpx.Client(base_url=address, timeout=30, trust_env=False)
        self.session = secrets.token_hex(6)
        if login is not None:
            answer = self.http.post("/login", data={"username": login[0], "password": login[1]})
            assert answer.status_code == 200, answer.text
        self.page = self.http.get("/")
        self.config = self.http.get("/config").json()

    def load(self) -> str:
        """What the page does when it opens; the words below the picture."""
        self.results(self.event("load"), [])
        return str(self.results(self.after(self.event("load")), [])["data"][2])

    def event(self, kind: str, elem_id: str | None = None) -> int:
        """The number of an event."""
        ids = [c["id"] for c in self.config["components"] if c["props"].get("elem_id") == elem_id]
        found = [
            each["id"]
            for each in self.config["dependencies"]
            for target, name in each["targets"]
            if name == kind and (elem_id is None or target in ids)
        ]
        assert len(found) == 1, found
        return int(found[0])

    def inputs(self, event: int) -> int:
        """How many values it takes; those of states, such as the visitor, are null here: the server has them."""
        return next(len(d["inputs"]) for d in self.config["dependencies"] if d["id"] == event)

    def after(self, event: int) -> int:
        """Of the one that follows it."""
        return next(int(d["id"]) for d in self.config["dependencies"] if d.get("trigger_after") == event)

    def join(self, event: int, data: list[Any], session: str | None = None) -> httpx.Response:
        """An event begins."""
        body = {"data": data, "fn_index": event, "session_hash": session or self.session, "event_data": None}
        return self.http.post(f"{API}/queue/join", json=body)

    def results(self, event: int, data: list[Any]) -> dict[str, Any]:
        """An event, to its end; what is left out of its values is null."""
        answer = self.join(event, data + [None] * (self.inputs(event) - len(data)))
        assert answer.status_code == 200, answer.text
        with self.http.stream("GET", f"{API}/queue/data", params={"session_hash": self.session}) as stream:
            for line in stream.iter_lines():
                message = json.loads(line.removeprefix("data:")) if line else {}
                if message.get("msg") == "process_completed" and message["event_id"] == answer.json()["event_id"]:
                    output: dict[str, Any] = message["output"]
                    return output
        raise AssertionError("the stream ended before the event did")

    def upload(self, name: str, content: bytes) -> str:
        """The path of what was uploaded."""
        answer = self.http.post(f"{API}/upload", files={"files": (name, content)})
        assert answer.status_code == 200, answer.text
        return str(answer.json()[0])

    def raw(self, path: str, method: str = "GET") -> tuple[int, bytes]:
        """A request with a path as it is, dots and all; of a stream, its beginning."""
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=30)
        cookies = "; ".join(f"{name}={value}" for name, value in self.http.cookies.items())
        connection.putrequest(method, path, skip_accept_encoding=True)
        connection.putheader("Cookie", cookies)
        connection.putheader("Content-Length", "0")
        connection.endheaders()
        answer = connection.getresponse()
        stream = answer.getheader("content-type", "").startswith("text/event-stream")
        found = answer.status, answer.readline() if stream else answer.read()
        connection.close()
        return found

    def close(self) -> None:
        self.http.close()


def file_data(path: str, **fields: Any) -> dict[str, Any]:
    """A file, as a component of the page names it."""
    return {"path": path, "meta": META, "orig_name": path.rpartition("/")[2], **fields}
