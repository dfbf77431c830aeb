"""A server on loopback that speaks the public APIs of the Hugging Face Hub and of ModelScope over files in memory.

Files in LFS are given by redirect to another host name ("localhost" for "127.0.0.1"), as the hubs do.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server holds and what it has seen. Tests change it while it runs."""

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)  # repository -> path -> content
    revisions: tuple[str, ...] = ("main", "master", COMMIT)
    plain: frozenset[str] = frozenset()  # paths that are not in LFS
    token: str = ""  # without it, nothing is there
    gated: bool = False
    lies: dict[str, bytes] = field(default_factory=dict)  # path -> what is sent in its place
    failures: int = 0  # the next answers are 503
    answer: bytes | None = None  # to everything
    seen: list[tuple[str, str, str, str]] = field(default_factory=list)  # method, host, path, credentials

    def paths(self) -> list[str]:
        """Of all requests, in order."""
        return [path for _, _, path, _ in self.seen]


@contextlib.contextmanager
def hub_server(certificate: Path | None = None) -> Iterator[Hub]:
    """Runs until the end of the block; speaks TLS with a certificate (and its key in the same file)."""
    hub = Hub()

    class Handler(_Handler):
        state = hub

    server = _Server(("127.0.0.1", 0), Handler)
    hub.url = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_address[1]}"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away, or trusts nobody, is no news here."""


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, parts = self.state, urlsplit(self.path)
        credentials = self.headers.get("Authorization") or self.headers.get("Cookie") or ""
        hub.seen.append((self.command, self.headers.get("Host", ""), self.path, credentials))
        if hub.failures:
            hub.failures -= 1
            self._answer(503, b"busy")
        elif hub.answer is not None:
            self._answer(200, hub.answer, **{"Content-Type": "application/json"})
        elif parts.path.startswith("/files/"):
            self._give(hub.files["files"][unquote(parts.path[7:])])
        elif parts.path.startswith("/storage/"):
            repository, path = unquote(parts.path[9:]).split("//", 1)
            self._give(hub.lies.get(path, hub.files[repository][path]))
        elif hub.token and hub.token not in credentials:
            self._answer(401, b"no")
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", parts.path):
            self._hugging_face_list(match[1], unquote(match[2] or "main"))
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", parts.path):
            self._file(match[1], unquote(match[2]), unquote(match[3]))
        elif match := re.fullmatch(r"/api/v1/models/([^/]+/[^/]+)/repo(/files)?", parts.path):
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            if match[2]:
                self._modelscope_list(match[1], query["Revision"])
            else:
                self._file(match[1], query["Revision"], query["FilePath"])
        else:
            self._answer(404, b"nothing here")

    def _hugging_face_list(self, repository: str, revision: str) -> None:
        hub = self.state
        if repository not in hub.files:
            self._answer(404, b"{}", **{"X-Error-Code": "RepoNotFound"})
        elif revision not in hub.revisions:
            self._answer(404, b"{}", **{"X-Error-Code": "RevisionNotFound"})
        elif hub.gated:
            self._answer(403, b"{}", **{"X-Error-Code": "GatedRepo"})
        else:
            siblings = [self._sibling(path, data) for path, data in hub.files[repository].items()]
            self._json({"id": repository, "sha": COMMIT, "siblings": siblings})

    def _sibling(self, path: str, data: bytes) -> dict[str, Any]:
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        entry: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": blob}
        if path not in self.state.plain:
            entry["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        return entry

    def _modelscope_list(self, repository: str, revision: str) -> None:
        hub = self.state
        if repository not in hub.files or revision not in hub.revisions:
            self._answer(404, json.dumps({"Code": 10010205001, "Message": "not found", "Success": False}).encode())
            return
        entries = [
            {"Path": path, "Name": path, "Type": "blob", "Size": len(data), "Sha256": hashlib.sha256(data).hexdigest()}
            for path, data in hub.files[repository].items()
        ]
        self._json({"Code": 200, "Success": True, "Data": {"Files": [{"Path": "d", "Type": "tree"}, *entries]}})

    def _file(self, repository: str, revision: str, path: str) -> None:
        hub = self.state
        if revision not in hub.revisions or path not in hub.files.get(repository, {}):
            self._answer(404, b"no such file")
        elif path in hub.plain:
            self._give(hub.lies.get(path, hub.files[repository][path]))
        else:
            elsewhere = hub.url.replace("127.0.0.1", "localhost")
            self._answer(302, b"", Location=f"{elsewhere}/storage/{quote(repository)}//{quote(path)}")

    def _give(self, data: bytes) -> None:
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if match is None:
            self._answer(200, data)
            return
        start, end = int(match[1]), min(int(match[2]) + 1, len(data))
        self._answer(206, data[start:end], **{"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"})

    def _json(self, value: object) -> None:
        self._answer(200, json.dumps(value).encode(), **{"Content-Type": "application/json"})

    def _answer(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):
                self.wfile.write(data)
