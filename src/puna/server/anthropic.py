"""Anthropic's /v1/messages and /v1/messages/count_tokens over the runtime. Translates, no more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from puna.chat import ToolCall
from puna.errors import PunaError
from puna.runtime import ChatRequest, Delta, Finished, Usage
from puna.server import errors, replies
from puna.server.anthropic_requests import CountBody, MessagesBody
from puna.server.body import read
from puna.server.caller import caller
from puna.server.encoding import json_bytes, json_text
from puna.server.live import Answer, Live, LiveResponse, Service, cancelled_on_disconnect, flatten
from puna.server.openapi import request_body
from puna.server.thinking import as_able

SSE = "text/event-stream"
MESSAGES = "/v1/messages"

Object = dict[str, Any]


def routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.post(MESSAGES, openapi_extra=request_body(MessagesBody))
    async def messages(request: Request) -> Response:
        """Answer a conversation; with `stream` as server-sent events that end in `message_stop`."""
        body = await read(request, MessagesBody)
        asked, warnings = await _asked(service, body)
        live = await service.start([asked], caller(request))
        reply = _Reply(body, live, flatten([warnings, live.prompt.warnings]))
        headers = {**replies.headers(live.prompt, reply.warnings), "request-id": f"req_{live.generations[0].id}"}
        if body.stream:
            return LiveResponse(
                live,
                reply.events(),
                failed=partial(errors.response, "anthropic"),
                failed_piece=_failed_piece,
                media_type=SSE,
                headers={**headers, "Cache-Control": "no-cache"},
            )
        async with cancelled_on_disconnect(request.receive, live):
            [answer] = await live.collect()
            return _json(reply.whole(answer), headers)

    @router.post(f"{MESSAGES}/count_tokens", openapi_extra=request_body(CountBody))
    async def count_tokens(request: Request) -> Response:
        """The tokens of a prompt, those included that would not fit the context; nothing is generated."""
        asked, warnings = await _asked(service, await read(request, CountBody))
        prompt = await service.call(service.runtime.prompt, asked)
        warnings = flatten([warnings, prompt.warnings])
        tokens = prompt.context.prompt_tokens + prompt.context.dropped_tokens
        return _json({"input_tokens": tokens}, replies.headers(prompt, warnings))

    return router


async def _asked(service: Service, body: CountBody) -> tuple[ChatRequest, tuple[str, ...]]:
    """The runtime's request, for a model that may not be able to think, with warnings."""
    asked, warnings = body.request()
    [able], unable = await as_able(service, [asked])
    replies.refuse_if_strict(body.puna, unable)
    return able, (*warnings, *unable)


