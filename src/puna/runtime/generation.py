"""One answer in the making: token events in, text deltas out, cut at the first stop string."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from puna.chat.stops import StopStrings
from puna.engine import EngineUsage, ErrorEvent, FinishedEvent, TokenEvent, TokenLogprobs
from puna.engine import Event as EngineEvent
from puna.runtime.types import Delta, Finished, Prompt, SinkEvent, TokenLogprob, Usage
from puna.tokenizer import Tokenizer


class Generation:
    """A started generation. Its events go to the sink it was started with, from the runner's thread."""

    def __init__(
        self,
        request_id: str,
        prompt: Prompt,
        *,
        tokenizer: Tokenizer,
        continues: bool,
        stops: Iterable[str],
        sink: Callable[[SinkEvent], None],
        cancel: Callable[[str], None],
        ended: Callable[[], None],
        started: float,
        load_seconds: float,
    ) -> None:
        """Made by `Runtime.start`.

        continues: the answer goes on in the middle of a text.
        cancel: tells the engine to stop request `request_id`.
        ended: called once, before the last event is delivered.
        started: time.monotonic() at the request's arrival.
        """
        self.id = request_id
        self.prompt = prompt
        self._tokenizer = tokenizer
        self._detokenizer = tokenizer.detokenizer(continues=continues)
        self._stops = StopStrings(stops)
        self._sink = sink
        self._cancel_request = cancel
        self._ended = ended
        self._started = started
        self._load_seconds = load_seconds
        self._tokens: list[int] = []
        self._length = 0  # characters of the answer so far, those held back included
        self._shown = 0  # of these, passed on
        self._logprobs: list[tuple[int, TokenLogprob]] = []  # not passed on yet; at which character each token begins
        self._released = False
        self._done = threading.Event()

    def cancel(self) -> None:
        """Stop within a step; the sink then gets Finished('cancelled'). Does nothing when it has ended."""
        if not self._released:
            self._cancel_request(self.id)

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
            self._release()
            self._done.set()
            raise

    def _on_token(self, event: TokenEvent) -> None:
        if self._stops.stopped:
            return  # computed before the engine heard of the stop string
        self._tokens.append(event.token)
        if event.logprobs is not None:
            self._logprobs.append((self._length, self._token_logprob(event.token, event.logprobs)))
        if self._emit(self._detokenizer.push(event.token)):
            self._cancel_request(self.id)

    def _on_finished(self, event: FinishedEvent) -> None:
        reason = event.reason
        if self._stops.stopped or self._emit(self._detokenizer.flush()):
            reason = "stop"
        else:
            rest = self._stops.flush()
            if rest or self._logprobs:
                self._sink(Delta(rest, tuple(logprob for _, logprob in self._logprobs)))
        self._finish(Finished(reason, self._usage(event.usage), tuple(self._tokens)))

    def _emit(self, text: str) -> bool:
        """Pass on what may be shown; whether a stop string was found."""
        self._length += len(text)
        shown, stopped = self._stops.push(text)
        if shown:
            self._shown += len(shown)
            self._sink(Delta(shown, self._take_logprobs()))
        return stopped

    def _take_logprobs(self) -> tuple[TokenLogprob, ...]:
        """Those of the tokens that begin in what has been shown; a stop string's are never taken."""
        taken = tuple(logprob for start, logprob in self._logprobs if start < self._shown)
        self._logprobs = self._logprobs[len(taken) :]
        return taken

    def _token_logprob(self, token: int, logprobs: TokenLogprobs) -> TokenLogprob:
        def one(token: int, logprob: float, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
            piece = self._tokenizer.token_bytes(token)
            return TokenLogprob(piece.decode(errors="replace"), piece, logprob, top)

        return one(token, logprobs.chosen, tuple(one(*each) for each in logprobs.top))

    def _finish(self, last: SinkEvent) -> None:
        self._release()
        self._sink(last)
        self._done.set()

    def _release(self) -> None:
        if not self._released:
            self._released = True
            self._ended()

    def _usage(self, usage: EngineUsage) -> Usage:
        return Usage(
            prompt_tokens=usage.prompt_tokens,
            cache=usage.cache,
            completion_tokens=len(self._tokens),
            total_seconds=time.monotonic() - self._started,
            load_seconds=self._load_seconds,
            queue_seconds=usage.queue_seconds,
            prompt_seconds=usage.prompt_seconds,
            decode_seconds=usage.decode_seconds,
            drafted_tokens=usage.drafted_tokens,
            accepted_tokens=usage.accepted_tokens,
        )
