"""/api/push against a registry on loopback: Ollama's progress objects, its errors, and what a key may push."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from puna.store import Store, management
from puna.store.names import ModelName
from tests.store.registry.models import add_model
from tests.store.registry_server import RegistryServer, answers

WEIGHTS = bytes(100_000)


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        yield running


@pytest.fixture
def model(models: Path, registry: RegistryServer) -> Iterator[ModelName]:
    """One of the server's, gone afterwards."""
    name = ModelName.parse(f"{registry.host}/you/model:v1")
    add_model(Store(models), str(name), WEIGHTS)
    yield name
    management.remove(models, name)


def push(http: httpx.Client, body: dict[str, object]) -> list[dict[str, object]]:
    response = http.post("/api/push", json=body)
    assert response.headers["Content-Type"] == "application/x-ndjson"
    return [json.loads(line) for line in response.text.splitlines()]


def test_the_lines_of_a_push_are_those_that_ollama_s_clients_read(
    http: httpx.Client, models: Path, registry: RegistryServer, model: ModelName
) -> None:
    lines = push(http, {"model": str(model)})
    assert lines[0] == {"status": "retrieving manifest"}
    assert lines[-2:] == [{"status": "pushing manifest"}, {"status": "success"}]
    blobs = [line for line in lines if "digest" in line]
    assert all(line["status"] == f"pushing {str(line['digest'])[7:19]}" for line in blobs)
    assert any(line["completed"] == line["total"] == len(WEIGHTS) for line in blobs)
    assert registry.manifests["you/model", "v1"] == management.existing(models, model).read_bytes()
    assert http.post("/api/push", json={"model": str(model), "stream": False}).json() == {"status": "success"}


def test_a_refusal_in_the_middle_is_the_last_line_and_no_success(
    http: httpx.Client, registry: RegistryServer, model: ModelName
) -> None:
    registry.faults.append(answers(403, of="/manifests/"))
    lines = push(http, {"model": str(model)})
    assert set(lines[-1]) == {"error"}
    assert "403" in str(lines[-1]["error"])
    response = http.post("/api/push", json={"model": str(model), "stream": False})
    assert response.status_code == 500
    assert "403" in response.json()["error"]


def test_http_to_another_machine_needs_insecure(http: httpx.Client) -> None:
    response = http.post("/api/push", json={"model": "http://registry.example/you/model"})
    assert response.status_code == 400
    assert "insecure" in response.json()["error"]