@dataclass(frozen=True, slots=True)
class _Reply:
    """The answer to one request, whole or in events."""

    body: MessagesBody
    live: Live
    warnings: Sequence[str]

    def whole(self, answer: Answer) -> Object:
        """The `message` object."""
        finished, blocks = answer.finished, self._blocks(answer.whole)
        return {**self._message(blocks), **self._stop(finished), **self._end(finished)}

    async def events(self) -> AsyncIterator[bytes]:
        """`message_start`, each block's start, deltas and stop, `message_delta` with the usage, `message_stop`."""
        stream = Stream()
        first = self._start()
        async for _, event in self.live.events():
            match event:
                case Delta():
                    yield first + b"".join(map(_event, stream.delta(self._shown(event))))
                case Finished():
                    end = {"type": "message_delta", "delta": self._stop(event), **self._end(event)}
                    yield first + b"".join(map(_event, [*stream.close(), end, {"type": "message_stop"}]))
            first = b""

    def _start(self) -> bytes:
        """The prompt's tokens are all counted here; how many of them were cached is known at the end."""
        usage = _usage(len(self.live.prompt.token_ids), 0, 0)
        message = {**self._message([]), "stop_reason": None, "stop_sequence": None, "usage": usage}
        return _event({"type": "message_start", "message": message}) + _event({"type": "ping"})

    def _message(self, content: Sequence[Object]) -> Object:
        return {
            "id": f"msg_{self.live.generations[0].id}",
            "type": "message",
            "role": "assistant",
            "model": self.body.model,
            "content": content,
        }

    def _stop(self, finished: Finished) -> Object:
        return {"stop_reason": self._stop_reason(finished), "stop_sequence": finished.stop_string}

    def _stop_reason(self, finished: Finished) -> str:
        match finished.reason:
            case "tool_calls":
                return "tool_use"
            case "length" if finished.usage.completion_tokens < (self.body.max_tokens or 0):
                return "model_context_window_exceeded"
            case "length":
                return "max_tokens"
            case _:
                return "end_turn" if finished.stop_string is None else "stop_sequence"

    def _end(self, finished: Finished) -> Object:
        return {
            "usage": _final_usage(finished.usage),
            "puna": replies.puna_object(self.live.prompt, self.warnings, finished),
        }

    def _blocks(self, whole: Delta) -> list[Object]:
        """The content blocks of an answer: its thoughts, its text, its calls."""
        whole = self._shown(whole)
        return [
            *([{"type": "thinking", "thinking": whole.thinking, "signature": ""}] if whole.thinking else []),
            *([{"type": "text", "text": whole.text}] if whole.text else []),
            *({**_tool_use(call), "input": dict(call.arguments)} for call in whole.tool_calls),
        ]

    def _shown(self, delta: Delta) -> Delta:
        """Without its thoughts, where they are to be omitted."""
        thinking = self.body.thinking
        return replace(delta, thinking="") if thinking is not None and thinking.display == "omitted" else delta


class Stream:
    """The content blocks of a stream: one is open at a time, and each has its index."""

    def __init__(self) -> None:
        self._index = -1
        self._open: str | None = None  # type of the block that is open

    def delta(self, delta: Delta) -> list[Object]:
        """The events of the answer's next piece."""
        events: list[Object] = []
        if delta.thinking:
            events += self._into({"type": "thinking", "thinking": "", "signature": ""})
            events.append(self._delta({"type": "thinking_delta", "thinking": delta.thinking}))
        if delta.text:
            events += self._into({"type": "text", "text": ""})
            events.append(self._delta({"type": "text_delta", "text": delta.text}))
        for call in delta.tool_calls:
            events += [*self.close(), *self._into({**_tool_use(call), "input": {}})]
            events.append(self._delta({"type": "input_json_delta", "partial_json": json_text(dict(call.arguments))}))
        return events

    def close(self) -> list[Object]:
        """End the block that is open, if there is one."""
        if self._open is None:
            return []
        self._open = None
        return [{"type": "content_block_stop", "index": self._index}]

    def _into(self, block: Object) -> list[Object]:
        """What it takes to go on in a block of that type."""
        if self._open == block["type"]:
            return []
        end = self.close()
        self._index += 1
        self._open = block["type"]
        return [*end, {"type": "content_block_start", "index": self._index, "content_block": block}]

    def _delta(self, delta: Object) -> Object:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}


def _tool_use(call: ToolCall) -> Object:
    return {"type": "tool_use", "id": call.id, "name": call.name}


def _final_usage(usage: Usage) -> Object:
    cached = usage.cache.cached_tokens
    details = {"thinking_tokens": usage.reasoning_tokens}
    return {
        **_usage(usage.prompt_tokens - cached, cached, usage.completion_tokens),
        "output_tokens_details": details,
    }


def _usage(computed: int, cached: int, generated: int) -> Object:
    """The prompt has `computed` + `cached` tokens. Nothing is paid for putting it into the cache."""
    return {
        "input_tokens": computed,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": generated,
        "service_tier": "standard",
    }


def _failed_piece(error: PunaError) -> bytes:
    return _event({**errors.anthropic_error_body(error)})


def _event(value: Mapping[str, Any]) -> bytes:
    """A server-sent event, named for its type."""
    return f"event: {value['type']}\n".encode() + b"data: " + json_bytes(value) + b"\n\n"


def _json(value: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    return Response(json_bytes(value), headers=dict(headers), media_type="application/json")
