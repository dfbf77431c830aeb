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
from puna.server.caller import caller
from puna.server.encoding import json_bytes
from puna.server.live import Answer, Live, LiveResponse, Service, cancelled_on_disconnect, flatten
from puna.server.ollama_models import version_number
from puna.server.openai_requests import ChatBody
from puna.store import LocalModel, ModelName

SSE = "text/event-stream"
DONE = b"data: [DONE]\n\n"
FINGERPRINT = f"fp_puna_{version_number()}"  # looked up once: it takes as long as sending two chunks


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
        live = await service.start(asked, caller(request))
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

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """The `chat.completion` object."""
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": answer.whole.text, "refusal": None},
                "logprobs": _logprobs(answer.whole),
                "finish_reason": answer.finished.reason,
            }
            for index, answer in enumerate(answers)
        ]
        return {
            **self._head("chat.completion", choices),
            "usage": _usage([answer.finished for answer in answers]),
            "puna": self._puna(answers[0].finished),
        }

    async def chunks(self) -> AsyncIterator[bytes]:
        """`chat.completion.chunk` events: each choice's role comes first, its end on a chunk of its own."""
        opened: set[int] = set()
        ends: list[Finished] = []
        async for index, event in self.live.events():
            if index not in opened:
                opened.add(index)
                yield self._chunk(index, {"role": "assistant", "content": ""}, None)
            match event:
                case Delta():
                    yield self._chunk(index, {"content": event.text}, _logprobs(event))
                case Finished():
                    ends.append(event)
                    yield self._chunk(index, {}, None, event)
        if self.body.stream_options.include_usage:
            last = self._head("chat.completion.chunk", [])
            yield _event({**last, "usage": _usage(ends), "puna": self._puna(ends[0])})
        yield DONE

    def _chunk(
        self, index: int, delta: dict[str, str], logprobs: dict[str, Any] | None, finished: Finished | None = None
    ) -> bytes:
        finish_reason = None if finished is None else finished.reason
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        chunk = self._head("chat.completion.chunk", [choice])
        if self.body.stream_options.include_usage:
            chunk["usage"] = None
        if finished is not None:
            chunk["puna"] = self._puna(finished)
        return _event(chunk)

    def _puna(self, finished: Finished) -> dict[str, object]:
        return replies.puna_object(self.live.prompt, self.warnings, finished.usage.cache)

    def _head(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.live.generations[0].id}",
            "object": kind,
            "created": self.created,
            "model": self.body.model,
            "system_fingerprint": FINGERPRINT,
            "choices": choices,
        }


def _logprobs(delta: Delta) -> dict[str, Any] | None:
    """The log-probabilities of its tokens, where they were asked for. Each has `top_logprobs`, if only an empty one."""
    if not delta.logprobs:
        return None
    return {
        "content": [{"top_logprobs": [], **replies.logprob_object(token)} for token in delta.logprobs],
        "refusal": None,
    }


def _usage(ends: Sequence[Finished]) -> dict[str, Any]:
    """Prompt tokens count once, however many choices there are."""
    prompt = ends[0].usage
    completion = sum(end.usage.completion_tokens for end in ends)
    drafted = sum(end.usage.drafted_tokens for end in ends)
    accepted = sum(end.usage.accepted_tokens for end in ends)
    return {
        "prompt_tokens": prompt.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": prompt.prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": prompt.cache.cached_tokens},
        "completion_tokens_details": {
            "accepted_prediction_tokens": accepted,
            "rejected_prediction_tokens": drafted - accepted,
        },
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
