"""OpenAI's /v1/chat/completions over the runtime: translates, and keeps the answers it is told to."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from puna.chat import ToolCall
from puna.runtime import ChatRequest, Delta, Finished
from puna.server import replies
from puna.server.body import Body, read
from puna.server.caller import caller
from puna.server.documents import Documents
from puna.server.file_search import Searched, search, searches
from puna.server.live import Answer, Live, Service, cancelled_on_disconnect, flatten, joined
from puna.server.openai.chat_requests import ChatBody
from puna.server.openai.stored import PAGE_PARAMETERS, Page, Stored, StoredAnswers
from puna.server.openai.wire import DONE, FINGERPRINT, arguments_text, event, json_reply, stream, usage
from puna.server.openapi import request_body
from puna.server.replies import refuse_if_strict
from puna.server.thinking import as_able

PATH = "/v1/chat/completions"
_METADATA = re.compile(r"metadata\[(.*)\]")  # how a query string writes metadata={"key": ...}
_FILTERS = [
    {"name": "model", "in": "query", "description": "Only answers of this model.", "schema": {"type": "string"}},
    {
        "name": "metadata",
        "in": "query",
        "description": "Only answers whose metadata has these values.",
        "style": "deepObject",
        "schema": {"type": "object", "additionalProperties": {"type": "string"}},
    },
]


class MetadataBody(Body):
    """POST /v1/chat/completions/{id}."""

    metadata: dict[str, str] = Field(default_factory=dict, description="What is kept with the answer from now on.")


def routes(service: Service, documents: Documents) -> APIRouter:
    """The routes."""
    router = APIRouter()
    stored = StoredAnswers("chat completion")

    @router.post(PATH, openapi_extra=request_body(ChatBody))
    async def chat(request: Request) -> Response:
        """Answer a conversation; with `stream` as server-sent events that end in `[DONE]`."""
        body = await read(request, ChatBody)
        asked, warnings = body.requests()
        asked, unable = await as_able(service, asked)
        refuse_if_strict(body.puna, unable)
        who = caller(request)
        asked, searched = await search(documents, searches(body.tools), asked, who)
        refuse_if_strict(body.puna, searched.warnings)
        warnings = (*warnings, *searched.warnings)
        if body.debug_render_only:
            return await _rendered(service, asked[0], flatten([warnings, unable]))
        live = await service.start(asked, who)

        def keep(reply: dict[str, Any]) -> None:
            if body.store:
                stored.put(who.client, Stored(reply, _asked(reply["id"], body)))

        reply = _Reply(body, live, flatten([warnings, unable, live.prompt.warnings]), int(time.time()), keep, searched)
        headers = replies.headers(live.prompt, reply.warnings)
        if body.stream:
            return stream(live, reply.chunks(), headers)
        async with cancelled_on_disconnect(request.receive, live):
            return json_reply(reply.whole(await live.collect()), headers)

    @router.get(PATH, openapi_extra={"parameters": [*_FILTERS, *PAGE_PARAMETERS]})
    async def listed(request: Request) -> Response:
        """The stored answers; `model`, `metadata[key]`, `after`, `limit` and `order` choose among them."""
        page = Page.asked(request.query_params)
        wanted = {match[1]: value for key, value in request.query_params.items() if (match := _METADATA.fullmatch(key))}
        model = request.query_params.get("model")
        found = [
            reply
            for reply in stored.replies(caller(request).client)
            if model in (None, reply["model"]) and wanted.items() <= reply["metadata"].items()
        ]
        return json_reply(page.of(found))

    @router.get(PATH + "/{answer_id}")
    async def retrieve(request: Request, answer_id: str) -> Response:
        """A stored answer."""
        return json_reply(stored.get(caller(request).client, answer_id).reply)

    @router.get(PATH + "/{answer_id}/messages", openapi_extra={"parameters": PAGE_PARAMETERS})
    async def messages(request: Request, answer_id: str) -> Response:
        """The messages that a stored answer answers."""
        page = Page.asked(request.query_params)
        return json_reply(page.of(stored.get(caller(request).client, answer_id).asked))

    @router.post(PATH + "/{answer_id}", openapi_extra=request_body(MetadataBody))
    async def update(request: Request, answer_id: str) -> Response:
        """Change a stored answer's metadata."""
        body = await read(request, MetadataBody)
        return json_reply(stored.set_metadata(caller(request).client, answer_id, body.metadata))

    @router.delete(PATH + "/{answer_id}")
    async def delete(request: Request, answer_id: str) -> Response:
        """Forget a stored answer."""
        stored.delete(caller(request).client, answer_id)
        return json_reply({"id": answer_id, "object": "chat.completion.deleted", "deleted": True})

    return router


async def _rendered(service: Service, asked: ChatRequest, warnings: Sequence[str]) -> Response:
    """The prompt instead of an answer, as Ollama gives it on this route."""
    prompt = await service.call(service.runtime.prompt, asked)
    reply = {
        "object": "chat.completion",
        "model": asked.model,
        "choices": [],
        "_debug_info": replies.debug_object(prompt),
    }
    return json_reply(reply, replies.headers(prompt, flatten([warnings, prompt.warnings])))


def _asked(answer_id: str, body: ChatBody) -> list[dict[str, Any]]:
    """The request's messages as OpenAI lists them."""
    messages = [message.model_dump(exclude_unset=True) for message in body.messages]
    return [{"id": f"{answer_id}-{index}", **message} for index, message in enumerate(messages)]


