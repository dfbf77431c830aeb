"""Strictness by body, header or server, on every dialect: what would be ignored is refused instead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.process import server_process

HI = [{"role": "user", "content": "hi"}]
BODIES: dict[str, dict[str, Any]] = {
    "/api/generate": {"model": "cria", "prompt": "hi", "stream": False},
    "/api/chat": {"model": "cria", "messages": HI, "stream": False},
    "/api/show": {"model": "cria"},
    "/api/embed": {"model": "cria", "input": "hi"},
    "/api/embeddings": {"model": "cria", "prompt": "hi"},
    "/v1/embeddings": {"model": "cria", "input": "hi"},
    "/v1/chat/completions": {"model": "cria", "messages": HI, "max_tokens": 3},
    "/v1/completions": {"model": "cria", "prompt": "hi", "max_tokens": 3},
    "/v1/responses": {"model": "cria", "input": "hi", "max_output_tokens": 3},
    "/v1/responses/input_tokens": {"model": "cria", "input": "hi"},
    "/v1/messages": {"model": "cria", "messages": HI, "max_tokens": 3},
    "/v1/messages/count_tokens": {"model": "cria", "messages": HI},
    "/tokenize": {"model": "cria", "prompt": "hi"},
    "/detokenize": {"model": "cria", "tokens": []},
}
STRICT = {"X-Puna-Strict": "true"}


@pytest.fixture(scope="module")
def strict(models: Path) -> Iterator[httpx.Client]:
    with server_process(models, strict=True) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.mark.parametrize("path", BODIES)
def test_an_unknown_field_is_a_warning_or_with_the_header_an_error(http: httpx.Client, path: str) -> None:
    body = {**BODIES[path], "bogus": 1}
    answer = http.post(path, json=body)
    assert answer.status_code == 200
    assert "bogus" in answer.headers["x-puna-warnings"]
    refused = http.post(path, json=body, headers=STRICT)
    assert refused.status_code == 400
    assert "bogus" in refused.text
    assert http.post(path, json=BODIES[path], headers=STRICT).status_code == 200


@pytest.mark.parametrize("path", BODIES)
def test_a_strict_server_refuses_for_everybody(strict: httpx.Client, path: str) -> None:
    assert strict.post(path, json={**BODIES[path], "bogus": 1}).status_code == 400
    assert strict.post(path, json=BODIES[path]).status_code == 200


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/messages"])
def test_what_only_the_runtime_ignores_is_refused_too(http: httpx.Client, path: str) -> None:
    """A context longer than the model can have is cut: the request itself says nothing unknown."""
    body = {**BODIES[path], "options": {"num_ctx": 1 << 20}}
    answer = http.post(path, json=body)
    assert "context" in answer.headers["x-puna-warnings"]
    assert http.post(path, json=body, headers=STRICT).status_code == 400
    assert http.post(path, json={**body, "puna": {"strict": True}}).status_code == 400


def test_a_header_that_is_neither_true_nor_false_is_refused(http: httpx.Client) -> None:
    for path in ("/api/chat", "/v1/chat/completions", "/v1/messages"):
        assert http.post(path, json=BODIES[path], headers={"X-Puna-Strict": "perhaps"}).status_code == 400
