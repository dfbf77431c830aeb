"""OpenAI's /v1/completions over the runtime: texts continued as they stand. Translates, no more."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from puna.runtime import Delta, Finished, TokenLogprob
from puna.server import replies
from puna.server.body import read
from puna.server.caller import caller
from puna.server.live import Answer, Live, Service, cancelled_on_disconnect, flatten
from puna.server.openai.completion_requests import CompletionBody
from puna.server.openai.wire import DONE, FINGERPRINT, event, json_reply, stream, usage
from puna.server.openapi import request_body


def routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.post("/v1/completions", openapi_extra=request_body(CompletionBody))
    async def completions(request: Request) -> Response:
        """Continue texts as they stand, without a chat template; with `stream` as server-sent events."""
        body = await read(request, CompletionBody)
        asked, warnings = body.requests()
        live = await service.start(asked, caller(request))
        prompts = [generation.prompt for generation in live.generations]
        reply = _Reply(body, live, flatten([warnings, *(each.warnings for each in prompts)]), int(time.time()))
        headers = replies.headers(live.prompt, reply.warnings)
        if body.stream:
            return stream(live, reply.chunks(), headers)
        async with cancelled_on_disconnect(request.receive, live):
            return json_reply(reply.whole(await live.collect()), headers)

    return router


@dataclass(frozen=True, slots=True)
class _Reply:
    """The answers to one request, whole or in chunks. `puna` speaks of the first prompt."""

    body: CompletionBody
    live: Live
    warnings: Sequence[str]
    created: int  # Unix seconds

    def whole(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """The `text_completion` object, with the best answers to each prompt."""
        chosen = self._best(answers)
        choices = []
        for place, index in enumerate(chosen):
            answer, opening = answers[index].whole, self._opening(index)
            logprobs = self._logprobs(answer.logprobs, len(opening))
            choices.append(_choice(place, opening + answer.text, logprobs, answers[index].finished))
        ends = [answer.finished for answer in answers]
        return {**self._head(choices), "usage": self._usage(ends), "puna": self._puna(ends[0])}

    async def chunks(self) -> AsyncIterator[bytes]:
        """`text_completion` events: each choice's end comes on an event of its own."""
        lengths = [len(self._opening(index)) for index in range(len(self.live.generations))]
        ends: dict[int, Finished] = {}
        if self.body.echo:
            for index in range(len(lengths)):
                yield self._chunk(_choice(index, self._opening(index)))
        async for index, happened in self.live.events():
            match happened:
                case Delta():
                    logprobs = self._logprobs(happened.logprobs, lengths[index])
                    yield self._chunk(_choice(index, happened.text, logprobs))
                    lengths[index] += len(happened.text)
                case Finished():
                    ends[index] = happened
                    yield self._chunk(_choice(index, "", finished=happened), happened)
        if self.body.stream_options.include_usage:
            in_order = [ends[index] for index in range(len(ends))]
            yield event({**self._head([]), "usage": self._usage(in_order), "puna": self._puna(in_order[0])})
        yield DONE

    def _best(self, answers: Sequence[Answer]) -> list[int]:
        """The indices of the `n` answers to each prompt with the highest log-probability per token."""
        chosen: list[int] = []
        for start in range(0, len(answers), self.body.candidates):
            group = range(start, start + self.body.candidates)
            likeliest = sorted(group, key=lambda index: -_per_token(answers[index]))
            chosen += likeliest[: self.body.n] if self.body.candidates > self.body.n else group
        return chosen

    def _opening(self, index: int) -> str:
        """What comes before the answer."""
        return self.live.generations[index].prompt.text if self.body.echo else ""

    def _logprobs(self, tokens: Sequence[TokenLogprob], start: int) -> dict[str, Any] | None:
        """In this route's old shape; `start` is where in the choice's text they begin."""
        if self.body.logprobs is None or not tokens:
            return None
        offsets, top = [], []
        for token in tokens:
            offsets.append(start)
            start += len(token.text)
            top.append({each.text: each.logprob for each in (*token.top, token)})
        return {
            "tokens": [token.text for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": top if self.body.logprobs else None,
            "text_offset": offsets,
        }

    def _usage(self, ends: Sequence[Finished]) -> dict[str, Any]:
        return usage(ends, len(ends) // self.body.candidates)

    def _puna(self, finished: Finished) -> dict[str, object]:
        return replies.puna_object(self.live.prompt, self.warnings, finished)

    def _chunk(self, choice: dict[str, Any], finished: Finished | None = None) -> bytes:
        chunk = self._head([choice])
        if self.body.stream_options.include_usage:
            chunk["usage"] = None
        if finished is not None:
            chunk["puna"] = self._puna(finished)
        return event(chunk)

    def _head(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": f"cmpl-{self.live.generations[0].id}",
            "object": "text_completion",
            "created": self.created,
            "model": self.body.model,
            "system_fingerprint": FINGERPRINT,
            "choices": choices,
        }


def _choice(
    index: int, text: str, logprobs: dict[str, Any] | None = None, finished: Finished | None = None
) -> dict[str, Any]:
    reason = None if finished is None else finished.reason
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}


def _per_token(answer: Answer) -> float:
    """The mean log-probability of its tokens."""
    tokens = answer.whole.logprobs
    return sum(token.logprob for token in tokens) / max(1, len(tokens))
