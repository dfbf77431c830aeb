"""Long blocking work on the store (pull, push, create) as a reply: lines of JSON that tell its progress, or one object.

Knows nothing of what the work is. A client that goes away cancels it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TypeAlias

from starlette.requests import Request
from starlette.responses import Response

from puna.errors import Cancelled, PunaError
from puna.server import errors
from puna.server.encoding import json_bytes
from puna.server.live import LiveResponse, Service, cancelled_on_disconnect
from puna.server.replies import warning_headers
from puna.store.progress import Progress, Report

NDJSON = "application/x-ndjson"

Work: TypeAlias = Callable[[Report, threading.Event], None]  # (report, cancelled): raises PunaError


class Operation:
    """One piece of work on a thread of its own, its progress seen from the event loop."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.cancelled = threading.Event()
        self._failure: PunaError | None = None
        self._loop = asyncio.get_running_loop()
        # What the client has not been sent yet, the newest of each kind: one that reads slowly costs no memory.
        self._waiting: dict[tuple[object, ...], Progress] = {}
        self._changed = asyncio.Event()
        self._work: asyncio.Future[None] = self._loop.create_future()

    def begin(self, service: Service, work: Work) -> None:
        """Start the work."""
        self._work = asyncio.ensure_future(service.operate(self, partial(work, self._report, self.cancelled)))
        self._work.add_done_callback(self._finish)

    @property
    def behind(self) -> bool:
        """Whether there is progress that nobody has taken yet."""
        return bool(self._waiting)

    def cancel(self) -> None:
        """The work ends soon, with `Cancelled`; does nothing when it has ended."""
        self.cancelled.set()

    def fail(self, error: PunaError) -> None:
        """The same, with another error."""
        self._failure = error
        self.cancelled.set()

    async def progress(self) -> AsyncIterator[Progress]:
        """Until the work has ended; what it raised is raised."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            ended = self._work.done()
            while self._waiting:
                yield self._waiting.pop(next(iter(self._waiting)))
            if ended:
                await self._ended()
                return

    async def _ended(self) -> None:
        try:
            await self._work
        except Cancelled as error:
            raise self._failure or error from None

    def _finish(self, work: asyncio.Future[None]) -> None:
        work.exception()  # seen, even if nobody follows any more
        self._changed.set()

    def _report(self, progress: Progress) -> None:
        """Called on the thread that works."""
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._put, progress)

    def _put(self, progress: Progress) -> None:
        if progress.warning is not None and progress.warning not in self.warnings:
            self.warnings.append(progress.warning)
        self._waiting[progress.status, progress.digest, progress.source, progress.warning] = progress
        self._changed.set()


async def respond(service: Service, request: Request, work: Work, *, stream: bool) -> Response:
    """Do the work; the reply ends in `{"status": "success"}`.

    stream: the progress line by line, and an error as the last line. Otherwise only how it ended.
    """
    operation = Operation()
    operation.begin(service, work)
    if stream:
        return LiveResponse(
            operation,
            _lines(operation),
            failed=partial(errors.response, "ollama"),
            failed_piece=lambda error: _line(errors.ollama_body(str(error))),
            media_type=NDJSON,
            headers={},
        )
    async with cancelled_on_disconnect(request.receive, operation):
        async for _ in operation.progress():
            pass
    return Response(
        json_bytes(_success(operation)), headers=warning_headers(operation.warnings), media_type="application/json"
    )


async def _lines(operation: Operation) -> AsyncIterator[bytes]:
    async for progress in operation.progress():
        yield _line(fields(progress))
    yield _line(_success(operation))


def fields(progress: Progress) -> dict[str, object]:
    """As Ollama's clients read it: what is not known is not there."""
    told = {
        "status": progress.status,
        "digest": progress.digest and f"sha256:{progress.digest}",
        "total": progress.total,
        "completed": progress.completed,
        "source": progress.source,
        "warnings": progress.warning and [progress.warning],
    }
    return {name: value for name, value in told.items() if value is not None}


def _success(operation: Operation) -> dict[str, object]:
    return {"status": "success", **({"warnings": operation.warnings} if operation.warnings else {})}


def _line(value: dict[str, object]) -> bytes:
    return json_bytes(value) + b"\n"
