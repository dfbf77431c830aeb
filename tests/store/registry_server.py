"""A registry on loopback that keeps its models in memory, and misbehaves as it is told.

    with RegistryServer() as registry:
        registry.add_model("library/tiny", "latest", [(MODEL, b"GGUF...")])
        registry.faults.append(drops_after(1000, times=3))

A fault is asked about each exchange, in order, before the registry answers; the first that returns True has answered.
Everything that was asked is in `registry.log`, every byte of a blob that was sent in `registry.sent`.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import secrets
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self, TypeAlias

from puna.store import layers

CHUNK = 1 << 16

Fault: TypeAlias = Callable[["Exchange"], bool]


@dataclass
class Seen:
    """One request, as it came."""

    method: str
    path: str
    headers: Mapping[str, str]
    status: int = 0
    sent: int = 0  # bytes of the body


class RegistryServer:
    """The registry. A context manager.

    faults: asked about each exchange.
    token: what must be shown as `Authorization: Bearer`; None: nothing is asked for.
    redirects_parts: of uploads, by 307 to another address of this server, as Ollama's registry does.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[tuple[str, str], bytes] = {}  # by repository and tag or digest
        self.uploads: dict[str, bytearray] = {}
        self.parts: dict[str, dict[int, bytes]] = {}  # sent to the storage, by upload and first byte
        self.faults: list[Fault] = []
        self.log: list[Seen] = []
        self.sent = 0  # bytes of blobs
        self.token: str | None = None
        self.redirects_parts = False
        self.lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.registry = self
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def host(self) -> str:
        """For model names."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def add_blob(self, data: bytes) -> str:
        """Gives its digest, 64 hex digits."""
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest

    def add_model(self, repository: str, tag: str, parts: Iterable[tuple[str, bytes]]) -> bytes:
        """Add a model of (media type, bytes) parts; gives its manifest."""
        config = layers.Layer(layers.CONFIG, self.add_blob(b'{"model_format":"gguf"}'), 23)
        own = tuple(layers.Layer(kind, self.add_blob(data), len(data)) for kind, data in parts)
        raw = layers.manifest_bytes(config, own)
        self.manifests[repository, tag] = raw
        return raw

    def asked(self, method: str, kind: str) -> list[Seen]:
        """The requests of a kind: manifests, blobs, token, storage."""
        return [seen for seen in self.log if seen.method == method and f"/{kind}" in seen.path]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    registry: RegistryServer

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone away is no news here."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Quiet."""

    def answer(self) -> None:
        registry = self.server.registry
        exchange = Exchange(self, registry)
        with registry.lock:
            registry.log.append(exchange.seen)
        if not any(fault(exchange) for fault in list(registry.faults)):
            exchange.serve()

    do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = answer  # noqa: N815


