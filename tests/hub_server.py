"""A small server that speaks as much of the hub's interface as its client needs to download a model."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import huggingface_hub
import huggingface_hub.constants
import huggingface_hub.hf_api
import pytest

COMMIT = "1" * 40
NOT_FOUND = (404, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"})
LOG_IN = (401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Invalid username or password."})
GATED = (403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model is restricted"})
BAD_TOKEN = (401, {"X-Error-Message": "Invalid credentials in Authorization header"})

Failure = tuple[int, dict[str, str]]


@dataclass
class Hub:
    """What it has, how it fails, and what it was asked for.

    Args:
        repositories: Files by their names, by hub id.
        failures: Status and headers in place of an answer, by hub id.
        file_failures: As `failures`, but of files only: what a gated repository does.
        broken: Names of files that end in the middle.
        silent: Whether no answer comes, until `closing` is set.
    """

    repositories: dict[str, Mapping[str, bytes]] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    file_failures: dict[str, Failure] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    silent: bool = False
    fetched: list[str] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    address: str = ""

    def add_folder(self, hub_id: str, folder: Path) -> None:
        files = (path for path in folder.rglob("*") if path.is_file())
        self.repositories[hub_id] = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and content."""
        parts = unquote(urlsplit(path).path).strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            hub_id, rest = "/".join(parts[2:4]), parts[4:]
            if hub_id in self.failures or hub_id not in self.repositories:
                return (*self.failures.get(hub_id, NOT_FOUND), b"{}")
            files = self.repositories[hub_id]
            if rest[:1] == ["tree"]:
                entries = [
                    {"type": "file", "oid": _etag(content), "size": len(content), "path": name}
                    for name, content in files.items()
                ]
                return 200, {"Content-Type": "application/json"}, json.dumps(entries).encode()
            about = {"id": hub_id, "sha": COMMIT, "siblings": [{"rfilename": name} for name in files], "tags": []}
            return 200, {"Content-Type": "application/json"}, json.dumps(about).encode()
        hub_id, name = "/".join(parts[:2]), "/".join(parts[4:])
        if failure := self.failures.get(hub_id) or self.file_failures.get(hub_id):
            return (*failure, b"")
        content = self.repositories.get(hub_id, {}).get(name)
        if content is None:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        return 200, {"ETag": f'"{_etag(content)}"', "X-Repo-Commit": COMMIT}, content


def _etag(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


@contextmanager
def serving() -> Iterator[Hub]:
    """The server on a port of this machine, empty."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._send(body=False)

        def do_GET(self) -> None:
            self._send(body=True)

        def _send(self, *, body: bool) -> None:
            if hub.silent:
                hub.closing.wait()
                return
            status, headers, content = hub.answer(self.path)
            name = unquote(urlsplit(self.path).path).partition(f"/resolve/{COMMIT}/")[2]
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if body:
                if name:
                    hub.fetched.append(name)
                self.wfile.write(content[: len(content) // 2] if name in hub.broken else content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def point_client(to: str, cache: Path, patch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT, HF_HUB_CACHE and HF_HUB_OFFLINE=0 do, which are read when the client is imported."""
    constants = huggingface_hub.constants
    patch.setenv("NO_PROXY", "127.0.0.1")
    patch.delenv("HF_TOKEN", raising=False)
    patch.setattr(constants, "ENDPOINT", to)
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", to + "/{repo_id}/resolve/{revision}/{filename}")
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(huggingface_hub.hf_api.api, "endpoint", to)
    huggingface_hub.close_session()
