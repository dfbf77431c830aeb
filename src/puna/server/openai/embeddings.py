"""OpenAI's /v1/embeddings over the runtime. Translates, no more."""

from __future__ import annotations

import base64
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from pydantic import Field
from starlette.responses import Response

from puna.errors import InvalidRequest
from puna.runtime import Embeddings, EmbedRequest
from puna.runtime.parameters import parse_priority
from puna.runtime.settings import keep_alive_seconds
from puna.server.body import Body, Integer, PunaBody, read
from puna.server.caller import caller
from puna.server.live import Service
from puna.server.openai.completion_requests import Texts, texts_of
from puna.server.openai.sampling import unknown_warnings
from puna.server.openai.wire import json_reply
from puna.server.openapi import request_body
from puna.server.replies import cut_warnings, refuse_if_strict, warning_headers


class EmbeddingsBody(Body):
    """/v1/embeddings."""

    model: str = Field(default="", description="The model's name.")
    input: Texts | None = Field(default=None, description="A text, its token ids, or a list of these.")
    encoding_format: Literal["float", "base64"] = Field(
        default="float", description="float: numbers; base64: little-endian float32."
    )
    dimensions: Integer | None = Field(default=None, description="Keep so many of each vector's numbers.")
    num_ctx: Integer | None = Field(default=None, description="Tokens of a text at most.")
    truncate: bool = Field(default=True, description="Cut a text longer than the context, and report it; or refuse it.")
    keep_alive: Any = Field(default=None, description='How long the model stays loaded: seconds, or "5m".')
    priority: Any = Field(default=None, description='The lane: "normal", or "background", which gives way to it.')
    puna: PunaBody = Field(default=PunaBody(), description="Whether to be strict.")

    def request(self) -> tuple[EmbedRequest, tuple[str, ...]]:
        """As the runtime takes it, with warnings. Raises InvalidRequest."""
        if not self.model.strip():
            raise InvalidRequest("model is required")
        texts = [] if self.input is None else texts_of(self.input)
        if not texts:
            raise InvalidRequest("input is required: a text, token ids, or a list of these")
        warnings = tuple(unknown_warnings(self))
        refuse_if_strict(self.puna, warnings)
        return EmbedRequest(
            model=self.model,
            inputs=tuple(texts),
            truncate=self.truncate,
            dimensions=self.dimensions,
            context_length=self.num_ctx,
            keep_alive=keep_alive_seconds(self.keep_alive),
            priority=None if self.priority is None else parse_priority("priority", self.priority),
        ), warnings


def routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.post("/v1/embeddings", openapi_extra=request_body(EmbeddingsBody))
    async def embeddings(request: Request) -> Response:
        """Turn texts into vectors of length 1."""
        body = await read(request, EmbeddingsBody)
        asked, warnings = body.request()
        made = await service.embed(asked, caller(request), request.receive)
        warnings += (*cut_warnings(made), *made.warnings)
        return json_reply(_reply(body, made, warnings), warning_headers(warnings))

    return router


def _reply(body: EmbeddingsBody, made: Embeddings, warnings: tuple[str, ...]) -> dict[str, Any]:
    encode = _base64 if body.encoding_format == "base64" else _floats
    tokens = sum(made.prompt_tokens)
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": encode(vector)}
            for index, vector in enumerate(made.vectors)
        ],
        "model": body.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "puna": {"warnings": list(warnings), "truncated": list(made.truncated)},
    }


def _floats(vector: NDArray[np.float32]) -> list[float]:
    return [float(value) for value in vector]


def _base64(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
