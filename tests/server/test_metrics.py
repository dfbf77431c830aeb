"""/metrics, read by Prometheus's own parser."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.server.process import server_process

CHAT = {"model": "cria", "messages": [{"role": "user", "content": "hi"}], "stream": False}
LONG = {
    "model": "cria",
    "prompt": "a",
    "raw": True,
    "options": {"num_predict": 3000, "temperature": 0, "num_ctx": 4096},
}


@pytest.fixture(scope="module")
def counted(models: Path) -> Iterator[httpx.Client]:
    """A server of its own: nobody else counts on it."""
    with server_process(models, PUNA_NUM_PARALLEL="1") as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def value(http: httpx.Client, name: str, **labels: str) -> float:
    """The sum of the samples of that name with these labels."""
    families = text_string_to_metric_families(http.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return sum(each.value for each in samples if labels.items() <= each.labels.items())


def test_an_answer_is_counted_with_its_tokens_and_times(counted: httpx.Client) -> None:
    before = {name: value(counted, f"puna_{name}_tokens_total") for name in ("prompt", "generated")}
    reply = counted.post("/api/chat", json=CHAT).json()
    model = {"model": "cria:latest"}
    assert value(counted, "puna_prompt_tokens_total", **model) - before["prompt"] == reply["prompt_eval_count"]
    assert value(counted, "puna_generated_tokens_total", **model) - before["generated"] == reply["eval_count"]
    assert value(counted, "puna_time_to_first_token_seconds_count", **model) >= 1
    assert value(counted, "puna_tokens_per_second_sum", **model) > 1
    assert value(counted, "puna_model_loaded", **model) == 1
    assert value(counted, "puna_runner_resident_bytes", **model) > 1 << 20


def test_what_the_prefix_cache_gave_is_counted(counted: httpx.Client) -> None:
    long = {**CHAT, "messages": [{"role": "user", "content": "hello there " * 40}], "options": {"num_predict": 1}}
    counted.post("/api/chat", json=long).raise_for_status()
    before = value(counted, "puna_cached_tokens_total")
    reply = counted.post("/api/chat", json=long).json()
    assert value(counted, "puna_cached_tokens_total") - before == reply["cache"]["cached_tokens"] > 0


def test_requests_are_counted_by_route_and_status_whatever_clients_send(counted: httpx.Client) -> None:
    """A path or method that anybody can make up must not become a label: each would be kept for ever."""
    for index in range(3):
        counted.get(f"/made/up/{index}")
        counted.get(f"/v1/models/nobody-{index}")
        counted.request(f"MADE{index}", "/api/chat")
    assert value(counted, "puna_http_requests_total", route="none", status="404") == 3
    assert value(counted, "puna_http_requests_total", route="/v1/models/{name:path}", status="404") == 3
    assert value(counted, "puna_http_requests_total", method="other") == 3
    assert "made" not in counted.get("/metrics").text.lower()
    counted.post("/v1/chat/completions", json=CHAT, headers={"Idempotency-Key": "metrics"}).raise_for_status()
    assert value(counted, "puna_http_requests_total", route="/v1/chat/completions", status="200") == 1
    counted.get("/api/tags", headers={"Origin": "https://evil.example"})
    assert value(counted, "puna_http_requests_total", route="/api/tags", status="403") == 1


def test_the_queue_is_what_waits_behind_the_running(counted: httpx.Client) -> None:
    counted.post("/api/generate", json={"model": "cria"}).raise_for_status()

    def ask() -> None:
        with httpx.stream("POST", f"{counted.base_url}/api/generate", json=LONG, timeout=60) as answer:
            for _ in answer.iter_lines():
                if done.is_set():
                    return

    done = threading.Event()
    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + 20
        while value(counted, "puna_requests_held") < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert value(counted, "puna_requests_running") == 1
        assert value(counted, "puna_requests_waiting") == 2
    finally:
        done.set()
        for thread in threads:
            thread.join()
