"""/api/pull against a registry on loopback: Ollama's lines and words, through the real server."""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import ollama
import pytest

from puna.store import layers
from tests.store import registry_server as server
from tests.store.registry_server import RegistryServer

PARTS = [(layers.MODEL, os.urandom(3_000_000)), (layers.SYSTEM, b"Be kind.")]


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        running.add_model("library/tiny", "latest", PARTS)
        yield running


def lines(http: httpx.Client, model: str) -> list[dict[str, object]]:
    response = http.post("/api/pull", json={"model": model})
    assert (response.status_code, response.headers["content-type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in response.text.splitlines()]


def test_a_pull_tells_each_blob_with_its_digest_and_bytes_and_ends_in_success(
    http: httpx.Client, registry: RegistryServer, models: Path
) -> None:
    told = lines(http, f"{registry.host}/library/tiny")
    assert told[0] == {"status": "pulling manifest"}
    digest = hashlib.sha256(PARTS[0][1]).hexdigest()
    size = len(PARTS[0][1])
    blob = {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}", "total": size, "completed": size}
    assert blob in told
    statuses = [line["status"] for line in told]
    assert statuses[-3:] == ["verifying sha256 digest", "writing manifest", "success"]
    assert (models / "manifests" / registry.host / "library" / "tiny" / "latest").is_file()


def test_a_model_that_is_nowhere_is_an_error_in_the_stream_or_a_500(
    http: httpx.Client, registry: RegistryServer
) -> None:
    error = {"error": "pull model manifest: file does not exist"}
    assert lines(http, f"{registry.host}/library/none") == [{"status": "pulling manifest"}, error]
    whole = http.post("/api/pull", json={"model": f"{registry.host}/library/none", "stream": False})
    assert (whole.status_code, whole.json()) == (500, error)


def test_without_a_stream_the_end_is_all_there_is(http: httpx.Client, registry: RegistryServer) -> None:
    body = {"model": f"{registry.host}/library/tiny", "stream": False, "username": "me"}
    response = http.post("/api/pull", json=body).json()
    assert response["status"] == "success"
    assert response["warnings"] == ["username and password have no effect: they were ignored"]


def test_a_model_that_is_not_here_is_not_pulled_by_a_request_for_an_answer(
    http: httpx.Client, registry: RegistryServer
) -> None:
    body = {"model": f"{registry.host}/library/tiny:other", "prompt": "hi"}
    assert http.post("/api/generate", json=body).status_code == 404
    assert not registry.log


def test_a_path_of_the_server_is_no_name(http: httpx.Client) -> None:
    response = http.post("/api/pull", json={"model": "/etc/passwd"})
    assert (response.status_code, "invalid model name" in response.text) == (400, True)


def test_a_client_that_goes_away_ends_the_pull_and_what_came_stays(
    http: httpx.Client, registry: RegistryServer
) -> None:
    registry.add_model("library/slow", "latest", [(layers.MODEL, os.urandom(6_000_000))])
    registry.faults += [server.drops_after(2_500_000, times=2), server.stalls_after(10, 20.0)]
    with http.stream("POST", "/api/pull", json={"model": f"{registry.host}/library/slow"}) as response:
        for line in response.iter_lines():
            if json.loads(line).get("completed", 0) > 1 << 20:
                break
    deadline = time.monotonic() + 10
    asked = -1
    while asked != len(registry.log):  # no more is asked for
        assert time.monotonic() < deadline
        asked = len(registry.log)
        time.sleep(0.3)
    registry.faults.clear()
    sent = registry.sent
    assert lines(http, f"{registry.host}/library/slow")[-1] == {"status": "success"}
    assert registry.sent - sent < 6_000_000 - (1 << 20) + (1 << 18)


def test_ollama_s_own_client_pulls(url: str, registry: RegistryServer) -> None:
    with ollama.Client(host=url) as client:
        told = list(client.pull(f"{registry.host}/library/tiny", stream=True))
        assert told[-1].status == "success"
        assert any(step.digest and step.completed == step.total for step in told)
        with pytest.raises(ollama.ResponseError, match="file does not exist"):
            client.pull(f"{registry.host}/library/none")
