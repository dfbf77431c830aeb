"""The prefix cache as clients see it: in both APIs' replies, after a restart of the server, after kill -9."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from puna import paths
from tests.server.process import server_process

QUESTION = "Please tell me everything that you know about yourself. " * 6
CHAT: dict[str, Any] = {
    "model": "cria",
    "messages": [{"role": "user", "content": QUESTION}],
    "stream": False,
    "options": {"temperature": 0, "num_predict": 8},
}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache folder with the kernels in it and nothing else."""
    kernels = paths.cache_dir() / "kernels"
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kernels").symlink_to(kernels)
    return tmp_path / "cache"


def ask(url: str) -> dict[str, Any]:
    receipt: dict[str, Any] = httpx.post(f"{url}/api/chat", json=CHAT, timeout=60).raise_for_status().json()["cache"]
    return receipt


def test_every_reply_has_a_receipt(http: httpx.Client) -> None:
    ollama = http.post("/api/chat", json=CHAT).json()
    assert set(ollama["cache"]) == {"cached_tokens", "disk_tokens", "reason", "warnings"}
    again = http.post("/api/chat", json=CHAT).json()
    cached = again["cache"]["cached_tokens"]
    assert 0 < cached < again["prompt_eval_count"]
    assert again["cache"] == {"cached_tokens": cached, "disk_tokens": 0, "reason": "", "warnings": []}
    assert again["message"] == ollama["message"], "a cached prefix changes no answer"
    body = {"model": "cria", "messages": CHAT["messages"], "temperature": 0, "max_tokens": 8}
    openai = http.post("/v1/chat/completions", json=body).json()
    assert openai["usage"]["prompt_tokens_details"] == {"cached_tokens": cached}
    assert openai["puna"]["cache"] == again["cache"]
    stream = http.post("/v1/chat/completions", json={**body, "stream": True}).text
    chunks = [json.loads(line.removeprefix("data: ")) for line in stream.split("\n\n") if line[6:7] == "{"]
    assert [chunk["puna"]["cache"] for chunk in chunks if "puna" in chunk] == [again["cache"]]
    generate = {"model": "cria", "prompt": QUESTION, "options": CHAT["options"]}
    lines = http.post("/api/generate", json=generate).text.splitlines()
    assert json.loads(lines[-1])["cache"]["cached_tokens"] == cached


def test_an_edited_message_is_said_to_differ(http: httpx.Client) -> None:
    http.post("/api/chat", json=CHAT)
    edited = [{"role": "user", "content": QUESTION[:200] + "But " + QUESTION[200:]}]
    receipt = http.post("/api/chat", json={**CHAT, "messages": edited}).json()["cache"]
    assert receipt["reason"].startswith("differs at token ")


def test_a_prefix_survives_a_restart_of_the_server_and_an_unload(models: Path, cache: Path) -> None:
    environment: dict[str, Any] = {"PUNA_CACHE": str(cache), "PUNA_PREFIX_CACHE": "100MB"}
    with server_process(models, **environment) as url:
        assert ask(url)["reason"] == "nothing cached"
        httpx.post(f"{url}/api/generate", json={"model": "cria", "keep_alive": 0}, timeout=30).raise_for_status()
        unloaded = ask(url)
    with server_process(models, **environment) as url:
        restarted = ask(url)
    assert unloaded == restarted
    assert restarted["disk_tokens"] == restarted["cached_tokens"] > 0
    assert restarted["reason"] == ""


def test_a_runner_killed_at_any_moment_leaves_a_cache_that_can_be_read(models: Path, cache: Path) -> None:
    environment: dict[str, Any] = {"PUNA_CACHE": str(cache), "PUNA_PREFIX_CACHE": "100MB"}
    with server_process(models, **environment) as url:
        for _ in range(3):
            receipt = ask(url)
            os.kill(httpx.get(f"{url}/api/ps").json()["models"][0]["puna"]["pid"], signal.SIGKILL)
            while httpx.get(f"{url}/api/ps").json()["models"]:
                time.sleep(0.01)
        receipt = ask(url)
    assert receipt["warnings"] == []
    assert receipt["disk_tokens"] % 32 == 0


def test_a_size_that_is_none_is_refused_at_the_start(models: Path) -> None:
    said = "PUNA_PREFIX_CACHE: invalid size 'lots'"
    with pytest.raises(AssertionError, match=said), server_process(models, PUNA_PREFIX_CACHE="lots"):
        pass
