"""/api/plan: an answer before the download, on named devices and on the server's own machine."""

from __future__ import annotations

import httpx

from puna.store import layers
from tests.store.registry_server import RegistryServer


def test_a_model_that_is_here_on_two_devices(http: httpx.Client) -> None:
    reply = http.post("/api/plan", json={"model": "cria", "devices": ["m2", "rtx 4090"], "parallel": 2}).json()
    assert [plan["machine"] for plan in reply["plans"]] == ["M2", "RTX 4090"]
    assert {plan["verdict"] for plan in reply["plans"]} == {"fits"}
    assert reply["warnings"] == []


def test_a_model_of_a_registry_is_not_downloaded(http: httpx.Client) -> None:
    from puna.store import Store

    with RegistryServer() as registry:
        registry.add_model("library/far", "latest", [(layers.MODEL, Store().resolve("cria").path.read_bytes())])
        name = f"{registry.host}/library/far"
        reply = http.post("/api/plan", json={"model": name, "devices": ["m2"], "insecure": True}).json()
        assert reply["architecture"] == "llama"
        assert registry.sent < len(next(iter(registry.blobs.values()))) or registry.sent < 1_000_000
    assert http.post("/api/show", json={"model": name}).status_code == 404


def test_nonsense_is_refused_and_what_is_unknown_is_said(http: httpx.Client) -> None:
    for body, named in (
        ({"model": "cria", "devices": ["toaster"]}, "no device is called"),
        ({"model": "cria", "devices": ["m2"], "context": 0}, "context"),
        ({"model": "cria", "devices": ["m2"], "context": 1 << 60}, "tokens of context"),
        ({"model": "cria", "devices": ["m2"], "kv_type": "q1"}, "KV cache"),
        ({"devices": ["m2"]}, "model is required"),
    ):
        reply = http.post("/api/plan", json=body)
        assert reply.status_code == 400
        assert named in reply.json()["error"]
    told = http.post("/api/plan", json={"model": "cria", "devices": ["m2"], "color": "red"})
    assert told.json()["warnings"] == ["field 'color' is unknown: it was ignored"]
