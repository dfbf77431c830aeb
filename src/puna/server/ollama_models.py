"""Ollama's routes about the server and its models: /, version, tags, show, ps. Translates, no more."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from puna.runtime import LoadedStatus
from puna.server.body import read
from puna.server.encoding import json_bytes
from puna.server.live import Service
from puna.server.ollama_requests import ShowBody
from puna.store import Details, LocalModel, describe

FOREVER = timedelta(days=292 * 365)  # how Ollama writes "never": its largest duration from now
HIDDEN = ("general.name", "tokenizer.chat_template")  # keys of the metadata that /api/show leaves out


def routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.api_route("/", methods=["GET", "HEAD"])
    async def root() -> Response:
        """`Ollama is running`: the heartbeat that clients look for."""
        return PlainTextResponse("Ollama is running")  # what its clients look for

    @router.api_route("/api/version", methods=["GET", "HEAD"])
    async def version() -> Response:
        """The version."""
        return _json({"version": version_number()})

    @router.api_route("/api/tags", methods=["GET", "HEAD"])
    async def tags() -> Response:
        """The models on this machine."""
        models = await service.call(service.runtime.store.list)
        return _json({"models": [_tag(model) for model in models]})

    @router.post("/api/show")
    async def show(request: Request) -> Response:
        """What a model is: parameters, template, metadata, capabilities."""
        body = await read(request, ShowBody)
        reply = await service.call(_show, service, body)
        if request.headers.get("user-agent", "").startswith("GitHubCopilotChat/"):
            reply["model_info"]["general.basename"] = body.model  # it shows this name, as Ollama does for it
        return _json(reply)

    @router.api_route("/api/ps", methods=["GET", "HEAD"])
    async def ps() -> Response:
        """The models that are loaded."""
        return _json({"models": [_loaded(status) for status in service.runtime.ps()]})

    return router


def version_number() -> str:
    """Numbers and dots only: Open WebUI reads each part as an integer."""
    found = re.match(r"\d+(\.\d+)*", importlib.metadata.version("puna"))
    return found[0] if found else "0.0.0"


def _tag(model: LocalModel) -> dict[str, object]:
    return {
        "name": model.name,
        "model": model.name,
        "modified_at": model.modified.isoformat(),
        "size": model.size,
        "digest": model.digest,
        "details": _details(model.details),
        "capabilities": list(model.details.capabilities),
    }


def _loaded(status: LoadedStatus) -> dict[str, object]:
    expires = status.expires_at or datetime.now().astimezone() + FOREVER
    return {
        "name": status.model.name,
        "model": status.model.name,
        "size": status.model.size,
        "digest": status.model.digest,
        "details": _details(status.model.details),
        "expires_at": expires.isoformat(),
        "size_vram": 0,
        "context_length": status.context_length,
        "puna": {"pid": status.pid, "open_requests": status.open_requests},
    }


def _show(service: Service, body: ShowBody) -> dict[str, Any]:
    text = service.runtime.text_model(body.required_model())
    model = text.local
    description = describe(model, verbose=body.verbose)
    parameters = _parameter_lines(model.parameters or {})
    reply: dict[str, Any] = {
        "license": "\n".join(model.licenses) or str(description.metadata.get("general.license", "")),
        "modelfile": _modelfile(model, parameters),
        "parameters": "\n".join(f"{name:<30} {value}" for name, value in parameters),
        "template": text.template_source,
        "system": model.system or "",
        "details": _details(model.details),
        "messages": [{"role": message.role, "content": message.content} for message in model.messages],
        "model_info": {key: value for key, value in description.metadata.items() if key not in HIDDEN},
        "tensors": [{"name": x.name, "type": x.type, "shape": list(x.shape)} for x in description.tensors],
        "capabilities": list(model.details.capabilities),
        "modified_at": model.modified.isoformat(),
        "warnings": [
            *text.warnings,
            *(f"field {name!r} is unknown: it was ignored" for name in body.unknown()),
        ],
    }
    kept = ("model_info", "details", "capabilities", "modified_at", "modelfile", "template")
    return {key: value for key, value in reply.items() if value or key in kept}


def _details(details: Details) -> dict[str, object]:
    result: dict[str, object] = {
        "parent_model": "",
        "format": "gguf",
        "family": details.family,
        "families": [details.family],
        "parameter_size": details.parameter_size,
        "quantization_level": details.quantization_level,
    }
    for name in ("context_length", "embedding_length"):
        if (value := getattr(details, name)) is not None:
            result[name] = value
    return result


def _parameter_lines(parameters: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, value) as in a Modelfile; a list has a line for each value, texts are in quotes."""
    lines = []
    for name, value in sorted(parameters.items()):
        for item in value if isinstance(value, list) else [value]:
            lines.append((name, f'"{item}"' if isinstance(item, str) else str(item)))
    return lines


def _modelfile(model: LocalModel, parameters: list[tuple[str, str]]) -> str:
    lines = ['# Modelfile generated by "puna show"', f"FROM {model.path}"]
    lines += [f"PARAMETER {name} {value}" for name, value in parameters]
    lines += [f'SYSTEM """{model.system}"""'] if model.system else []
    lines += [f"MESSAGE {message.role} {message.content}" for message in model.messages]
    return "\n".join(lines) + "\n"


def _json(value: dict[str, object]) -> Response:
    return Response(json_bytes(value), media_type="application/json")
