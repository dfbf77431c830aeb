from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from puna.client import Client, LoadedModel
from puna.errors import InvalidRequest, ModelNotFound, PunaError, ServerUnreachable


class Recorder(ThreadingHTTPServer):
    """Answers every request with one status and body, and keeps what it was asked."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.body = status, body
        self.requests: list[tuple[str, str, str | None, Any]] = []  # method, path, key, JSON body


class Handler(BaseHTTPRequestHandler):
    def answer(self) -> None:
        server = self.server
        assert isinstance(server, Recorder)
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        server.requests.append(
            (self.command, self.path, self.headers["Authorization"], json.loads(body) if body else None)
        )
        self.send_response(server.status)
        self.send_header("Content-Length", str(len(server.body)))
        self.end_headers()
        self.wfile.write(server.body)

    do_GET = do_POST = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(status: int, body: object) -> Iterator[tuple[Client, Recorder]]:
    """A client and the server it calls."""
    with Recorder(status, body if isinstance(body, bytes) else json.dumps(body).encode()) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with Client(f"http://127.0.0.1:{server.server_port}", "secret") as client:
            yield client, server
        server.shutdown()


def test_the_key_goes_along_as_a_bearer_token() -> None:
    with serving(200, {"version": "1.2"}) as (client, server):
        assert client.version() == "1.2"
    assert server.requests == [("GET", "/api/version", "Bearer secret", None)]


def test_ps_reads_what_ollama_writes() -> None:
    model = {"name": "cria:latest", "model": "cria:latest", "size": 3000, "digest": "ab12", "details": {},
             "expires_at": "2026-11-23T18:40:42.123456789Z", "size_vram": 0, "context_length": 512}  # fmt: skip
    with serving(200, {"models": [model]}) as (client, _):
        expires = datetime(2026, 11, 23, 18, 40, 42, 123456, tzinfo=UTC)
        assert client.loaded() == [LoadedModel("cria:latest", "ab12", 3000, 0, 512, expires)]


def test_stop_asks_for_a_keep_alive_of_nothing() -> None:
    with serving(200, {"done": True}) as (client, server):
        client.stop("cria")
    assert server.requests[0][:2] == ("POST", "/api/generate")
    assert server.requests[0][3] == {"model": "cria", "keep_alive": 0, "stream": False}


@pytest.mark.parametrize(
    ("status", "error", "hint"),
    [
        (404, ModelNotFound, "model 'x' not found"),
        (400, InvalidRequest, "model 'x' not found"),
        (401, InvalidRequest, "PUNA_API_KEY"),
        (500, PunaError, "failed: model 'x' not found"),
    ],
)
def test_the_server_s_refusal_is_told_in_its_own_words(status: int, error: type[PunaError], hint: str) -> None:
    with serving(status, {"error": "model 'x' not found"}) as (client, _), pytest.raises(error, match=hint):
        client.stop("x")


@pytest.mark.parametrize("body", [b"404 page not found", b"[]", b""])
def test_an_error_page_that_is_not_json_still_gives_an_error_of_ours(body: bytes) -> None:
    with serving(404, body) as (client, _), pytest.raises(ModelNotFound, match="status 404"):
        client.loaded()


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[1]", b'{"models": 3}'])
def test_something_else_on_that_port_is_not_taken_for_our_server(body: bytes) -> None:
    with serving(200, body) as (client, _), pytest.raises(PunaError, match=r"did not answer|without a list"):
        client.loaded()


def test_no_server_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUNA_HOST", "127.0.0.1:9")
    with Client() as client, pytest.raises(ServerUnreachable, match=r"http://127\.0\.0\.1:9 .*`puna serve`"):
        client.version()
