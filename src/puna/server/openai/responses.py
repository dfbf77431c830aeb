"""OpenAI's /v1/responses over the runtime: translates, and keeps the responses unless told not to."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from puna.errors import InvalidRequest, PunaError
from puna.runtime import ChatRequest, Delta, Finished, Usage
from puna.server import replies
from puna.server.body import read
from puna.server.caller import caller
from puna.server.documents import Documents
from puna.server.errors import NotFoundError, openai_error_body
from puna.server.file_search import Searched, search, searches
from puna.server.live import Live, Service, cancelled_on_disconnect, flatten
from puna.server.openai.response_events import Output
from puna.server.openai.response_requests import RESULTS, ResponseBody
from puna.server.openai.stored import PAGE_PARAMETERS, Page, Stored, StoredAnswers
from puna.server.openai.tools import dumped, namespaces
from puna.server.openai.wire import json_reply, named_event, stream
from puna.server.openapi import request_body
from puna.server.replies import refuse_if_strict
from puna.server.thinking import as_able

PATH = "/v1/responses"


def routes(service: Service, documents: Documents) -> APIRouter:
    """The routes."""
    router = APIRouter()
    stored = StoredAnswers("response")

    @router.post(PATH, openapi_extra=request_body(ResponseBody))
    async def respond(request: Request) -> Response:
        """Answer a text or a list of items; with `stream` as server-sent events, each with its type as its name."""
        body = await read(request, ResponseBody)
        who = caller(request)
        items = _items(body, stored, who.client)
        asked, warnings = body.request(items)
        [asked], unable = await as_able(service, [asked])
        refuse_if_strict(body.puna, unable)
        [asked], searched = await search(documents, searches(body.tools), [asked], who)
        refuse_if_strict(body.puna, searched.warnings)
        warnings = (*warnings, *searched.warnings)
        live = await service.start([asked], who)

        def keep(reply: dict[str, Any]) -> None:
            if body.store:
                stored.put(who.client, Stored(reply, _with_ids(items, reply["id"])))

        reply = _Reply(body, asked, live, flatten([warnings, unable, live.prompt.warnings]), keep, searched)
        headers = replies.headers(live.prompt, reply.warnings)
        if body.stream:
            return stream(live, reply.events(), headers, failed_piece=reply.failed)
        async with cancelled_on_disconnect(request.receive, live):
            return json_reply(await reply.whole(), headers)

    @router.post(PATH + "/input_tokens", openapi_extra=request_body(ResponseBody))
    async def input_tokens(request: Request) -> Response:
        """Count the tokens of the input, those included that would not fit the context; nothing is generated."""
        body = await read(request, ResponseBody)
        asked, warnings = body.request(_items(body, stored, caller(request).client))
        [asked], unable = await as_able(service, [asked])
        prompt = await service.call(service.runtime.prompt, asked)
        headers = replies.headers(prompt, flatten([warnings, unable, prompt.warnings]))
        tokens = prompt.context.prompt_tokens + prompt.context.dropped_tokens
        return json_reply({"object": "response.input_tokens", "input_tokens": tokens}, headers)

    @router.get(PATH + "/{response_id}")
    async def retrieve(request: Request, response_id: str) -> Response:
        """A stored response."""
        if request.query_params.get("stream") == "true":
            raise InvalidRequest("a stored response cannot be streamed: ask for it whole")
        return json_reply(stored.get(caller(request).client, response_id).reply)

    @router.get(PATH + "/{response_id}/input_items", openapi_extra={"parameters": PAGE_PARAMETERS})
    async def input_items(request: Request, response_id: str) -> Response:
        """The items that a stored response answers, the newest first; `after`, `limit` and `order` choose."""
        page = Page.asked(request.query_params, order="desc")
        return json_reply(page.of(stored.get(caller(request).client, response_id).asked))

    @router.delete(PATH + "/{response_id}")
    async def delete(request: Request, response_id: str) -> Response:
        """Forget a stored response."""
        stored.delete(caller(request).client, response_id)
        return json_reply({"id": response_id, "object": "response", "deleted": True})

    return router


def _items(body: ResponseBody, stored: StoredAnswers, client: str) -> list[dict[str, Any]]:
    """The input after what the previous response answered and said; references replaced by what they refer to."""
    earlier: list[dict[str, Any]] = []
    if body.previous_response_id:
        previous = stored.get(client, body.previous_response_id)
        earlier = [*previous.asked, *previous.reply["output"]]
    return [*earlier, *(_referred(item, stored, client) for item in body.input_items)]


def _referred(item: dict[str, Any], stored: StoredAnswers, client: str) -> dict[str, Any]:
    if item.get("type") != "item_reference":
        return item
    name = str(item.get("id"))
    for found in stored.get(client, f"resp_{name.split('_')[1]}" if "_" in name else name).reply["output"]:
        if found["id"] == name:
            return dict(found)
    raise NotFoundError(f"there is no item {name!r}")


def _with_ids(items: Sequence[Mapping[str, Any]], response_id: str) -> list[dict[str, Any]]:
    """The items as they are listed: each has an id and a type."""
    return [
        {**item, "type": item.get("type") or "message", "id": item.get("id") or f"item_{response_id}_{index}"}
        for index, item in enumerate(items)
    ]


class _Reply:
    """The response to one request, whole or as events."""

    def __init__(
        self,
        body: ResponseBody,
        asked: ChatRequest,
        live: Live,
        warnings: Sequence[str],
        keep: Callable[[dict[str, Any]], None],
        searched: Searched,
    ) -> None:
        """`keep` is called with the whole."""
        self.warnings = warnings
        self._body = body
        self._asked = asked
        self._live = live
        self._keep = keep
        self._id = live.generations[0].id
        self._created = int(time.time())
        self._searched = searched
        self._output = Output(
            self._id,
            summarized=body.summarized,
            namespaces=namespaces(body.tools),
            annotations=searched.annotations,
        )
        self._sent = 0  # events

    async def whole(self) -> dict[str, Any]:
        """The `response` object."""
        [answer] = await self._live.collect()
        self._search()
        self._output.take(answer.whole)
        self._output.finish(_status(answer.finished))
        return self._finished(answer.finished)

    async def events(self) -> AsyncIterator[bytes]:
        """Everything that happens, as server-sent events."""
        async for _, happened in self._live.events():
            if not self._sent:  # not before: what fails before has a status of its own
                yield self._event({"type": "response.created", "response": self._object("in_progress")})
                yield self._event({"type": "response.in_progress", "response": self._object("in_progress")})
                for each in self._search():
                    yield self._event(each)
            match happened:
                case Delta():
                    for each in self._output.take(happened):
                        yield self._event(each)
                case Finished():
                    for each in self._output.finish(_status(happened)):
                        yield self._event(each)
                    reply = self._finished(happened)
                    yield self._event({"type": f"response.{reply['status']}", "response": reply})

    def _search(self) -> list[dict[str, Any]]:
        """What happened before the model ran, where the request asks for a search."""
        if not self._searched.ran:
            return []
        results = self._searched.results() if RESULTS in self._body.include else None
        return self._output.search(self._searched.query, results)

    def failed(self, error: PunaError) -> bytes:
        """The last events of a stream that fails: one for who reads responses, one that clients raise."""
        described = openai_error_body(error)["error"]
        assert isinstance(described, dict)
        failure = {"code": described["code"] or "server_error", "message": described["message"]}
        reply = {**self._object("failed"), "error": failure}
        # OpenAI's documents have the fields of an error event beside its type; its clients look for them in `error`.
        raised = {"type": "error", **failure, "param": described["param"], "error": described}
        return self._event({"type": "response.failed", "response": reply}) + self._event(raised)

    def _event(self, value: dict[str, Any]) -> bytes:
        value["sequence_number"] = self._sent
        self._sent += 1
        return named_event(value["type"], value)

    def _finished(self, finished: Finished) -> dict[str, Any]:
        reply = {
            **self._object(_status(finished)),
            "completed_at": int(time.time()),
            "usage": _usage(finished.usage),
            "puna": replies.puna_object(self._live.prompt, self.warnings, finished),
        }
        if finished.reason == "length":
            reply["incomplete_details"] = {"reason": "max_output_tokens"}
        self._keep(reply)
        return reply

    def _object(self, status: str) -> dict[str, Any]:
        """The response as it is now; what its request said comes back in it."""
        body, options = self._body, self._asked.options
        return {
            "id": f"resp_{self._id}",
            "object": "response",
            "created_at": self._created,
            "completed_at": None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "max_tool_calls": body.max_tool_calls,
            "metadata": body.metadata or {},
            "model": body.model,
            "output": list(self._output.items),
            "parallel_tool_calls": body.parallel_tool_calls,
            "previous_response_id": body.previous_response_id,
            "reasoning": {"effort": body.reasoning.effort, "summary": body.reasoning.summary},
            "service_tier": "default",
            "store": body.store,
            "temperature": options.temperature,
            "text": {"format": body.text.format or {"type": "text"}},
            "tool_choice": body.tool_choice,
            "tools": [dumped(tool) for tool in body.tools],
            "top_logprobs": body.top_logprobs,
            "top_p": options.top_p,
            "truncation": "disabled" if self._asked.history == "error" else "auto",
            "usage": None,
            "user": body.user,
        }


def _status(finished: Finished) -> str:
    return "incomplete" if finished.reason == "length" else "completed"


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache.cached_tokens,
            "cache_write_tokens": 0,  # what OpenAI charges for; here every prompt is kept
        },
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
