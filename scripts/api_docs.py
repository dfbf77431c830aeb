"""Writes docs/api.md from the OpenAPI document: `python scripts/api_docs.py` (a test fails when it was forgotten)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from puna.runtime import Runtime
from puna.server import create_app
from puna.server.accounts import Accounts
from puna.server.docs_page import kind
from puna.server.openapi import document as openapi_document

TARGET = Path(__file__).parent.parent / "docs" / "api.md"

HEAD = """# The HTTP API

Made by `python scripts/api_docs.py` from the routes in `src/puna/server/`; do not edit by hand. A running server shows
the same at `/docs`, and for programs at `/openapi.json`.

Bodies are JSON whatever their Content-Type; null is as if the field were not there. A field that is unknown or cannot
be honoured is reported in the reply's `warnings` and in the header `x-puna-warnings`, and refused with 400 in strict
mode: `puna: {"strict": true}` in the body, the header `X-Puna-Strict: true`, or `puna serve --strict` for all. In
`options`, `draft_num_predict` is the most tokens that are guessed and checked at once (0: none). The header
`X-Puna-Priority: background` (or `normal`), or `priority` in the body (on `/api` in `options`), chooses the lane: what
is in the background gives way to everything else. A server that is full answers 503 with `Retry-After` in seconds.

With the header `Idempotency-Key` a request that generates is generated once: the same key and body again (for the same
route, by the same API key) get the same bytes from the answer there is, finished or running, with the header
`Idempotent-Replayed: true`; another body under that key is 422. A broken stream is taken up with `?after=N`, which
leaves out its first N pieces (server-sent events, or lines), or with `Last-Event-ID: N`: with a key, events have ids.
When its last client has gone, such a request goes on for 30 seconds; an answer is kept for ten minutes after its end,
as long as there is room, and an error is not kept. `DELETE` of the same route with the same key ends it at once and
forgets it: 204, or 404 where there is none. Without a key, a client that goes away ends its request.

Browsers get the chat page at `/`, a client of this API like any other; programs get Ollama's heartbeat there.

Once there is a key (`puna keys create`, `--api-key`), every route but `/`, `/health` and the page's own files under
`/web/` asks for one:
`Authorization: Bearer KEY`, or `x-api-key: KEY`. What is missing or wrong is 401, what the key does not allow 403, and
429 with `Retry-After` says that its tokens of the day (UTC) are used up. Lists show the models that the key may use.
"""

Object = dict[str, Any]


def document() -> str:
    """The whole page."""
    with Runtime() as runtime, Accounts(None) as accounts:
        described = openapi_document(create_app(runtime, accounts))
    schemas = described["components"]["schemas"]
    parts, tag, shown = [HEAD], "", set[str]()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            if operation["tags"][0] != tag:
                tag = operation["tags"][0]
                parts.append(f"## {tag}\n")
            parts.append(_operation(f"{method.upper()} {path}", operation, schemas, shown))
    parts.append("## Objects\n")
    parts += [f"### {name}\n\n{_fields(schema)}" for name, schema in schemas.items() if name not in shown]
    return "\n".join(parts)


def _operation(route: str, operation: Object, schemas: Object, shown: set[str]) -> str:
    """`shown` learns which bodies have their table here."""
    lines = [f"### {route}", "", operation["description"], ""]
    if parameters := operation.get("parameters"):
        lines += ["| parameter | in | type | |", "|---|---|---|---|"]
        lines += [
            f"| `{each['name']}` | {each['in']} | {kind(each['schema'])} | {_cell(each['description'])} |"
            for each in parameters
        ]
        lines.append("")
    for content in operation.get("requestBody", {}).get("content", {}).values():
        name = kind(content["schema"])
        lines += [_fields(schemas[name]) if name in schemas else f"The body is the file itself ({name}).\n"]
        shown.add(name)
    reply = operation["responses"]["200"]
    names = {kind(content["schema"]) for content in reply.get("content", {}).values() if content.get("schema")}
    media = ", ".join(f"`{each}`" for each in reply.get("content", {})) or "empty"
    lines += [f"Reply ({media}{''.join(f': {name}' for name in sorted(names))}): {reply['description']}", ""]
    return "\n".join(lines)


def _fields(schema: Object) -> str:
    rows = [
        f"| `{name}` | {kind(field)} | {_default(field)} | {_cell(field.get('description', ''))} |"
        for name, field in schema.get("properties", {}).items()
    ]
    return "\n".join(["| field | type | default | |", "|---|---|---|---|", *rows, ""])


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _default(schema: Object) -> str:
    return f"`{json.dumps(schema['default'])}`" if schema.get("default") is not None else ""


if __name__ == "__main__":
    TARGET.write_text(document())
