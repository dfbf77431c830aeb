"""Ollama's /api/generate and /api/chat over the runtime. Translates, no more."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeAlias

from fastapi import APIRouter, Request
from starlette.responses import Response

from puna.runtime import ChatRequest, CompletionRequest, Delta, Finished, Usage
from puna.server import errors, replies
from puna.server.body import read
from puna.server.caller import caller
from puna.server.documents import Documents
from puna.server.encoding import json_bytes
from puna.server.file_search import NOTHING as NOTHING_SEARCHED
from puna.server.file_search import Searched, search, searches
from puna.server.live import Live, LiveResponse, Service, cancelled_on_disconnect, flatten
from puna.server.ollama_messages import call_objects
from puna.server.ollama_requests import ChatBody, GenerateBody, GenerationBody
from puna.server.openapi import request_body
from puna.server.replies import refuse_if_strict

NDJSON = "application/x-ndjson"

# (a piece of the answer, how many calls came before it) -> the fields of the reply that carry it
Piece: TypeAlias = Callable[[Delta, int], dict[str, object]]
NOTHING = Delta("")


def routes(service: Service, documents: Documents) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.post("/api/generate", openapi_extra=request_body(GenerateBody))
    async def generate(request: Request) -> Response:
        """Complete a prompt; an empty one loads the model, with keep_alive 0 unloads it. NDJSON unless told not to."""
        body = await read(request, GenerateBody)
        body.required_model()
        asked, warnings = body.request()
        if not body.prompt and not body.images:
            return await _load_or_unload(service, body, warnings, _response)
        return await _answer(service, request, body, asked, warnings, _response)

    @router.post("/api/chat", openapi_extra=request_body(ChatBody))
    async def chat(request: Request) -> Response:
        """Answer a conversation; no messages: load or unload the model. NDJSON unless told not to."""
        body = await read(request, ChatBody)
        body.required_model()
        asked, warnings = body.request()
        if not body.messages:
            return await _load_or_unload(service, body, warnings, _message)
        [asked], searched = await search(documents, searches(body.tools), [asked], caller(request))
        refuse_if_strict(body.puna, searched.warnings)
        return await _answer(service, request, body, asked, (*warnings, *searched.warnings), _message, searched)

    return router


async def _load_or_unload(service: Service, body: GenerationBody, warnings: Sequence[str], piece: Piece) -> Response:
    """No prompt: the model is loaded, or with keep_alive 0 unloaded."""
    keep_alive = body.keep_alive_seconds
    if keep_alive == 0:
        await service.call(service.runtime.unload, body.model)
        reason = "unload"
    else:
        options, _ = body.runtime_options()
        await service.call(
            service.runtime.load, body.model, context_length=options.context_length, keep_alive=keep_alive
        )
        reason = "load"
    told = {"warnings": list(warnings)} if warnings else {}
    reply = {**_head(body.model), **piece(NOTHING, 0), "done": True, "done_reason": reason, **told}
    return _json(reply, replies.warning_headers(warnings))


async def _answer(
    service: Service,
    request: Request,
    body: GenerationBody,
    asked: ChatRequest | CompletionRequest,
    warnings: Sequence[str],
    piece: Piece,
    searched: Searched = NOTHING_SEARCHED,
) -> Response:
    if body.debug_render_only:
        prompt = await service.call(service.runtime.prompt, asked)
        headers = replies.headers(prompt, flatten([warnings, prompt.warnings]))
        return _json({**_head(body.model), "_debug_info": replies.debug_object(prompt)}, headers)
    live = await service.start([asked], caller(request))
    warnings = flatten([warnings, live.prompt.warnings])
    headers = replies.headers(live.prompt, warnings)
    last = partial(_last, asked, live, warnings, searched)
    if body.stream:
        return LiveResponse(
            live,
            _lines(body.model, live, piece, last),
            failed=partial(errors.response, "ollama"),
            failed_piece=lambda error: _line(errors.ollama_body(str(error))),
            media_type=NDJSON,
            headers=headers,
        )
    async with cancelled_on_disconnect(request.receive, live):
        [answer] = await live.collect()
    return _json({**_head(body.model), **_content(answer.whole, piece, 0), **last(answer.finished)}, headers)


async def _lines(
    model: str, live: Live, piece: Piece, last: Callable[[Finished], dict[str, Any]]
) -> AsyncIterator[bytes]:
    calls = 0
    async for _, event in live.events():
        match event:
            case Delta():
                yield _line({**_head(model), **_content(event, piece, calls), "done": False})
                calls += len(event.tool_calls)
            case Finished():
                yield _line({**_head(model), **piece(NOTHING, calls), **last(event)})


def _content(delta: Delta, piece: Piece, calls_before: int) -> dict[str, object]:
    """A piece of the answer, and the log-probabilities of its tokens where they were asked for."""
    logprobs = [replies.logprob_object(token) for token in delta.logprobs]
    return {**piece(delta, calls_before), **({"logprobs": logprobs} if logprobs else {})}


def _last(
    asked: ChatRequest | CompletionRequest, live: Live, warnings: Sequence[str], searched: Searched, finished: Finished
) -> dict[str, object]:
    """What only the last object has."""
    reason = "stop" if finished.reason == "tool_calls" else finished.reason  # Ollama has no word of its own for it
    result: dict[str, object] = {"done": True, "done_reason": reason, **_metrics(finished.usage)}
    result |= replies.enforced_object(finished)
    result["cache"] = replies.cache_object(finished.usage.cache)
    report = replies.context_object(live.prompt.context)
    if isinstance(asked, ChatRequest):
        result["context"] = report
    else:  # there `context` is already the token ids of the exchange
        result["puna_context"] = report
        if not asked.raw:
            result["context"] = [*live.prompt.token_ids, *finished.token_ids]
    if searched.ran:
        result["sources"] = searched.results()
    if warnings:
        result["warnings"] = list(warnings)
    return result


def _metrics(usage: Usage) -> dict[str, object]:
    """Durations in whole nanoseconds, never 0: clients divide by them."""
    return {
        "total_duration": nanoseconds(usage.total_seconds),
        "load_duration": nanoseconds(usage.load_seconds),
        "prompt_eval_count": usage.prompt_tokens,
        "prompt_eval_duration": nanoseconds(usage.prompt_seconds),
        "eval_count": usage.completion_tokens,
        "eval_duration": nanoseconds(usage.decode_seconds),
    }


def nanoseconds(seconds: float) -> int:
    """Whole nanoseconds, at least 1."""
    return max(1, round(seconds * 1e9))


def _response(delta: Delta, _calls_before: int) -> dict[str, object]:
    return {"response": delta.text, **_thinking(delta)}


def _message(delta: Delta, calls_before: int) -> dict[str, object]:
    calls = {"tool_calls": call_objects(delta.tool_calls, calls_before)} if delta.tool_calls else {}
    return {"message": {"role": "assistant", "content": delta.text, **_thinking(delta), **calls}}


def _thinking(delta: Delta) -> dict[str, object]:
    return {"thinking": delta.thinking} if delta.thinking else {}


def _head(model: str) -> dict[str, object]:
    return {"model": model, "created_at": _now()}


def _now() -> str:
    """RFC 3339 with nanoseconds, UTC."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def _line(value: dict[str, object]) -> bytes:
    return json_bytes(value) + b"\n"


def _json(value: dict[str, object], headers: Any = None) -> Response:
    return Response(json_bytes(value), headers=headers, media_type="application/json")
