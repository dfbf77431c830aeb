"""OpenAI's /v1/models and /v1/chat/completions over the runtime. Translates, no more."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from puna.errors import PunaError
from puna.runtime import Delta, Finished
from puna.server import errors, replies
from puna.server.body import read
from puna.server.encoding import json_bytes
from puna.server.live import Live, LiveResponse, Service, cancelled_on_disconnect, flatten
from puna.server.ollama_models import version_number
from puna.server.openai_requests import ChatBody
from puna.store import LocalModel, ModelName

SSE = "text/event-stream"
DONE = b"data: [DONE]\n\n"


def routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.get("/v1/models")
    async def models() -> Response:
        """The models on this machine."""
        found = await service.call(service.runtime.store.list)
        return _json({"object": "list", "data": [_model(model) for model in found]})

    @router.get("/v1/models/{name:path}")
    async def model(name: str) -> Response:
        """One model."""
        return _json(_model(await service.call(service.runtime.store.resolve, name)))

    @router.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        """Answer a conversation; with `stream` as server-sent events that end in `[DONE]`."""
        body = await read(request, ChatBody)
        asked, warnings = body.requests()
        live = await service.start(asked)
        reply = _Reply(body, live, flatten([warnings, live.prompt.warnings]), int(time.time()))
        headers = replies.headers(live.prompt, reply.warnings)
        if body.stream:
            return LiveResponse(
                live,
                reply.chunks(),
                failed=partial(errors.response, "/v1"),
                failed_piece=_failed_piece,
                media_type=SSE,
                headers={**headers, "Cache-Control": "no-cache"},
            )
        async with cancelled_on_disconnect(request.receive, live):
            return _json(reply.whole(await live.collect()), headers)

    return router


@dataclass(frozen=True, slots=True)
class _Reply:
    """The answer to one request, whole or in chunks."""

    body: ChatBody
    live: Live
    warnings: Sequence[str]
    created: int  # Unix seconds

    def whole(self, results: Sequence[tuple[str, Finished]]) -> dict[str, Any]:
        """The `chat.completion` object."""
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": finished.reason,
            }
            for index, (text, finished) in enumerate(results)
        ]
        return {
            **self._head("chat.completion", choices),
            "usage": _usage([finished for _, finished in results]),
            "puna": replies.puna_object(self.live.prompt, self.warnings),
        }

    async def chunks(self) -> AsyncIterator[bytes]:
        """`chat.completion.chunk` events: each choice's role comes first, its end on a chunk of its own."""
        opened: set[int] = set()
        ends: list[Finished] = []
        async for index, event in self.live.events():
            if index not in opened:
                opened.add(index)
                yield self._chunk(index, {"role": "assistant", "content": ""})
            match event:
                case Delta():
                    yield self._chunk(index, {"content": event.text})
                case Finished():
                    ends.append(event)
                    yield self._chunk(index, {}, event.reason)
        if self.body.stream_options.include_usage:
            yield _event({**self._head("chat.completion.chunk", []), "usage": _usage(ends), "puna": self._puna()})
        yield DONE

    def _chunk(self, index: int, delta: dict[str, str], finish_reason: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk = self._head("chat.completion.chunk", [choice])
        if self.body.stream_options.include_usage:
            chunk["usage"] = None
        if finish_reason is not None:
            chunk["puna"] = self._puna()
        return _event(chunk)

    def _puna(self) -> dict[str, object]:
        return replies.puna_object(self.live.prompt, self.warnings)

    def _head(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.live.generations[0].id}",
            "object": kind,
            "created": self.created,
            "model": self.body.model,
            "system_fingerprint": f"fp_puna_{version_number()}",
            "choices": choices,
        }


def _usage(ends: Sequence[Finished]) -> dict[str, Any]:
    """Prompt tokens count once, however many choices there are."""
    prompt = ends[0].usage
    completion = sum(end.usage.completion_tokens for end in ends)
    return {
        "prompt_tokens": prompt.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": prompt.prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": prompt.cached_tokens},
    }


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


def _failed_piece(error: PunaError) -> bytes:
    return _event(errors.openai_error_body(error))


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json_bytes(value) + b"\n\n"


def _json(value: dict[str, Any], headers: Any = None) -> Response:
    return Response(json_bytes(value), headers=headers, media_type="application/json")
