"""One answer in the making: token events in, deltas out, the engine told when it is over.

A thought that outgrows its limit is ended here: what runs is cancelled, and the answer goes on after the thought's
closing mark as another request to the engine, which finds what was computed in its prefix cache.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeAlias

from puna.engine import EngineUsage, ErrorEvent, FinishedEvent, GenerationRequest, TokenEvent, TokenLogprobs
from puna.engine import Event as EngineEvent
from puna.errors import PunaError
from puna.runtime.answer import Answer
from puna.runtime.types import Finished, FinishReason, Prompt, SinkEvent, TokenLogprob, Usage
from puna.tokenizer import Tokenizer

Submit: TypeAlias = Callable[[GenerationRequest, Callable[[EngineEvent], None]], None]
# (what runs, the tokens it has written) -> the tokens that end its thought, and what goes on after them
AfterThought: TypeAlias = Callable[[GenerationRequest, Sequence[int]], tuple[Sequence[int], GenerationRequest]]


class Generation:
    """A started generation. Its events go to the sink it was started with, from the runner's thread."""

    def __init__(
        self,
        request: GenerationRequest,
        prompt: Prompt,
        *,
        tokenizer: Tokenizer,
        answer: Answer,
        grammar_enforced: bool | None,
        sink: Callable[[SinkEvent], None],
        submit: Submit,
        cancel: Callable[[str], None],
        after_thought: AfterThought,
        ended: Callable[[Finished | None], None],
        started: float,
        load_seconds: float,
    ) -> None:
        """Made by `Runtime.start`, which submits `request`.

        grammar_enforced: whether the engine holds the answer to what was asked for; None: nothing was.
        submit, cancel: the engine's.
        ended: called once, before the last event is delivered, with that event; None where all has failed.
        started: time.monotonic() at the request's arrival.
        """
        self.id = request.id
        self.prompt = prompt
        self._request = request  # what runs: after a thought that was cut it is another
        self._tokenizer = tokenizer
        self._answer = answer
        self._grammar_enforced = grammar_enforced
        self._sink = sink
        self._submit = submit
        self._cancel_request = cancel
        self._after_thought = after_thought
        self._ended = ended
        self._started = started
        self._load_seconds = load_seconds
        self._tokens: list[int] = []
        self._usages: list[EngineUsage] = []  # of what has run
        self._begin = 0  # how many of the tokens came before those of what runs
        self._cutting = False  # a thought is to be ended where the tokens end
        self._cuts = 0
        self._cancelled = False
        self._released = False
        self._done = threading.Event()

    @property
    def tokens_so_far(self) -> int:
        """Generated, whether or not their text was passed on."""
        return len(self._tokens)

    def cancel(self) -> None:
        """Stop within a step; the sink then gets Finished('cancelled'). Does nothing when it has ended."""
        self._cancelled = True
        if not self._released:
            self._cancel_request(self._request.id)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the last event was delivered; False on timeout (seconds)."""
        return self._done.wait(timeout)

    def on_event(self, event: EngineEvent) -> None:
        """Take the engine's next event. Whatever happens here, the model is given back."""
        try:
            match event:
                case TokenEvent():
                    self._on_token(event)
                    return
                case FinishedEvent():
                    self._on_finished(event)
                case ErrorEvent():
                    self._finish(event.exception())
        except BaseException:
            self._release(None)
            self._done.set()
            raise

    def _on_token(self, event: TokenEvent) -> None:
        if self._answer.ended() or self._cutting:
            return  # computed before the engine heard of it
        self._tokens.append(event.token)
        logprob = None if event.logprobs is None else self._token_logprob(event.token, event.logprobs)
        for delta in self._answer.push(event.token, logprob):
            self._sink(delta)
        self._cutting = self._answer.thought_too_long
        if self._answer.ended() or self._cutting:
            self._cancel_request(self._request.id)

    def _on_finished(self, event: FinishedEvent) -> None:
        self._usages.append(event.usage)
        reason = event.reason
        if self._cutting and not self._cancelled:
            ending, request = self._after_thought(self._request, self._tokens[self._begin :])
            if request.max_tokens:
                self._go_on(ending, request)
                return
            reason = "length"
        for delta in self._answer.finish():
            self._sink(delta)
        self._finish(
            Finished(
                self._reason(reason),
                self._usage(),
                grammar_enforced=self._grammar_enforced,
                stop_string=self._answer.stop_string,
                thought_cut=self._cuts > 0,
                token_ids=tuple(self._tokens),
            )
        )

    def _go_on(self, ending: Sequence[int], request: GenerationRequest) -> None:
        """End the thought by these tokens, and let the model answer after them."""
        for token in ending:
            for delta in self._answer.push(token):
                self._sink(delta)
        self._tokens += ending
        self._cuts += 1
        self._cutting = False
        self._request, self._begin = request, len(self._tokens)
        try:
            self._submit(request, self.on_event)
        except PunaError as error:
            self._finish(error)
            return
        if self._cancelled or self._answer.ended():  # meanwhile
            self._cancel_request(request.id)

    def _reason(self, reason: FinishReason) -> FinishReason:
        """The engine's reason; what ended here was cancelled there."""
        if self._answer.ended():
            reason = "stop"
        return "tool_calls" if reason == "stop" and self._answer.called else reason

    def _token_logprob(self, token: int, logprobs: TokenLogprobs) -> TokenLogprob:
        def one(token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
            piece = self._tokenizer.token_bytes(token)
            return TokenLogprob(piece.decode(errors="replace"), piece, logprob, top)

        return one(token, logprobs.chosen, tuple(one(*each) for each in logprobs.top))

    def _finish(self, last: Finished | PunaError) -> None:
        self._release(last if isinstance(last, Finished) else None)
        self._sink(last)
        self._done.set()

    def _release(self, last: Finished | None) -> None:
        if not self._released:
            self._released = True
            self._ended(last)

    def _usage(self) -> Usage:
        """All that has run together; the prompt is the first one's."""
        first, usages = self._usages[0], self._usages
        return Usage(
            prompt_tokens=first.prompt_tokens,
            cache=first.cache,
            completion_tokens=len(self._tokens),
            reasoning_tokens=self._answer.reasoning_tokens,
            total_seconds=time.monotonic() - self._started,
            load_seconds=self._load_seconds,
            queue_seconds=sum(each.queue_seconds for each in usages),
            prompt_seconds=first.prompt_seconds,
            decode_seconds=sum(each.decode_seconds for each in usages)
            + sum(each.prompt_seconds for each in usages[1:]),
            drafted_tokens=sum(each.drafted_tokens for each in usages),
            accepted_tokens=sum(each.accepted_tokens for each in usages),
        )