@dataclass(frozen=True, slots=True)
class _Reply:
    """The answer to one request, whole or in chunks."""

    body: ChatBody
    live: Live
    warnings: Sequence[str]
    created: int  # Unix seconds
    keep: Callable[[dict[str, Any]], None]  # called with the whole
    searched: Searched

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """The `chat.completion` object."""
        choices = [
            {
                "index": index,
                "message": self._message(answer.whole),
                "logprobs": _logprobs(answer.whole),
                "finish_reason": self._finish_reason(answer.finished),
            }
            for index, answer in enumerate(answers)
        ]
        reply = {
            **self._head("chat.completion", choices),
            "service_tier": "default",
            "metadata": self.body.metadata or {},
            "usage": usage([answer.finished for answer in answers]),
            "puna": self._puna(answers[0].finished),
        }
        self.keep(reply)
        return reply

    async def chunks(self) -> AsyncIterator[bytes]:
        """`chat.completion.chunk` events: each choice's role comes first, its end on a chunk of its own."""
        choices = [_Choice() for _ in self.live.generations]
        async for index, happened in self.live.events():
            choice = choices[index]
            if not choice.opened:
                choice.opened = True
                yield self._chunk(index, {"role": "assistant", "content": ""}, None)
            match happened:
                case Delta():
                    for delta in self._deltas(happened, choice.calls):
                        yield self._chunk(index, delta, _logprobs(happened) if "content" in delta else None)
                    choice.take(happened, keep=self.body.store)
                case Finished():
                    choice.finished = happened
                    yield self._chunk(index, {}, None, happened)
        answers = [choice.answer() for choice in choices]
        if self.body.stream_options.include_usage:
            ends = [answer.finished for answer in answers]
            last = self._head("chat.completion.chunk", [])
            yield event({**last, "usage": usage(ends), "puna": self._puna(ends[0])})
        if self.body.store:
            self.whole(answers)
        yield DONE

    def _message(self, answer: Delta) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None}
        if answer.thinking:
            message |= _reasoning(answer.thinking)
        if answer.tool_calls:
            message["content"] = answer.text or None
            if self.body.legacy:
                message["function_call"] = _function(answer.tool_calls[0])
            else:
                message["tool_calls"] = [
                    {"id": call.id, "type": "function", "function": _function(call)} for call in answer.tool_calls
                ]
        return message

    def _deltas(self, piece: Delta, calls_before: int) -> list[dict[str, Any]]:
        """A piece of the answer as deltas: thoughts and text in one, then two for each call."""
        said: dict[str, Any] = _reasoning(piece.thinking) if piece.thinking else {}
        if piece.text or piece.logprobs:
            said["content"] = piece.text
        deltas = [said] if said else []
        for index, call in enumerate(piece.tool_calls, calls_before):
            name, arguments = {"name": call.name, "arguments": ""}, {"arguments": arguments_text(call)}
            if self.body.legacy:
                deltas += [{"function_call": name}, {"function_call": arguments}]
                continue
            deltas.append({"tool_calls": [{"index": index, "id": call.id, "type": "function", "function": name}]})
            deltas.append({"tool_calls": [{"index": index, "function": arguments}]})
        return deltas

    def _chunk(
        self, index: int, delta: dict[str, Any], logprobs: dict[str, Any] | None, finished: Finished | None = None
    ) -> bytes:
        finish_reason = None if finished is None else self._finish_reason(finished)
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        chunk = self._head("chat.completion.chunk", [choice])
        if self.body.stream_options.include_usage:
            chunk["usage"] = None
        if finished is not None:
            chunk["puna"] = self._puna(finished)
        return event(chunk)

    def _finish_reason(self, finished: Finished) -> str:
        return "function_call" if finished.reason == "tool_calls" and self.body.legacy else finished.reason

    def _puna(self, finished: Finished) -> dict[str, object]:
        sources = {"sources": self.searched.results()} if self.searched.ran else {}
        return {**replies.puna_object(self.live.prompt, self.warnings, finished), **sources}

    def _head(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self.live.generations[0].id}",
            "object": kind,
            "created": self.created,
            "model": self.body.model,
            "system_fingerprint": FINGERPRINT,
            "choices": choices,
        }


class _Choice:
    """What has come of one choice of a stream."""

    def __init__(self) -> None:
        self.opened = False
        self.calls = 0
        self.finished: Finished | None = None
        self._kept: list[Delta] = []

    def take(self, delta: Delta, *, keep: bool) -> None:
        """The next piece; kept where the whole answer is wanted at the end."""
        self.calls += len(delta.tool_calls)
        if keep:
            self._kept.append(delta)

    def answer(self) -> Answer:
        """The whole of it."""
        assert self.finished is not None, "a stream of events ends when all have finished"
        return Answer(joined(self._kept), self.finished)


def _reasoning(thinking: str) -> dict[str, Any]:
    """Under both names that clients read."""
    return {"reasoning": thinking, "reasoning_content": thinking}


def _function(call: ToolCall) -> dict[str, str]:
    return {"name": call.name, "arguments": arguments_text(call)}


def _logprobs(delta: Delta) -> dict[str, Any] | None:
    """The log-probabilities of its tokens, where they were asked for. Each has `top_logprobs`, if only an empty one."""
    if not delta.logprobs:
        return None
    return {
        "content": [{"top_logprobs": [], **replies.logprob_object(token)} for token in delta.logprobs],
        "refusal": None,
    }
