"""What routes reply, in OpenAPI's words: read from `replies.toml`, which says it shortly.

Knows nothing of the routes' code; that the two agree is for a test to hold.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

Schema = dict[str, Any]

REFERENCE = "#/components/schemas/"
JSON = "application/json"
_TYPES = frozenset({"string", "integer", "number", "boolean", "object"})

# What can go wrong: on every route, on one that names a thing, on one with a body, on one that generates.
_ERRORS = {
    401: "There is no key, or a wrong one.",
    403: "The key does not allow it. Without a body: the Host or Origin is a foreign one.",
    500: "An error of the server's own.",
}
_NAMED_ERRORS = {404: "There is no such model or answer."}
_BODY_ERRORS = {400: "The request is wrong; in strict mode, something in it would be ignored.", 413: "It is too large.",
                415: "It is compressed in an unknown way."}  # fmt: skip
_GENERATING_ERRORS = {
    422: "The Idempotency-Key was used for another body.",
    429: "The key's tokens of the day are used up; `Retry-After` says when it may come again.",
    503: "The server is full; `Retry-After` says when to come again.",
}


@dataclass(frozen=True, slots=True)
class Replies:
    """What `replies.toml` says."""

    schemas: dict[str, Schema]
    routes: dict[str, dict[str, Any]]  # `POST /api/chat` -> text, created, reply, stream, media, query, generates
    parameters: dict[str, str]  # of paths, by name
    headers: dict[str, str]  # of requests that generate, by name

    def successes(self, route: str) -> dict[str, Schema]:
        """The response objects of status 200 and, where the route makes something, 201."""
        said = self.routes.get(route, {})
        created = {"201": {"description": said["created"]}} if "created" in said else {}
        return {"200": self._success(said), **created}

    def _success(self, said: Mapping[str, Any]) -> Schema:
        schema = _referred(said.get("reply", ()))
        media = [said.get("media", JSON), *([said["stream"]] if "stream" in said else [])]
        # A stream has objects of that kind, one after the other, which a schema cannot say of the whole.
        contents = {each: {"schema": schema} if each == JSON else {} for each in media if each}
        return {"description": said.get("text", ""), **({"content": contents} if contents else {})}

    def errors(self, route: str, dialect: str, *, body: bool) -> dict[str, Schema]:
        """The response objects of the other statuses, by status."""
        said = self.routes.get(route, {})
        texts = {
            **_ERRORS,
            **(_NAMED_ERRORS if body or "{" in route else {}),
            **(_BODY_ERRORS if body else {}),
            **(_GENERATING_ERRORS if said.get("generates") else {}),
        }
        content = {JSON: {"schema": {"$ref": f"{REFERENCE}{dialect}.Error"}}}
        return {str(status): {"description": text, "content": content} for status, text in sorted(texts.items())}

    def request_parameters(self, route: str) -> list[Schema]:
        """The query's parameters that are read by hand, and the headers."""
        said = self.routes.get(route, {})
        found = [("query", name, text) for name, text in said.get("query", {}).items()]
        found += [("header", name, text) for name, text in self.headers.items() if said.get("generates")]
        return [
            {"in": where, "name": name, "required": False, **_described(text, "schema")} for where, name, text in found
        ]


def _referred(names: str | list[str]) -> Schema:
    """The schema of that name, or any of those names."""
    if isinstance(names, str):
        return {"$ref": REFERENCE + names}
    return {"anyOf": [_referred(name) for name in names]} if names else {}


@cache
def replies() -> Replies:
    """The file, read once."""
    said = tomllib.loads((files("puna.server") / "replies.toml").read_text("utf-8"))
    schemas = {name: _object(fields) for name, fields in said["schemas"].items()}
    return Replies(schemas, said["routes"], said["parameters"], said["headers"])


def _object(fields: dict[str, str]) -> Schema:
    required = [name for name, text in fields.items() if not text.partition(":")[0].endswith("?")]
    return {
        "type": "object",
        "properties": {name: _field(text) for name, text in fields.items()},
        **({"required": required} if required else {}),
    }


def _field(text: str) -> Schema:
    described = _described(text, "schema")
    schema = described.pop("schema")
    return {**schema, **described}


def _described(text: str, at: str) -> Schema:
    """`[string]?: Its names.` as a schema under the name `at`, and a description."""
    kind, _, description = text.partition(": ")
    return {at: _schema(kind), "description": description}


def _schema(kind: str) -> Schema:
    if kind.endswith("?"):
        schema = _schema(kind[:-1])
        return {"anyOf": [schema, {"type": "null"}]} if schema else schema
    if kind.startswith("["):
        return {"type": "array", "items": _schema(kind[1:-1])}
    if kind == "any":
        return {}
    return {"type": kind} if kind in _TYPES else {"$ref": REFERENCE + kind}
