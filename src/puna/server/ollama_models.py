"""Ollama's routes about the server and its models: /, version, tags, show, ps. Translates, no more."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from puna.runtime import LoadedStatus
from puna.server.body import read
from puna.server.caller import key_of
from puna.server.encoding import json_bytes
from puna.server.live import Service
from puna.server.ollama_requests import ShowBody
from puna.server.openapi import request_body
from puna.server.replies import warning_headers
from puna.server.web import page_response, wants_page
from puna.store import Details, LocalModel, describe
from puna.store.describe import metadata_of
from puna.store.layers import Config
from puna.store.recipe import modelfile_of, parameter_lines

FOREVER = timedelta(days=292 * 365)  # how Ollama writes "never": its largest duration from now
HIDDEN = (
    "general.name",
    "tokenizer.chat_template",
    "tokenizer.huggingface.json",
)  # keys of the metadata that /api/show leaves out


def routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.api_route("/", methods=["GET", "HEAD"])
    async def root(request: Request) -> Response:
        """`Ollama is running`: the heartbeat that clients look for. Browsers get the chat page."""
        if wants_page(request):
            return page_response(request)
        return PlainTextResponse("Ollama is running", headers={"Vary": "Accept"})  # what its clients look for

    @router.api_route("/api/version", methods=["GET", "HEAD"])
    async def version() -> Response:
        """The version."""
        return _json({"version": version_number()})

    @router.get("/api/status")
    async def status() -> Response:
        """That there is no cloud."""
        return _json({"cloud": {"disabled": True, "source": "none"}})

    @router.api_route("/api/tags", methods=["GET", "HEAD"])
    async def tags(request: Request) -> Response:
        """The models on this machine, as far as the key may use them."""
        models = await service.call(service.runtime.models)
        return _json({"models": [_tag(model) for model in models if key_of(request).may_use(model.name)]})

    @router.post("/api/show", openapi_extra=request_body(ShowBody))
    async def show(request: Request) -> Response:
        """What a model is: parameters, template, metadata, capabilities."""
        body = await read(request, ShowBody)
        reply = await service.call(_show, service, body)
        if request.headers.get("user-agent", "").startswith("GitHubCopilotChat/"):
            reply["model_info"]["general.basename"] = body.model  # it shows this name, as Ollama does for it
        return _json(reply, warning_headers(reply.get("warnings", ())))

    @router.api_route("/api/ps", methods=["GET", "HEAD"])
    async def ps(request: Request) -> Response:
        """The models that are loaded, as far as the key may use them."""
        key = key_of(request)
        return _json({"models": [_loaded(each) for each in service.runtime.ps() if key.may_use(each.model.name)]})

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
    told = body.warnings()
    text = service.runtime.text_model(body.required_model())
    model = replace(text.local, system=body.system or text.local.system)
    description = describe(model, verbose=body.verbose)
    config = model.config or Config()
    own = dict(model.parameters or {})
    reply: dict[str, Any] = {
        "license": "\n".join(model.licenses) or str(description.metadata.get("general.license", "")),
        "modelfile": modelfile_of(replace(model, parameters={**own, **body.options})),
        "parameters": "\n".join(parameter_lines(own)),
        "template": text.template_source,
        "system": model.system or "",
        "renderer": config.renderer,
        "parser": config.parser,
        "details": {**_details(model.details), "parent_model": model.parent},
        "messages": [{"role": message.role, "content": message.content} for message in model.messages],
        "model_info": _shown(description.metadata),
        "projector_info": metadata_of(model.projectors[0], verbose=body.verbose) if model.projectors else None,
        "tensors": [{"name": x.name, "type": x.type, "shape": list(x.shape)} for x in description.tensors],
        "capabilities": list(model.details.capabilities),
        "modified_at": model.modified.isoformat(),
        "requires": config.requires,
        "warnings": [*text.warnings, *told],
    }
    kept = ("model_info", "details", "capabilities", "modified_at", "modelfile", "template")
    return {key: value for key, value in reply.items() if value or key in kept}


def _shown(metadata: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in metadata.items() if key not in HIDDEN}


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


def _json(value: dict[str, object], headers: Mapping[str, str] | None = None) -> Response:
    return Response(json_bytes(value), headers=headers, media_type="application/json")
