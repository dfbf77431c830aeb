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
from typing import ParamSpec, Protocol, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from puna.errors import InvalidRequest, PunaError
from puna.runtime import (
    Delta,
    Embeddings,
    EmbedRequest,
    Event,
    Finished,
    Generation,
    Options,
    Prompt,
    Ranking,
    RankRequest,
    Request,
    Runtime,
    SinkEvent,
)
from puna.server.accounting import Accounting, Bill
from puna.server.caller import Caller
from puna.server.keys import Key
from puna.server.places import Place, Places

BROKEN = "puna.broken"  # of a request's scope: called when its stream ends in an error, which has no status any more

WRITE = 4096  # bytes that are written at once, where there is more to write: a write costs more than making a piece

START_THREADS = 64  # requests that may wait for a model to load at once; more wait for a thread
OPERATION_THREADS = 32  # the same for pulls, pushes and the like
DEFAULT_MAX_QUEUE = 512  # Ollama's

P = ParamSpec("P")
T = TypeVar("T")
Computed = TypeVar("Computed", Embeddings, Ranking)


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
        return [Answer(joined(pieces), ends[index]) for index, pieces in enumerate(deltas)]

    @property
    def behind(self) -> bool:
        """Whether there are events that nobody has taken yet."""
        return not self._events.empty()

    def fail(self, error: PunaError) -> None:
        """End the stream of events with an error of the server's own."""
        self._events.put_nowait((0, error))

    def cancel(self) -> None:
        """Stop all of them; does nothing to those that have ended."""
        for generation in self.generations:
            generation.cancel()


class Service:
    """The runtime as the event loop may use it: nothing here blocks the loop."""

    def __init__(self, runtime: Runtime, accounting: Accounting, *, max_queue: int | None = None) -> None:
        self.runtime = runtime
        self.accounting = accounting
        self._places = Places(max_queue or DEFAULT_MAX_QUEUE)
        self._live: weakref.WeakSet[Followed] = weakref.WeakSet()
        self._threads = ThreadPoolExecutor(START_THREADS, thread_name_prefix="start")
        self._operation_threads = ThreadPoolExecutor(OPERATION_THREADS, thread_name_prefix="operation")

    async def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a blocking function of the runtime on a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(function, *args, **kwargs))

    async def operate(self, followed: Followed, work: Callable[[], None]) -> None:
        """Run long work, which `followed` can end, on a thread."""
        self._live.add(followed)
        await asyncio.get_running_loop().run_in_executor(self._operation_threads, work)

    async def start(self, requests: Sequence[Request], caller: Caller) -> Live:
        """Start them all; returns once the model is loaded and the prompt is written.

        Each holds a place from now to its last event, and is counted for what it used, however it ends.

        Raises:
            ServerBusyError, BudgetSpentError, and what `Runtime.start` raises.
            InvalidRequest: the caller is strict, and something would be ignored.
        """
        self.accounting.check_budget(caller.key)
        if caller.strict:
            await self.call(self._refuse_ignored, requests[0])
        places = self._places.take(caller.client, len(requests))
        # Without a limit: a client that reads slowly is waited for, and an answer is no longer than the context.
        events: asyncio.Queue[tuple[int, SinkEvent]] = asyncio.Queue()
        started: list[Generation] = []
        try:
            for index, (request, place) in enumerate(zip(requests, places, strict=True)):
                repeats = index > 0 and _same_prompt(request, requests[index - 1])
                bill = self.accounting.bill(caller.key, request, repeats=repeats)
                put = partial(_put, events, index)
                started.append(await self._start(_signed(request, caller), bill, place, put))
        except BaseException:
            for generation in started:
                generation.cancel()
            for place in places[len(started) + 1 :]:  # of those that were not begun; the others see to their own
                place.release()
            raise
        live = Live(started, events)
        self._live.add(live)
        return live

    @property
    def held(self) -> int:
        """Requests held, running or waiting."""
        return self._places.held

    def _refuse_ignored(self, request: Request) -> None:
        """What the runtime would say of this request as a warning is an error."""
        about_model = self.runtime.text_model(request.model).warnings
        ignored = [each for each in self.runtime.prompt(request).warnings if each not in about_model]
        if ignored:
            raise InvalidRequest("; ".join(ignored))

    async def _start(self, request: Request, bill: Bill, place: Place, put: Callable[[SinkEvent], None]) -> Generation:
        loop = asyncio.get_running_loop()

        def deliver(event: SinkEvent) -> None:
            match event:
                case Finished():
                    place.release()
                    bill.finished(event)
                case PunaError():
                    place.release()
                    future.add_done_callback(bill.failed)  # it may fail before it is known to have started
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

    async def embed(self, request: EmbedRequest, caller: Caller, receive: Receive) -> Embeddings:
        """Turn texts into vectors; holds a place until they are there. A client that goes away cancels it.

        Raises:
            ServerBusyError, BudgetSpentError, and what `Runtime.embed` raises.
        """
        signed = replace(request, client=caller.client, priority=request.priority or caller.priority)
        return await self._compute(self.runtime.embed, signed, caller, receive)

    async def rank(self, request: RankRequest, caller: Caller, receive: Receive) -> Ranking:
        """Score documents; as `embed`, by `Runtime.rank`."""
        signed = replace(request, client=caller.client, priority=request.priority or caller.priority)
        return await self._compute(self.runtime.rank, signed, caller, receive)

    async def _compute(
        self, compute: Callable[..., Computed], signed: EmbedRequest | RankRequest, caller: Caller, receive: Receive
    ) -> Computed:
        self.accounting.check_budget(caller.key)
        [place] = self._places.take(caller.client)
        loop = asyncio.get_running_loop()
        embedding = _Embedding()
        future = self._threads.submit(compute, signed, on_start=embedding.begin)
        future.add_done_callback(partial(_leave, loop, place))  # even if nobody waits for it any more
        future.add_done_callback(partial(self._embedded, signed, caller.key))
        async with cancelled_on_disconnect(receive, embedding):
            return await asyncio.shield(asyncio.wrap_future(future))

    def _embedded(self, request: EmbedRequest | RankRequest, key: Key, future: Future[Computed]) -> None:
        if not future.cancelled() and future.exception() is None:
            self.accounting.embedded(key, request, future.result())

    def abort(self) -> None:
        """End every open answer and operation with an error that its client can read."""
        for live in list(self._live):
            live.fail(PunaError("the server is shutting down"))

    def close(self) -> None:
        """Take no more work."""
        for threads in (self._threads, self._operation_threads):
            threads.shutdown(wait=False, cancel_futures=True)


