"""Ollama's /api/embed and the older /api/embeddings over the runtime. Translates, no more."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fastapi import APIRouter, Request
from starlette.responses import Response

from puna.runtime import Embeddings, EmbedRequest
from puna.server.body import read
from puna.server.caller import caller
from puna.server.encoding import json_bytes
from puna.server.live import Service
from puna.server.ollama import nanoseconds
from puna.server.ollama_requests import EmbedBody, EmbeddingsBody
from puna.server.openapi import request_body
from puna.server.replies import cut_warnings, warning_headers


def routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.post("/api/embed", openapi_extra=request_body(EmbedBody))
    async def embed(request: Request) -> Response:
        """Turn texts into vectors of length 1; no text loads the model."""
        body = await read(request, EmbedBody)
        asked, warnings = body.request()
        if not asked.inputs:
            seconds = await _load(service, asked)
            costs = {"total_duration": nanoseconds(seconds), "load_duration": nanoseconds(seconds)}
            return _json({"model": body.model, "embeddings": [], **costs, "prompt_eval_count": 0}, warnings)
        made = await service.embed(asked, caller(request), request.receive)
        return _json({"model": body.model, **_embedded(made)}, (*warnings, *cut_warnings(made), *made.warnings))

    @router.post("/api/embeddings", openapi_extra=request_body(EmbeddingsBody))
    async def embeddings(request: Request) -> Response:
        """Turn one text into a vector of length 1; an empty one loads the model."""
        asked, warnings = (await read(request, EmbeddingsBody)).request()
        if not asked.inputs:
            await _load(service, asked)
            return _json({"embedding": []}, warnings)
        made = await service.embed(asked, caller(request), request.receive)
        return _json({"embedding": made.vectors[0].tolist()}, (*warnings, *cut_warnings(made), *made.warnings))

    return router


async def _load(service: Service, asked: EmbedRequest) -> float:
    """Load the model; seconds it took."""
    started = time.monotonic()
    await service.call(
        service.runtime.load, asked.model, context_length=asked.context_length, keep_alive=asked.keep_alive
    )
    return time.monotonic() - started


def _embedded(made: Embeddings) -> dict[str, object]:
    return {
        "embeddings": made.vectors.tolist(),
        "total_duration": nanoseconds(made.total_seconds),
        "load_duration": nanoseconds(made.load_seconds),
        "prompt_eval_count": sum(made.prompt_tokens),
        **({"truncated": list(made.truncated)} if made.truncated else {}),
    }


def _json(reply: dict[str, object], warnings: Sequence[str]) -> Response:
    reply |= {"warnings": list(warnings)} if warnings else {}
    return Response(json_bytes(reply), headers=warning_headers(warnings), media_type="application/json")