@dataclass
class Exchange:
    """A request, and how to answer it."""

    handler: _Handler
    registry: RegistryServer
    seen: Seen = field(init=False)

    def __post_init__(self) -> None:
        headers = {name.lower(): value for name, value in self.handler.headers.items()}
        self.seen = Seen(self.handler.command, self.handler.path, headers)
        self._body: bytes | None = None

    @property
    def method(self) -> str:
        return self.seen.method

    @property
    def path(self) -> str:
        """Without the query."""
        return self.seen.path.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        return dict(urllib.parse.parse_qsl(self.seen.path.partition("?")[2]))

    @property
    def is_blob(self) -> bool:
        """Whether a blob's bytes are asked for."""
        return self.method == "GET" and "/blobs/sha256:" in self.path

    @property
    def is_manifest(self) -> bool:
        return self.method == "GET" and "/manifests/" in self.path

    @property
    def data(self) -> bytes:
        """All of the blob that is asked for."""
        return self.registry.blobs[self.path.rpartition("sha256:")[2]]

    @property
    def range(self) -> tuple[int, int] | None:
        """First byte and the one after the last, as asked for."""
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.seen.headers.get("range", ""))
        return (int(match[1]), int(match[2]) + 1) if match else None

    def body(self) -> bytes:
        """What the client sends."""
        if self._body is None:
            if self.seen.headers.get("transfer-encoding") == "chunked":
                self._body = b"".join(iter(self._chunk, b""))
            else:
                self._body = self.handler.rfile.read(int(self.seen.headers.get("content-length", 0)))
        return self._body

    def _chunk(self) -> bytes:
        size = int(self.handler.rfile.readline(), 16)
        data = self.handler.rfile.read(size)
        self.handler.rfile.readline()
        return data

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Status and headers, as they are."""
        self.seen.status = status
        self.handler.send_response(status)
        for name, value in headers.items():
            self.handler.send_header(name, value)
        self.handler.end_headers()
        self.handler.wfile.flush()

    def send(self, status: int, body: bytes = b"", **headers: str) -> bool:
        """A whole answer; header names with _ for -."""
        self.body()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.head(status, {"Content-Length": str(len(body))} | named)
        if self.method != "HEAD":
            self.handler.wfile.write(body)
            self.seen.sent = len(body)
        return True

    def send_range(self, data: bytes | None = None) -> tuple[int, int]:
        """The headers of a blob's answer; gives what must follow them."""
        data = self.data if data is None else data
        start, end = self.range or (0, len(data))
        if self.range is None:
            self.head(200, {"Content-Length": str(len(data))})
        else:
            told = f"bytes {start}-{end - 1}/{len(data)}"
            self.head(206, {"Content-Length": str(end - start), "Content-Range": told})
        return start, end

    def stream(self, data: bytes, start: int, end: int) -> None:
        """Bytes of a blob, counted."""
        view = memoryview(data)
        for at in range(start, end, CHUNK):
            piece = view[at : min(at + CHUNK, end)]
            self.handler.connection.sendall(piece)
            self.seen.sent += len(piece)
            with self.registry.lock:
                self.registry.sent += len(piece)

    def drop(self) -> bool:
        """End the connection at once."""
        self.handler.close_connection = True
        self.handler.connection.shutdown(socket.SHUT_RDWR)
        return True

    def serve(self) -> None:
        """What a registry that behaves would answer."""
        registry = self.registry
        if self.path == "/token":
            self.send(200, json.dumps({"token": registry.token}).encode(), Content_Type="application/json")
        elif self.path.startswith("/storage/"):
            self._store_part()
        elif registry.token and self.seen.headers.get("authorization") != f"Bearer {registry.token}":
            realm = f'Bearer realm="{registry.url}/token",service="test",scope="repository:x:pull repository:x:push"'
            self.send(401, b'{"errors":[{"code":"UNAUTHORIZED"}]}', WWW_Authenticate=realm)
        elif "/blobs/uploads/" in self.path:
            self._upload()
        elif "/blobs/" in self.path:
            self._blob()
        elif "/manifests/" in self.path:
            self._manifest()
        else:
            self.send(200, b"{}")

    def _blob(self) -> None:
        if self.path.rpartition("sha256:")[2] not in self.registry.blobs:
            self.send(404, b'{"errors":[{"code":"BLOB_UNKNOWN"}]}')
        elif self.method == "HEAD":
            self.head(200, {"Content-Length": str(len(self.data))})
        else:
            self.stream(self.data, *self.send_range())

    def _manifest(self) -> None:
        repository, _, tag = self.path.removeprefix("/v2/").partition("/manifests/")
        if self.method == "PUT":
            raw = self.body()
            parts = [*json.loads(raw)["layers"], json.loads(raw)["config"]]
            if all(part["digest"].removeprefix("sha256:") in self.registry.blobs for part in parts):
                self.registry.manifests[repository, tag] = raw
                self.send(201)
            else:
                self.send(400, b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN"}]}')
        elif (repository, tag) in self.registry.manifests:
            self.send(200, self.registry.manifests[repository, tag], Content_Type=layers.MANIFEST)
        else:
            self.send(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')

    def _upload(self) -> None:
        uploads, upload = self.registry.uploads, self.path.rpartition("/")[2]
        if self.method == "POST":
            mount = self.query.get("mount", "").removeprefix("sha256:")
            if mount in self.registry.blobs:
                self.send(201)
                return
            upload = secrets.token_hex(8)
            uploads[upload], self.registry.parts[upload] = bytearray(), {}
            self.send(202, Location=f"{self.path}{upload}", Range="0-0")
        elif upload not in uploads:
            self.send(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}')
        elif self.method == "GET":
            self.send(204, Location=self.path, Range=f"0-{max(0, len(uploads[upload]) - 1)}")
        elif self.method == "PATCH":
            self._patch(upload)
        else:
            self._finish(upload)

    def _patch(self, upload: str) -> None:
        data = self.registry.uploads[upload]
        match = re.fullmatch(r"(\d+)-(\d+)", self.seen.headers.get("content-range", ""))
        start = int(match[1]) if match else len(data)
        if self.registry.redirects_parts and self.seen.headers.get("x-redirect-uploads"):
            storage = f"{self.registry.url}/storage/{upload}/{start}"
            self.send(307, Location=storage, Docker_Upload_Location=self.path)
        elif start != len(data):
            self.send(416, Location=self.path, Range=f"0-{max(0, len(data) - 1)}")
        else:
            data += self.body()
            self.send(202, Location=self.path, Range=f"0-{max(0, len(data) - 1)}")

    def _store_part(self) -> None:
        _, _, upload, start = self.path.split("/")
        self.registry.parts[upload][int(start)] = self.body()
        self.send(200, ETag=f'"{hashlib.md5(self.body(), usedforsecurity=False).hexdigest()}"')

    def _finish(self, upload: str) -> None:
        parts = self.registry.parts[upload]
        data = bytes(self.registry.uploads[upload]) + b"".join(parts[start] for start in sorted(parts)) + self.body()
        digest = self.query.get("digest", "").removeprefix("sha256:")
        if hashlib.sha256(data).hexdigest() != digest:
            self.send(400, b'{"errors":[{"code":"DIGEST_INVALID"}]}')
            return
        del self.registry.uploads[upload]
        self.registry.blobs[digest] = data
        self.send(201, Docker_Content_Digest=f"sha256:{digest}")


def answers(status: int, *, times: int = 1 << 30, of: str = "/blobs/", **headers: str) -> Fault:
    """Such requests get this status."""
    left = _Counter(times)
    return lambda exchange: of in exchange.path and left.take() and exchange.send(status, b"so it is", **headers)


def drops_after(count: int, *, times: int = 1 << 30) -> Fault:
    """The connection breaks after so many bytes of a blob."""

    def fault(exchange: Exchange, data: bytes) -> None:
        start, end = exchange.send_range()
        exchange.stream(data, start, min(end, start + count))
        exchange.drop()

    return _of_blobs(fault, times)


def drops_at_once(*, of: str = "/blobs/", times: int = 1 << 30) -> Fault:
    """The connection breaks before there is an answer."""
    left = _Counter(times)
    return lambda exchange: of in exchange.path and left.take() and exchange.drop()


def sends_wrong_bytes(*, times: int = 1 << 30) -> Fault:
    """One bit of each answer is another."""

    def fault(exchange: Exchange, data: bytes) -> None:
        start, end = exchange.send_range()
        exchange.stream(data[:start] + bytes([data[start] ^ 1]) + data[start + 1 : end], start, end)

    return _of_blobs(fault, times)


def sends_fewer_bytes_than_it_says(missing: int, *, times: int = 1 << 30) -> Fault:
    """Content-Length is right, the bytes end before."""

    def fault(exchange: Exchange, data: bytes) -> None:
        start, end = exchange.send_range()
        exchange.stream(data, start, max(start, end - missing))
        exchange.drop()

    return _of_blobs(fault, times)


def sends_more_bytes_than_asked(extra: int) -> Fault:
    """A range that is longer than the one asked for, and says so."""

    def fault(exchange: Exchange, data: bytes) -> None:
        start, end = exchange.range or (0, len(data))
        told = f"bytes {start}-{end + extra - 1}/{len(data)}"
        exchange.head(206, {"Content-Length": str(end - start + extra), "Content-Range": told})
        exchange.stream(data + bytes(extra), start, end + extra)

    return _of_blobs(fault)


def sends_another_range(shift: int) -> Fault:
    """Right headers of other bytes than those asked for."""

    def fault(exchange: Exchange, data: bytes) -> None:
        start, end = exchange.range or (0, len(data))
        start = (start + shift) % len(data)
        told = f"bytes {start}-{end - 1}/{len(data)}"
        exchange.head(206, {"Content-Length": str(end - start), "Content-Range": told})
        exchange.stream(data, start, end)

    return _of_blobs(fault)


def says_another_size(size: int) -> Fault:
    """The blob has another size than in the manifest."""
    return _of_blobs(lambda exchange, data: exchange.stream(data[:size], *exchange.send_range(data[:size])))


def ignores_ranges() -> Fault:
    """All of the blob, whatever is asked for."""

    def fault(exchange: Exchange, data: bytes) -> None:
        exchange.head(200, {"Content-Length": str(len(data))})
        exchange.stream(data, 0, len(data))

    return _of_blobs(fault)


def tells_no_length() -> Fault:
    """All of the blob, and its end is that of the connection."""

    def fault(exchange: Exchange, data: bytes) -> None:
        exchange.head(200, {"Connection": "close"})
        exchange.stream(data, 0, len(data))
        exchange.drop()

    return _of_blobs(fault)


def stalls_after(count: int, seconds: float, *, times: int = 1 << 30) -> Fault:
    """Silence after so many bytes."""

    def fault(exchange: Exchange, data: bytes) -> None:
        start, end = exchange.send_range()
        exchange.stream(data, start, min(end, start + count))
        time.sleep(seconds)
        exchange.drop()

    return _of_blobs(fault, times)


def trickles(seconds: float, *, times: int = 1 << 30) -> Fault:
    """A byte now and then."""

    def fault(exchange: Exchange, data: bytes) -> None:
        start, end = exchange.send_range()
        for at in range(start, end):
            exchange.stream(data, at, at + 1)
            time.sleep(seconds)

    return _of_blobs(fault, times)


def redirects(to: Callable[[Exchange], str], *, of: str = "/v2/", status: int = 307) -> Fault:
    """What is asked for is elsewhere."""
    return lambda exchange: (
        exchange.path.startswith(of) and "/blobs/" in exchange.path and exchange.send(status, Location=to(exchange))
    )


class _Counter:
    """So many times, from any thread."""

    def __init__(self, times: int) -> None:
        self._left = times
        self._lock = threading.Lock()

    def take(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left >= 0


def _of_blobs(answer: Callable[[Exchange, bytes], object], times: int = 1 << 30) -> Fault:
    left = _Counter(times)

    def fault(exchange: Exchange) -> bool:
        if not (exchange.is_blob and left.take()):
            return False
        answer(exchange, exchange.data)
        return True

    return fault
