"""One answer in the making: token events in, text deltas out, cut at the first stop string."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from puna.chat.stops import StopStrings
from puna.engine import EngineUsage, ErrorEvent, FinishedEvent, TokenEvent
from puna.engine import Event as EngineEvent
from puna.runtime.types import Delta, Finished, Prompt, SinkEvent, Usage
from puna.tokenizer import Detokenizer


class Generation:
    """A started generation. Its events go to the sink it was started with, from the runner's thread."""

    def __init__(
        self,
        request_id: str,
        prompt: Prompt,
        *,
        detokenizer: Detokenizer,
        stops: Iterable[str],
        sink: Callable[[SinkEvent], None],
        cancel: Callable[[str], None],
        ended: Callable[[], None],
        started: float,
        load_seconds: float,
    ) -> None:
        """Made by `Runtime.start`.

        cancel: tells the engine to stop request `request_id`.
        ended: called once, before the last event is delivered.
        started: time.monotonic() at the request's arrival.
        """
        self.id = request_id
        self.prompt = prompt
        self._detokenizer = detokenizer
        self._stops = StopStrings(stops)
        self._sink = sink
        self._cancel_request = cancel
        self._ended = ended
        self._started = started
        self._load_seconds = load_seconds
        self._tokens: list[int] = []
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
                    self._on_token(event.token)
                    return
                case FinishedEvent():
                    self._on_finished(event)
                case ErrorEvent():
                    self._finish(event.exception())
        except BaseException:
            self._release()
            self._done.set()
            raise

    def _on_token(self, token: int) -> None:
        if self._stops.stopped:
            return  # computed before the engine heard of the stop string
        self._tokens.append(token)
        if self._emit(self._detokenizer.push(token)):
            self._cancel_request(self.id)

    def _on_finished(self, event: FinishedEvent) -> None:
        reason = event.reason
        if self._stops.stopped or self._emit(self._detokenizer.flush()):
            reason = "stop"
        elif rest := self._stops.flush():
            self._sink(Delta(rest))
        self._finish(Finished(reason, self._usage(event.usage), tuple(self._tokens)))

    def _emit(self, text: str) -> bool:
        """Pass on what may be shown; whether a stop string was found."""
        shown, stopped = self._stops.push(text)
        if shown:
            self._sink(Delta(shown))
        return stopped

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
            cached_tokens=usage.cached_tokens,
            completion_tokens=len(self._tokens),
            total_seconds=time.monotonic() - self._started,
            load_seconds=self._load_seconds,
            queue_seconds=usage.queue_seconds,
            prompt_seconds=usage.prompt_seconds,
            decode_seconds=usage.decode_seconds,
        )