class Cancellable(Protocol):
    """What a client that goes away ends."""

    def cancel(self) -> None:
        """Stop within a step; does nothing when it has ended."""


class Followed(Cancellable, Protocol):
    """What a client follows piece by piece."""

    @property
    def behind(self) -> bool:
        """Whether there are pieces that nobody has taken yet."""

    def fail(self, error: PunaError) -> None:
        """End it with an error of the server's own."""


class _Embedding:
    """Texts on their way to vectors; may be cancelled before they have reached a model."""

    def __init__(self) -> None:
        self._job: Cancellable | None = None
        self._cancelled = False

    def begin(self, job: Cancellable) -> None:
        """Called on the thread that computes. Whichever of this and `cancel` comes second sees the other."""
        self._job = job
        if self._cancelled:
            job.cancel()

    def cancel(self) -> None:
        """See Cancellable."""
        self._cancelled = True
        if self._job is not None:
            self._job.cancel()


def _signed(request: Request, caller: Caller) -> Request:
    """With what its caller says; what its body says goes first."""
    options = request.options.over(Options(priority=caller.priority))
    return replace(request, client=caller.client, options=options)


def _same_prompt(request: Request, other: Request) -> bool:
    """Whether they differ in their options only: they are choices of one answer."""
    return replace(request, options=other.options) == other


def joined(deltas: Sequence[Delta]) -> Delta:
    """Pieces of an answer as one."""
    return Delta(
        "".join(delta.text for delta in deltas),
        thinking="".join(delta.thinking for delta in deltas),
        tool_calls=tuple(chain.from_iterable(delta.tool_calls for delta in deltas)),
        logprobs=tuple(chain.from_iterable(delta.logprobs for delta in deltas)),
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


def _leave(loop: asyncio.AbstractEventLoop, place: Place, _future: Future[Computed]) -> None:
    """Give the place back. Called on the thread that computed."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(place.release)


@contextlib.asynccontextmanager
async def cancelled_on_disconnect(receive: Receive, live: Cancellable) -> AsyncIterator[None]:
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
        pieces: the encoded pieces, one at least for each event of `live`.
        failed: the reply to a failure before the first piece.
        failed_piece: the last piece of a stream that fails.
    """

    def __init__(
        self,
        live: Followed,
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
            ready = b""
            try:
                async for piece in self._pieces:
                    ready += piece
                    if not self._live.behind or len(ready) >= WRITE:
                        await _send(send, ready)
                        ready = b""
            except PunaError as error:
                scope.get(BROKEN, _nothing)()
                ready += self._failed_piece(error)
            await _send(send, ready)
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def _nothing() -> None:
    """Nobody wants to know."""


async def _send(send: Send, piece: bytes) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": True})


def flatten(lists: Iterable[Iterable[str]]) -> tuple[str, ...]:
    """Warnings of several sources, each once, in order."""
    return tuple(dict.fromkeys(item for items in lists for item in items))
