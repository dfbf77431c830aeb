"""Generations seen from the event loop: events are awaited; a client that goes away cancels.

Knows nothing of either dialect.
"""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import ParamSpec, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from puna.errors import PunaError
from puna.runtime import Delta, Event, Finished, Generation, Options, Prompt, Request, Runtime, SinkEvent
from puna.server.caller import Caller
from puna.server.places import Place, Places

START_THREADS = 64  # requests that may wait for a model to load at once; more wait for a thread
DEFAULT_MAX_QUEUE = 512  # Ollama's

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """One generation, finished."""

    whole: Delta
    finished: Finished


class Live:
    """One or more generations of one HTTP request, their events in one stream."""

    def __init__(self, generations: Sequence[Generation], events: asyncio.Queue[tuple[int, SinkEvent]]) -> None:
        self.generations = tuple(generations)
        self._events = events

    @property
    def prompt(self) -> Prompt:
        """What the model sees (the same for all generations)."""
        return self.generations[0].prompt

    async def events(self) -> AsyncIterator[tuple[int, Event]]:
        """(index of the generation, its event) until all have finished. The first failure is raised."""
        running = len(self.generations)
        while running:
            index, event = await self._events.get()
            if isinstance(event, PunaError):
                raise event
            if isinstance(event, Finished):
                running -= 1
            yield index, event

    async def collect(self) -> list[Answer]:
        """The whole of each."""
        deltas: list[list[Delta]] = [[] for _ in self.generations]
        ends: dict[int, Finished] = {}
        async for index, event in self.events():
            if isinstance(event, Delta):
                deltas[index].append(event)
            else:
                ends[index] = event
        return [Answer(_joined(pieces), ends[index]) for index, pieces in enumerate(deltas)]

    def fail(self, error: PunaError) -> None:
        """End the stream of events with an error of the server's own."""
        self._events.put_nowait((0, error))

    def cancel(self) -> None:
        """Stop all of them; does nothing to those that have ended."""
        for generation in self.generations:
            generation.cancel()


class Service:
    """The runtime as the event loop may use it: nothing here blocks the loop."""

    def __init__(self, runtime: Runtime, *, max_queue: int | None = None) -> None:
        self.runtime = runtime
        self._places = Places(max_queue or DEFAULT_MAX_QUEUE)
        self._live: weakref.WeakSet[Live] = weakref.WeakSet()
        self._threads = ThreadPoolExecutor(START_THREADS, thread_name_prefix="start")

    async def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking function of the runtime on a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(function, *args, **kwargs))

    async def start(self, requests: Sequence[Request], caller: Caller) -> Live:
        """Start them all; returns once the model is loaded and the prompt is written.

        Each holds a place from now to its last event.

        Raises:
            ServerBusyError, and what `Runtime.start` raises.
        """
        places = self._places.take(caller.client, len(requests))
        events: asyncio.Queue[tuple[int, SinkEvent]] = asyncio.Queue()
        started: list[Generation] = []
        try:
            for index, (request, place) in enumerate(zip(requests, places, strict=True)):
                started.append(await self._start(_signed(request, caller), place, partial(_put, events, index)))
        except BaseException:
            for generation in started:
                generation.cancel()
            for place in places[len(started) + 1 :]:  # of those that were not begun; the others see to their own
                place.release()
            raise
        live = Live(started, events)
        self._live.add(live)
        return live

    async def _start(self, request: Request, place: Place, put: Callable[[SinkEvent], None]) -> Generation:
        loop = asyncio.get_running_loop()

        def deliver(event: SinkEvent) -> None:
            if not isinstance(event, Delta):
                place.release()
            put(event)

        def sink(event: SinkEvent) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(deliver, event)

        future = self._threads.submit(self.runtime.start, request, sink)
        try:
            return await asyncio.shield(asyncio.wrap_future(future))
        except asyncio.CancelledError:
            future.add_done_callback(partial(_abandon, loop, place))
            raise
        except BaseException:
            place.release()
            raise

    def abort(self) -> None:
        """End every open answer with an error that its client can read."""
        for live in list(self._live):
            live.fail(PunaError("the server is shutting down"))

    def close(self) -> None:
        """Take no more work."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _signed(request: Request, caller: Caller) -> Request:
    """With what its caller says; what its body says goes first."""
    options = request.options.over(Options(priority=caller.priority))
    return replace(request, client=caller.client, options=options)


def _joined(deltas: Sequence[Delta]) -> Delta:
    return Delta(
        "".join(delta.text for delta in deltas), tuple(chain.from_iterable(delta.logprobs for delta in deltas))
    )


def _put(events: asyncio.Queue[tuple[int, SinkEvent]], index: int, event: SinkEvent) -> None:
    events.put_nowait((index, event))


def _abandon(loop: asyncio.AbstractEventLoop, place: Place, future: Future[Generation]) -> None:
    """Nobody waits for it any more. Called on the thread that started it."""
    if not future.cancelled() and future.exception() is None:
        future.result().cancel()
        return
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(place.release)


@contextlib.asynccontextmanager
async def cancelled_on_disconnect(receive: Receive, live: Live) -> AsyncIterator[None]:
    """Inside, a client that goes away cancels its generations; so does leaving before they have ended."""

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        live.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()
        live.cancel()


class LiveResponse(Response):
    """Streams the pieces of a reply as they come.

    Nothing is sent before the first piece is there, so that what fails before it has a status of its own. A
    later failure is the stream's last piece.

    Args:
        pieces: the encoded pieces.
        failed: the reply to a failure before the first piece.
        failed_piece: the last piece of a stream that fails.
    """

    def __init__(
        self,
        live: Live,
        pieces: AsyncIterator[bytes],
        *,
        failed: Callable[[PunaError], Response],
        failed_piece: Callable[[PunaError], bytes],
        media_type: str,
        headers: Mapping[str, str],
    ) -> None:
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self.init_headers(headers)
        self._live = live
        self._pieces = pieces
        self._failed = failed
        self._failed_piece = failed_piece

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with cancelled_on_disconnect(receive, self._live):
            try:
                first = await anext(self._pieces)
            except PunaError as error:
                await self._failed(error)(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await _send(send, first)
            try:
                async for piece in self._pieces:
                    await _send(send, piece)
            except PunaError as error:
                await _send(send, self._failed_piece(error))
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send(send: Send, piece: bytes) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": True})


def flatten(lists: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """Warnings of several sources, each once, in order."""
    return tuple(dict.fromkeys(item for items in lists for item in items))
