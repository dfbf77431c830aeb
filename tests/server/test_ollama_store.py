"""The store's routes: copies, deletions, uploads, with Ollama's statuses and words."""

import hashlib
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("POST", "/api/pull", {}, 400, "invalid model name"),
        ("POST", "/api/pull", {"model": "a b"}, 400, "invalid model name"),
        ("POST", "/api/push", {"model": "cria"}, 400, "cria:latest belongs to puna"),
        ("POST", "/api/create", {"model": "mine"}, 400, "neither 'from' or 'files' was specified"),
        ("POST", "/api/copy", {"source": "nope", "destination": "mine"}, 404, 'model "nope" not found'),
        ("POST", "/api/copy", {"source": "../x", "destination": "mine"}, 400, 'source "../x" is invalid'),
        ("POST", "/api/copy", {"source": "cria", "destination": ""}, 400, 'destination "" is invalid'),
        ("DELETE", "/api/delete", {"name": "cria"}, 400, "a part of the Python package puna"),
        ("DELETE", "/api/delete", {"model": "../x"}, 400, "invalid model name"),
        ("DELETE", "/api/delete", {"model": "nope"}, 404, "model 'nope' not found"),
        ("POST", "/api/blobs/sha256:..", {}, 400, "digest"),
    ],
)
def test_a_wrong_request_is_refused_in_ollama_s_words(
    http: httpx.Client, method: str, path: str, body: dict[str, Any], status: int, message: str
) -> None:
    response = http.request(method, path, json=body)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    assert message in response.json()["error"]


def test_pulling_the_model_in_the_box_succeeds(http: httpx.Client) -> None:
    lines = http.post("/api/pull", json={"model": "Cria"}).text.splitlines()
    assert lines[-1] == '{"status":"success"}'
    assert http.post("/api/pull", json={"model": "cria", "stream": False}).json() == {"status": "success"}


def test_a_copy_is_listed_answers_and_is_gone_again_once_deleted(http: httpx.Client) -> None:
    assert http.post("/api/copy", json={"source": "cria", "destination": "Me/copy"}).status_code == 200
    assert "Me/copy:latest" in names(http)
    answer = http.post("/api/generate", json={"model": "me/COPY", "prompt": "hi", "stream": False}).json()
    assert answer["done"]
    assert "Me/copy:latest" in [model["name"] for model in http.get("/api/ps").json()["models"]]
    gone = http.request("DELETE", "/api/delete", json={"model": "me/Copy"})
    assert (gone.status_code, gone.content) == (200, b"")
    assert "Me/copy:latest" not in names(http)
    assert "Me/copy:latest" not in [model["name"] for model in http.get("/api/ps").json()["models"]]
    again = http.request("DELETE", "/api/delete", json={"model": "me/Copy"})
    assert (again.status_code, again.json()) == (404, {"error": "model 'me/Copy' not found"})


def test_deleting_one_name_of_a_model_leaves_the_other_loaded(http: httpx.Client) -> None:
    for name in ("one", "two"):
        http.post("/api/copy", json={"source": "cria", "destination": name}).raise_for_status()
    http.post("/api/generate", json={"model": "one"}).raise_for_status()
    http.request("DELETE", "/api/delete", json={"model": "two"}).raise_for_status()
    assert "one:latest" in [model["name"] for model in http.get("/api/ps").json()["models"]]
    http.request("DELETE", "/api/delete", json={"model": "one"}).raise_for_status()
    assert "one:latest" not in [model["name"] for model in http.get("/api/ps").json()["models"]]


def test_an_upload_is_created_once_and_then_there(http: httpx.Client, models: Path) -> None:
    data = bytes(range(256)) * 50_000  # several pieces
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    path = models / "blobs" / digest.replace(":", "-")
    assert http.head(f"/api/blobs/{digest}").status_code == 404
    try:
        chunks = (data[start : start + 100_000] for start in range(0, len(data), 100_000))
        assert http.post(f"/api/blobs/{digest}", content=chunks).status_code == 201
        assert path.read_bytes() == data
        assert http.head(f"/api/blobs/{digest}").status_code == 200
        assert http.post(f"/api/blobs/{digest}", content=b"").status_code == 200
    finally:
        path.unlink()


def test_an_upload_of_other_bytes_is_refused_and_leaves_nothing(http: httpx.Client, models: Path) -> None:
    got = hashlib.sha256(b"other").hexdigest()
    before = set((models / "blobs").iterdir())
    answer = http.post(f"/api/blobs/{DIGEST}", content=b"other")
    assert answer.status_code == 400
    assert answer.json() == {"error": f'digest mismatch, expected "{DIGEST}", got "sha256:{got}"'}
    assert set((models / "blobs").iterdir()) == before
    assert not list((models / ".puna" / "temporary").iterdir())


def test_an_upload_that_breaks_off_leaves_nothing(http: httpx.Client, models: Path) -> None:
    with socket.create_connection((http.base_url.host, http.base_url.port or 80)) as connection:
        head = f"POST /api/blobs/{DIGEST} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\n"
        connection.sendall(head.encode() + bytes(100_000))
        wait_for(lambda: list((models / ".puna" / "temporary").iterdir()) != [])
    wait_for(lambda: list((models / ".puna" / "temporary").iterdir()) == [])


def test_a_large_upload_does_not_fill_the_memory(http: httpx.Client, models: Path) -> None:
    size = 96 << 20
    hashed = hashlib.sha256()
    for _ in range(size >> 20):
        hashed.update(bytes(1 << 20))
    digest = hashed.hexdigest()
    server = next(each for each in psutil.Process().children() if "puna.server" in " ".join(each.cmdline()))
    most = [server.memory_info().rss]

    def chunks() -> Iterator[bytes]:
        for _ in range(size >> 20):
            yield bytes(1 << 20)
            most.append(server.memory_info().rss)

    assert http.post(f"/api/blobs/sha256:{digest}", content=chunks()).status_code == 201
    (models / "blobs" / f"sha256-{digest}").unlink()
    assert max(most) - most[0] < 48 << 20


def names(http: httpx.Client) -> list[str]:
    return [model["name"] for model in http.get("/api/tags").json()["models"]]


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
