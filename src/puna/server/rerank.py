"""/v1/rerank, as Jina's and Cohere's users call it and vLLM and llama.cpp serve it. Translates, no more."""

from __future__ import annotations

import uuid
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from puna.errors import InvalidRequest
from puna.runtime import Ranking, RankRequest
from puna.runtime.parameters import parse_priority
from puna.runtime.settings import keep_alive_seconds
from puna.server.body import Body, Integer, PunaBody, read
from puna.server.caller import caller
from puna.server.live import Service
from puna.server.openai.sampling import unknown_warnings
from puna.server.openai.wire import json_reply
from puna.server.openapi import request_body
from puna.server.replies import cut_warnings, refuse_if_strict, warning_headers


class RerankBody(Body):
    """/v1/rerank, as Cohere's and Jina's users call it."""

    model: str = Field(default="", description="The model's name.")
    query: str = Field(default="", description="What is asked for.")
    documents: list[str | dict[str, Any]] = Field(
        default_factory=list, description='The texts to put in order, or objects with a "text".'
    )
    top_n: Integer | None = Field(default=None, description="How many of the best to give; all where nobody says.")
    return_documents: bool = Field(default=False, description="Give the texts too.")
    num_ctx: Integer | None = Field(default=None, description="Tokens of query and document at most.")
    truncate: bool = Field(
        default=True, description="Cut a document that does not fit beside the query, and report it; or refuse it."
    )
    keep_alive: Any = Field(default=None, description='How long the model stays loaded: seconds, or "5m".')
    priority: Any = Field(default=None, description='The lane: "normal", or "background", which gives way to it.')
    puna: PunaBody = Field(default=PunaBody(), description="Whether to be strict.")

    def request(self) -> tuple[RankRequest, tuple[str, ...]]:
        """As the runtime takes it, with warnings. Raises InvalidRequest."""
        if not self.model.strip():
            raise InvalidRequest("model is required")
        if self.top_n is not None and self.top_n < 1:
            raise InvalidRequest(f"top_n must be at least 1, not {self.top_n}")
        warnings = tuple(unknown_warnings(self))
        refuse_if_strict(self.puna, warnings)
        return RankRequest(
            model=self.model,
            query=self.query,
            documents=tuple(_text(index, document) for index, document in enumerate(self.documents)),
            truncate=self.truncate,
            context_length=self.num_ctx,
            keep_alive=keep_alive_seconds(self.keep_alive),
            priority=None if self.priority is None else parse_priority("priority", self.priority),
        ), warnings


def routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.post("/v1/rerank", openapi_extra=request_body(RerankBody))
    async def rerank(request: Request) -> Response:
        """Put texts in the order in which they answer a query, by a model that ranks."""
        body = await read(request, RerankBody)
        asked, warnings = body.request()
        made = await service.rank(asked, caller(request), request.receive)
        warnings += (*cut_warnings(made), *made.warnings)
        return json_reply(_reply(body, asked, made, warnings), warning_headers(warnings))

    return router


def _text(index: int, document: str | dict[str, Any]) -> str:
    text = document if isinstance(document, str) else document.get("text")
    if not isinstance(text, str):
        raise InvalidRequest(f'documents[{index}] has no "text"')
    return text


def _reply(body: RerankBody, asked: RankRequest, made: Ranking, warnings: tuple[str, ...]) -> dict[str, Any]:
    order = sorted(range(len(made.scores)), key=lambda index: (-made.scores[index], index))
    tokens = sum(made.prompt_tokens)
    return {
        "id": f"rerank-{uuid.uuid4().hex}",
        "object": "list",
        "model": body.model,
        "results": [_result(index, asked, made, with_text=body.return_documents) for index in order[: body.top_n]],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "puna": {"warnings": list(warnings), "truncated": list(made.truncated)},
    }


def _result(index: int, asked: RankRequest, made: Ranking, *, with_text: bool) -> dict[str, Any]:
    document = {"document": {"text": asked.documents[index]}} if with_text else {}
    return {"index": index, "relevance_score": made.scores[index], **document}
