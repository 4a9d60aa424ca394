"""A small hub on this machine, with what the hub's client and `hf download` ask of the real one."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hub_uploads import take

from harness import UnavailableError

LARGE = (".safetensors", ".npz", ".pt", ".bin", ".parquet", ".png")
"""Endings of files that the hub keeps as large ones."""


@dataclass
class Hub:
    """Repositories by name, each with its files, and how the hub behaves: `ok`, `stripped`, or a status to answer.

    Uploads need `token`. `refusals` are statuses by step of an upload (see `hub_uploads.STEPS`), `before` what is done
    when a step is asked for.
    """

    cache: Path
    url: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    behaviour: str | int = "ok"
    asked: list[str] = field(default_factory=list)
    token: str = ""
    private: set[str] = field(default_factory=set)
    large: dict[str, bytes] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)
    before: dict[str, Callable[[], object]] = field(default_factory=dict)

    def add(self, repository: str, files: dict[str, bytes] | Path) -> None:
        """Publish a folder, or files by name."""
        if isinstance(files, Path):
            found = [path for path in files.rglob("*") if path.is_file()]
            files = {str(path.relative_to(files)): path.read_bytes() for path in found}
        self.repositories[repository] = files

    def commit(self, repository: str) -> str:
        names = [[name, _sha256(data)] for name, data in sorted(self.repositories[repository].items())]
        return hashlib.sha1(json.dumps(names).encode()).hexdigest()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for a path."""
        self.asked.append(path)
        path = re.sub("^/api/(datasets|spaces)/", "/api/models/", path)
        path = re.sub("^/(datasets|spaces)/", "/", path)
        if isinstance(self.behaviour, int):
            return self.behaviour, {}, b""
        file = re.fullmatch(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>.+)", path)
        api = re.fullmatch(
            r"/api/models/(?P<repo>[^/]+/[^/]+)(?:/(?P<what>tree|revision)/(?P<revision>[^/]+))?", path
        )
        match = file or api
        if match is None or match["repo"] not in self.repositories:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if match["repo"] in self.gated and file:
            return 403, {"X-Error-Code": "GatedRepo"}, b"{}"
        commit, files = self.commit(match["repo"]), self.repositories[match["repo"]]
        if match["revision"] not in {None, "main", commit}:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        if file is None:
            listing = _listing(match["what"], match["repo"], commit, files, match["repo"] in self.private)
            return 200, {"Content-Type": "application/json"}, listing
        if match["name"] not in files:
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b""
        data = files[match["name"]]
        told = {"X-Repo-Commit": commit, "ETag": f'"{_tag(match["name"], data)}"'}
        return 200, {} if self.behaviour == "stripped" else told, data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _tag(name: str, data: bytes) -> str:
    """The hub names large files by their SHA-256, and others as git does."""
    return (
        _sha256(data) if name.endswith(LARGE) else hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    )


def _listing(what: str | None, repository: str, commit: str, files: dict[str, bytes], private: bool) -> bytes:
    if what != "tree":
        siblings = [{"rfilename": name} for name in sorted(files)]
        about = {"id": repository, "sha": commit, "siblings": siblings, "tags": [], "private": private}
        return json.dumps(about).encode()
    entries: list[dict[str, Any]] = []
    for name, data in sorted(files.items()):
        tag = _tag(name, data)
        lfs = {"lfs": {"oid": tag, "size": len(data), "pointerSize": 100}} if len(tag) == 64 else {}
        entries.append({"type": "file", "path": name, "size": len(data), "oid": tag[:40], **lfs})
    return json.dumps(entries).encode()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _send(self, *, body: bool) -> None:
            status, headers, data = hub.answer(unquote(urlsplit(self.path).path))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(data)

        def _take(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = unquote(urlsplit(self.path).path)
            hub.asked.append(f"{self.command} {path}")
            status, answer = take(hub, path, self.headers.get("Authorization", ""), body)
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_POST(self) -> None:
            self._take()

        def do_PUT(self) -> None:
            self._take()

        def do_HEAD(self) -> None:
            self._send(body=False)

        def do_GET(self) -> None:
            self._send(body=True)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    return Handler


@contextmanager
def serving(cache: Path, patch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve a hub, and lead the hub's client to it with an empty cache, online and without waiting between tries."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    hub = Hub(cache)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    patch.setattr(constants, "ENDPOINT", hub.url)
    patch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    patch.setattr(constants, "HF_HUB_CACHE", str(cache))
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    patch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    patch.setattr(_http.time, "sleep", lambda seconds: None)
    go(patch, offline=False)
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


def go(patch: pytest.MonkeyPatch, *, offline: bool) -> None:
    """Be offline or online from now on, as the environment of a new process would say."""
    from huggingface_hub import constants

    patch.setenv("HF_HUB_OFFLINE", "1" if offline else "0")
    patch.setattr(constants, "HF_HUB_OFFLINE", offline)


def hf(command: str) -> None:
    """Run a command of the hub's own client as a message names it."""
    from huggingface_hub.cli.hf import app

    program, *arguments = shlex.split(command)
    assert program == "hf"
    app(arguments, standalone_mode=False)


def follow(command: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[str]]:
    """Run something offline and, while its message names a command, that one online; return its end and commands."""
    told: list[str] = []
    while True:
        go(monkeypatch, offline=True)
        try:
            return command(), told
        except UnavailableError as error:
            said = str(error)
        (wanted,) = re.findall("`(hf download [^`]+)`", said)
        assert wanted not in told, "the same message again"
        told.append(wanted)
        go(monkeypatch, offline=False)
        hf(wanted.replace("ORG/REPO", "org/clip"))
