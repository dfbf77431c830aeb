"""Real replies are what the OpenAPI document says: no field is missing there, none is said in vain."""

from __future__ import annotations

import copy
import json
from typing import Any

import httpx
import jsonschema_rs
import pytest

from puna.server.idempotency import GENERATING
from puna.server.reply_schemas import replies

HI = [{"role": "user", "content": "hi"}]
TOOL = {
    "type": "function",
    "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}}},
}
# fmt: off
REQUESTS: list[tuple[str, dict[str, Any] | None]] = [
    ("GET /health", None),
    ("GET /api/usage", None),
    ("GET /api/version", None),
    ("GET /api/tags", None),
    ("GET /api/ps", None),
    ("GET /api/status", None),
    ("POST /api/embed", {"model": "cria", "input": ["hi", "hello"], "bogus": 1}),
    ("POST /api/embeddings", {"model": "cria", "prompt": "hi"}),
    ("POST /api/pull", {"model": "cria"}),
    ("POST /api/show", {"model": "cria", "verbose": True, "bogus": 1}),
    ("POST /api/generate", {"model": "cria", "prompt": "hi", "stream": False, "logprobs": True, "top_logprobs": 2}),
    ("POST /api/generate", {"model": "cria", "prompt": "hi", "bogus": 1}),
    ("POST /api/generate", {"model": "cria"}),
    ("POST /api/generate", {"model": "cria", "prompt": "hi", "_debug_render_only": True}),
    ("POST /api/chat", {"model": "cria", "messages": HI, "format": "json", "options": {"num_predict": 9}}),
    ("POST /api/chat", {"model": "cria", "messages": HI, "stream": False, "tools": [TOOL]}),
    ("POST /api/embed", {"model": "cria", "input": "word " * 3000}),
    ("POST /api/push", {"model": "nobody"}),
    ("GET /v1/models", None),
    ("GET /v1/models/cria", None),
    ("POST /v1/chat/completions", {"model": "cria", "messages": HI, "logprobs": True, "store": True}),
    ("POST /v1/chat/completions", {"model": "cria", "messages": HI, "tools": [TOOL], "n": 2}),
    ("GET /v1/chat/completions", None),
    ("POST /v1/completions", {"model": "cria", "prompt": ["hi", "ho"], "logprobs": 2, "max_tokens": 5}),
    ("POST /v1/embeddings", {"model": "cria", "input": ["hi", "hello"], "dimensions": 8}),
    ("POST /v1/responses", {"model": "cria", "input": "hi"}),
    ("POST /v1/responses/input_tokens", {"model": "cria", "input": "hi"}),
    ("POST /v1/messages", {"model": "cria", "messages": HI, "max_tokens": 30}),
    ("POST /v1/messages/count_tokens", {"model": "cria", "messages": HI}),
    ("GET /v1/files", None),
    ("POST /v1/vector_stores", {"name": "schemas", "bogus": 1, "expires_after": {"days": 1}}),
    ("GET /v1/vector_stores", None),
    ("POST /v1/vector_stores/schemas/search", {"query": "nothing is there"}),
    ("GET /v1/vector_stores/schemas/files", None),
    ("DELETE /v1/vector_stores/schemas", None),
    ("POST /tokenize", {"model": "cria", "prompt": "hi", "return_token_strs": True}),
    ("POST /tokenize", {"model": "cria", "content": "hi", "with_pieces": True}),
    ("POST /detokenize", {"model": "cria", "tokens": [300, 301]}),
    ("POST /api/chat", {"model": "nobody", "messages": HI}),
    ("POST /v1/chat/completions", {"model": "nobody", "messages": HI}),
    ("POST /v1/messages", {"model": "nobody", "messages": HI, "max_tokens": 3}),
]
# fmt: on


@pytest.fixture(scope="module")
def document(http: httpx.Client) -> dict[str, Any]:
    """The document, in which no object of a reply may have a field that it does not name."""
    made: dict[str, Any] = copy.deepcopy(http.get("/openapi.json").json())
    for schema in made["components"]["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return made


@pytest.mark.parametrize(
    ("route", "body"), REQUESTS, ids=[f"{index} {route}" for index, (route, _) in enumerate(REQUESTS)]
)
def test_a_reply_has_the_fields_it_is_said_to_have(
    http: httpx.Client, document: dict[str, Any], route: str, body: dict[str, Any] | None
) -> None:
    method, path = route.split()
    answer = http.request(method, path, json=body)
    named = path.replace("/v1/models/cria", "/v1/models/{name}").replace("/schemas", "/{vector_store_id}")
    declared = document["paths"][named][method.lower()]
    schema = declared["responses"][str(answer.status_code)]["content"]["application/json"]["schema"]
    whole = {**schema, "components": document["components"]}
    for line in answer.text.splitlines():
        errors = [error.message for error in jsonschema_rs.validator_for(whole).iter_errors(json.loads(line))]
        assert errors == [], line


def test_every_described_route_is_there_and_every_schema_is_used(document: dict[str, Any]) -> None:
    there = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    assert set(replies().routes) == there
    assert set(replies().schemas) <= set(document["components"]["schemas"])


def test_the_routes_said_to_generate_are_those_that_take_an_idempotency_key() -> None:
    generating = {route.split()[1] for route, said in replies().routes.items() if said.get("generates")}
    assert generating == GENERATING
