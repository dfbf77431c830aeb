"""Writes docs/api.md from the server's routes: `python scripts/api_docs.py` (a test fails when it was forgotten)."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute

from puna.runtime import Runtime
from puna.server import create_app
from puna.server.body import Body
from puna.server.ollama_requests import ChatBody, GenerateBody, ShowBody
from puna.server.openai_requests import ChatBody as OpenAIChatBody

TARGET = Path(__file__).parent.parent / "docs" / "api.md"

HEAD = """# The HTTP API

Made by `python scripts/api_docs.py` from the routes in `src/puna/server/`; do not edit by hand.

Bodies are JSON whatever their Content-Type. A field that is not in the table is reported in the reply's `warnings`, and
refused with 400 where the request says `puna: {"strict": true}`; so are `tools` for now. `format` and
`response_format` hold the answer to JSON or to a JSON schema; what is no schema is refused with 400. In `options`,
`draft_num_predict` is the most tokens that are guessed and checked at once (0: none). The header
`X-Puna-Priority: background` (or `normal`), or `priority` in the body (on `/api` in `options`), chooses the lane: what
is in the background gives way to everything else. A server that is full answers 503 with `Retry-After` in seconds.
With an API key every route but `/` asks for `Authorization: Bearer KEY`.
"""

BODIES: dict[str, type[Body]] = {
    "/api/generate": GenerateBody,
    "/api/chat": ChatBody,
    "/api/show": ShowBody,
    "/v1/chat/completions": OpenAIChatBody,
}


def document() -> str:
    """The whole page."""
    with Runtime() as runtime:
        found = _routes(create_app(runtime).router)
    return "\n".join([HEAD, *map(_route, found)])


def _routes(router: Any) -> list[APIRoute]:
    """The routes of a router and of those it includes."""
    found = []
    for route in router.routes:
        below = getattr(route, "original_router", None)
        found += [route] if isinstance(route, APIRoute) else _routes(below) if below else []
    return found


def _route(route: APIRoute) -> str:
    lines = [f"## {', '.join(sorted(route.methods or ()))} {route.path}", "", inspect.getdoc(route.endpoint) or "", ""]
    if body := BODIES.get(route.path):
        properties = body.model_json_schema()["properties"]
        lines += ["| field | type | default |", "|---|---|---|", *map(_field, properties, properties.values()), ""]
    return "\n".join(lines)


def _field(name: str, schema: dict[str, Any]) -> str:
    default = json.dumps(schema["default"]) if "default" in schema else ""
    return f"| `{name}` | {_kind(schema)} | {default} |"


def _kind(schema: dict[str, Any]) -> str:
    """A JSON schema in a few words."""
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2].removesuffix("Body").lower()
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    return str(schema.get("type", "any"))


if __name__ == "__main__":
    TARGET.write_text(document())
