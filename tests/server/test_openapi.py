"""The OpenAPI document describes every route and every field, and is a page that needs no other host."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from puna.server.openapi import field_descriptions

Document = dict[str, Any]


@pytest.fixture(scope="module")
def document(http: httpx.Client) -> Document:
    return dict(http.get("/openapi.json").json())


def operations(document: Document) -> list[tuple[str, Document]]:
    return [
        (f"{method} {path}", each) for path, methods in document["paths"].items() for method, each in methods.items()
    ]


def test_every_operation_is_described(document: Document) -> None:
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["responses"]["200"]["description"] not in ("", "Successful Response"), name
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (name, parameter["name"])


def test_every_field_is_described(document: Document) -> None:
    described = field_descriptions(document["components"]["schemas"])
    assert len(described) > 100
    assert [name for name, text in described.items() if not text.strip()] == []


def test_every_route_that_reads_a_body_says_which(document: Document) -> None:
    """Bodies are read by hand, so FastAPI would not notice."""
    without = [name for name, each in operations(document) if "requestBody" not in each]
    assert [name for name in without if not name.startswith(("get ", "delete /v1/"))] == []


def test_every_error_has_the_schema_of_its_dialect(document: Document) -> None:
    for name, operation in operations(document):
        path = name.split()[1]
        if path in ("/", "/health"):
            continue
        dialect = "anthropic" if "/v1/messages" in path else "openai" if path.startswith("/v1/") else "ollama"
        for status in ("401", "403"):
            [content] = operation["responses"][status]["content"].values()
            assert content["schema"]["$ref"].rpartition("/")[2] == f"{dialect}.Error", name


def test_references_lead_somewhere_and_nothing_is_defined_in_vain(document: Document) -> None:
    schemas = document["components"]["schemas"]
    used = set(re.findall(r"'#/components/schemas/([^']+)'", repr(document)))
    assert used == set(schemas)


def test_operations_have_names_of_their_own(document: Document) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(names) == len(set(names))


def test_the_page_shows_all_of_it_and_asks_no_other_host(http: httpx.Client, document: Document) -> None:
    answer = http.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "<script" not in answer.text
    assert not re.findall(r"(?:src|href)=\"?(?:https?:)?//", answer.text)
    for path in document["paths"]:
        assert f'<span class="path">{path}</span>' in answer.text
    for link in re.findall(r'href="#([^"]+)"', answer.text):
        assert f'id="{link}"' in answer.text, link
