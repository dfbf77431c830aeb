"""/v1/models in OpenAI's shape, and in Anthropic's for its clients, which send `anthropic-version`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from puna.errors import PunaError
from puna.server import anthropic_models
from puna.server.caller import key_of
from puna.server.errors import dialect
from puna.server.live import Service
from puna.server.openai.wire import json_reply
from puna.store import LocalModel, ModelName


def routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.get("/v1/models")
    async def models(request: Request) -> Response:
        """The models on this machine, as far as the key may use them; for Anthropic's clients as they read them."""
        found = await service.call(service.runtime.store.list)
        mine = [model for model in found if key_of(request).may_use(model.name)]
        if dialect(request.scope) == "anthropic":
            return json_reply(anthropic_models.page(mine, request.query_params))
        return json_reply({"object": "list", "data": [_model(model) for model in mine]})

    @router.get("/v1/models/{name:path}")
    async def model(request: Request, name: Annotated[str, Path(description="Its name.")]) -> Response:
        """One model; for Anthropic's clients as they read it."""
        key_of(request).require_model(name)
        found = await service.call(service.runtime.store.resolve, name)
        shape = anthropic_models.model_object if dialect(request.scope) == "anthropic" else _model
        return json_reply(shape(found))

    return router


def _model(model: LocalModel) -> dict[str, object]:
    return {
        "id": model.name,
        "object": "model",
        "created": int(model.modified.timestamp()),
        "owned_by": _owner(model.name),
    }


def _owner(name: str) -> str:
    try:
        return ModelName.parse(name).namespace
    except PunaError:  # a path
        return "library"
