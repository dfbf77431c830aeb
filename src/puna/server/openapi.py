"""The OpenAPI document at /openapi.json, and the same as a page at /docs that asks no other host for anything.

Bodies are read by hand (`body.read`), which FastAPI does not see: a route says what it takes with
`openapi_extra=request_body(Kind)`. Knows nothing of what the routes do.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.responses import HTMLResponse, Response

from puna.server.docs_page import page
from puna.server.encoding import json_bytes
from puna.server.reply_schemas import REFERENCE, Replies, replies

SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`."},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key", "description": "As Anthropic's clients do."},
}

# What each part of the API is, by how its paths begin; the first that fits.
_TAGS = (
    ("/api/usage", "Puna's own"),
    ("/api/", "Ollama's API"),
    ("/v1/messages", "Anthropic's API"),
    ("/v1/", "OpenAI's API"),
    ("/", "Puna's own"),
)
_ORDER = ("Ollama's API", "OpenAI's API", "Anthropic's API", "Puna's own")
_ERROR_SHAPES = dict(zip(_ORDER, ("ollama", "openai", "anthropic", "ollama"), strict=True))


def request_body(kind: type[BaseModel], media: str = "application/json") -> dict[str, Any]:
    """The part of an operation that says it takes `kind`, as JSON or a form; for `openapi_extra` of a route."""
    space = re.sub(r"[._]requests$", "", kind.__module__.removeprefix("puna.server."))
    schema = kind.model_json_schema(ref_template=f"{REFERENCE}{space}.{{model}}")
    below = {f"{space}.{name}": each for name, each in schema.pop("$defs", {}).items()}
    name = f"{space}.{kind.__name__}"
    for each in (schema, *below.values()):
        for field in each.get("properties", {}).values():
            if "$ref" in field:  # pydantic leaves out a description that is the one of what it refers to
                field.setdefault("description", below[field["$ref"].removeprefix(REFERENCE)].get("description", ""))
    return {
        "requestBody": {
            "required": True,
            "content": {media: {"schema": {"$ref": REFERENCE + name}}},
        },
        "x-schemas": {name: schema, **below},  # `document` moves them to where the references point
    }


def routes() -> APIRouter:
    """The routes of the document and of its page."""
    router = APIRouter()

    @router.get("/openapi.json")
    async def openapi(request: Request) -> Response:
        """This description of the API, as an OpenAPI 3.1 document."""
        return Response(json_bytes(document(request.app)), media_type="application/json")

    @router.get("/docs")
    async def docs(request: Request) -> Response:
        """The same description as a page to read. It holds no script and asks no other host for anything."""
        policy = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return HTMLResponse(page(document(request.app)), headers=policy)

    return router


def document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of all routes, made once for an application."""
    if app.openapi_schema is None:
        app.openapi_schema = _document(app)
    return app.openapi_schema


def _document(app: FastAPI) -> dict[str, Any]:
    with warnings.catch_warnings():
        # A route for GET and HEAD is one operation to us; FastAPI would warn of its one name.
        warnings.filterwarnings("ignore", "Duplicate Operation ID")
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    said = replies()
    schemas = dict(said.schemas)
    for path, methods in made["paths"].items():
        if "get" in methods:
            methods.pop("head", None)  # the same without its body
        for method, operation in methods.items():
            schemas.update(operation.pop("x-schemas", {}))
            methods[method] = _operation(said, method, path, operation)
    made["paths"] = dict(sorted(made["paths"].items(), key=lambda item: _ORDER.index(_tag(item[0]))))
    used = _used(made["paths"], schemas)
    made["components"] = {
        "schemas": {name: schemas[name] for name in sorted(used)},
        "securitySchemes": SECURITY,
    }
    made["security"] = [{}, *({name: []} for name in SECURITY)]  # where the server asks for a key, one of these
    return made


def _operation(said: Replies, method: str, path: str, operation: dict[str, Any]) -> dict[str, Any]:
    """An operation as FastAPI sees it, with what it does not see."""
    route, tag = f"{method.upper()} {path}", _tag(path)
    parameters = [
        {"description": said.parameters.get(each["name"], ""), **each} for each in operation.get("parameters", [])
    ] + said.request_parameters(route)
    errors = said.errors(route, _ERROR_SHAPES[tag], body="requestBody" in operation)
    return {
        **operation,
        "operationId": method + re.sub(r"\W+", "_", path).rstrip("_"),  # the same whatever the function is called
        "tags": [tag],
        "summary": _summary(operation.get("description", "")),
        **({"parameters": parameters} if parameters else {}),
        "responses": {**said.successes(route), **errors},
    }


def _used(value: object, schemas: Mapping[str, Any], found: frozenset[str] = frozenset()) -> frozenset[str]:
    """Names of the schemas that a value refers to, and those that these refer to."""
    new = frozenset(re.findall(rf"'{REFERENCE}([^']+)'", repr(value))) - found
    found |= new
    for name in new:
        found |= _used(schemas[name], schemas, found)
    return found


def _tag(path: str) -> str:
    return next(tag for start, tag in _TAGS if path.startswith(start))


def _summary(description: str) -> str:
    """Its first sentence."""
    return re.split(r"(?<=[.:;])\s", inspect.cleandoc(description).replace("\n", " "), maxsplit=1)[0].rstrip(".:;")


def field_descriptions(schemas: Mapping[str, Any]) -> dict[str, str]:
    """Every field of every schema, as `schema.field`, with its description ("" where there is none)."""
    return {
        f"{name}.{field}": str(value.get("description", ""))
        for name, schema in schemas.items()
        for field, value in schema.get("properties", {}).items()
    }
