"""litellm, by each of its routes that reach us."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

ROUTES = ("ollama_chat", "ollama", "openai", "anthropic")


@pytest.fixture(scope="module")
def found(url: str) -> dict[str, Any]:
    """What `litellm_calls` printed."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.clients.litellm_calls", url]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


@pytest.mark.parametrize("route", ROUTES)
def test_a_completion_and_its_streams_are_the_same_text(found: dict[str, Any], route: str) -> None:
    chat = found["chats"][route]
    assert "中文" in chat["text"]
    assert chat["text"] == chat["streamed"] == chat["in_async"]
    assert chat["finish_reason"] == "stop"
    assert chat["completion_tokens"] == chat["streamed_tokens"] > 0


@pytest.mark.parametrize("route", ["openai", "anthropic"])
def test_it_knows_what_went_wrong(found: dict[str, Any], route: str) -> None:
    """By the words for a context that is too small it falls back to a larger model."""
    assert found["chats"][route]["too_long"] == "ContextWindowExceededError"
    assert found["chats"][route]["no_model"] == "NotFoundError"


@pytest.mark.parametrize("route", ["ollama", "ollama_chat"])
def test_of_ollama_it_knows_a_bad_request(found: dict[str, Any], route: str) -> None:
    assert found["chats"][route]["too_long"] == "BadRequestError"


@pytest.mark.parametrize("route", ["ollama", "openai"])
def test_vectors_have_the_models_size(found: dict[str, Any], route: str) -> None:
    first, second = found["embeddings"][route]
    assert first == second > 16


def test_a_text_completion(found: dict[str, Any]) -> None:
    assert found["text_completion"]
