"""`Idempotency-Key`: the same request again is answered from the answer there is, and a broken stream is taken up.

With that header a request to a generating route runs by itself and its clients follow it: whoever sends the same key
and body again gets the same bytes, whether the answer is finished or still running, and nothing is generated twice.
`?after=N` leaves out the first N pieces of a stream (server-sent events, or lines), `Last-Event-ID` does the same.
When the last client has gone, the request goes on for a grace period; a DELETE of the same route with the same key
ends it at once, for those who follow it too. What fails is not kept.

One mechanism for every dialect: it knows requests and replies as bytes, nothing of what is in them. The header's
meaning is that of the IETF's draft-ietf-httpapi-idempotency-key-header.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import AsyncIterator
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from puna.errors import InvalidRequest, PunaError
from puna.server import errors
from puna.server.body import MAX_BODY
from puna.server.errors import BodyTooLargeError, IdempotencyConflictError, NotFoundError, NothingToResumeError
from puna.server.keys import Key
from puna.server.live import BROKEN

GENERATING = frozenset(
    {
        "/api/generate",
        "/api/chat",
        "/api/embed",
        "/api/embeddings",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/rerank",
        "/v1/responses",
        "/v1/messages",
    }
)
GRACE = 30.0  # seconds that a request goes on when its last client has gone
KEEP_SECONDS = 600.0  # that an answer is kept after its end
KEEP_ANSWERS, KEEP_BYTES = 1024, 64 << 20  # finished answers kept at most; the oldest go
MAX_KEY = 255  # characters

# What ends a piece of a stream, by its content type.
_ENDS = {"text/event-stream": b"\n\n", "application/x-ndjson": b"\n"}


class Idempotency:
    """ASGI middleware, behind the check of API keys: whose keys they are is part of what makes a request the same."""

    def __init__(self, app: ASGIApp, *, grace: float = GRACE, keep: float = KEEP_SECONDS) -> None:
        """Args: see GRACE and KEEP_SECONDS."""
        self._app = app
        self._grace = grace
        self._keep = keep
        self._answers: OrderedDict[bytes, _Answer] = OrderedDict()  # the one that began first is first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what has no key; follow the answer of what has one."""
        if scope["type"] != "http" or scope["method"] not in ("POST", "DELETE") or scope["path"] not in GENERATING:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if "idempotency-key" not in headers:
            await self._app(scope, receive, send)
            return
        try:
            if scope["method"] == "DELETE":
                self._end(_name(scope, headers["idempotency-key"]))
                await Response(status_code=204)(scope, receive, send)
                return
            body = await _body(receive)
            if body is None:
                return  # the client went away before it had asked
            after = _after(scope, headers)
            answer, replayed = self._answer(scope, headers, body, after)
            await self._follow(answer, answer.messages(after, replayed), receive, send)
        except PunaError as error:
            await errors.response(errors.dialect(scope), error)(scope, receive, send)

    def _answer(self, scope: Scope, headers: Headers, body: bytes, after: int) -> tuple[_Answer, bool]:
        """The answer there is, or one that is begun; whether there was one."""
        name, digest = _name(scope, headers["idempotency-key"]), hashlib.sha256(body).digest()
        answer = self._answers.get(name)
        if answer is None or answer.given_up:
            if after:
                raise NothingToResumeError("there is no answer to take up under this Idempotency-Key (any more)")
            answer = self._answers[name] = _Answer(digest)
            answer.task = asyncio.create_task(self._run(name, answer, scope, body))
            return answer, False
        if answer.digest != digest:
            raise IdempotencyConflictError("this Idempotency-Key was used for a request with another body")
        return answer, True

    def _end(self, name: bytes) -> None:
        """Stop and forget an answer. Raises NotFoundError."""
        answer = self._answers.get(name)
        if answer is None:
            raise NotFoundError("there is no answer to end under this Idempotency-Key (any more)")
        answer.give_up()
        self._forget(name, answer)

    async def _run(self, name: bytes, answer: _Answer, scope: Scope, body: bytes) -> None:
        try:
            await answer.run(self._app, scope, body)
        finally:
            if answer.complete:
                answer.expiry = asyncio.get_running_loop().call_later(self._keep, self._forget, name, answer)
                self._make_room()
            else:
                self._forget(name, answer)

    async def _follow(self, answer: _Answer, messages: AsyncIterator[Message], receive: Receive, send: Send) -> None:
        """Send its messages to a client until they end or the client goes away."""

        async def deliver() -> None:
            async for message in messages:
                await send(message)

        answer.join()
        tasks = [asyncio.create_task(deliver()), asyncio.create_task(_gone(receive))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            answer.leave(self._grace)

    def _make_room(self) -> None:
        finished = [(name, answer) for name, answer in self._answers.items() if answer.complete]
        count, size = len(finished), sum(answer.size for _, answer in finished)
        for name, answer in finished:
            if count <= KEEP_ANSWERS and size <= KEEP_BYTES:
                return
            self._forget(name, answer)
            count, size = count - 1, size - answer.size

    def _forget(self, name: bytes, answer: _Answer) -> None:
        if self._answers.get(name) is answer:
            del self._answers[name]
        if answer.expiry is not None:
            answer.expiry.cancel()  # or it would hold the answer until then


class _Answer:
    """The reply to one request in the making, in pieces that any number of clients follow.

    It is held whole until it ends, as a reply that is not streamed is anyway: it is no longer than the context.
    """

    def __init__(self, digest: bytes) -> None:
        self.digest = digest  # of the request's body
        self.size = 0  # bytes
        self.task: asyncio.Task[None] | None = None  # that makes it
        self.expiry: asyncio.TimerHandle | None = None  # that has it forgotten
        self._start: Message | None = None
        self._end = b""  # what ends a piece; nothing: the body is one piece
        self._pieces: list[bytes] = []
        self._rest = b""  # of a piece that has not ended
        self._ended = False
        self._broken = False
        self._error: Exception | None = None
        self._changed = asyncio.Event()
        self._clients = 0
        self._grace: asyncio.TimerHandle | None = None
        self._gone = asyncio.Event()  # what the application takes for its client has gone

    @property
    def given_up(self) -> bool:
        """Whether it is ended because nobody came back."""
        return self._gone.is_set()

    @property
    def complete(self) -> bool:
        """Whether it has ended and is what was asked for, not an error."""
        return self._ended and not self._broken and self._start is not None and self._start["status"] < 400

    async def run(self, app: ASGIApp, scope: Scope, body: bytes) -> None:
        """Let the application answer."""
        unread: Message | None = {"type": "http.request", "body": body, "more_body": False}

        async def receive() -> Message:
            nonlocal unread
            if unread is not None:
                message, unread = unread, None
                return message
            await self._gone.wait()
            return {"type": "http.disconnect"}

        try:
            await app({**scope, BROKEN: self._break}, receive, self._take)
        except Exception as error:  # whoever follows raises it
            self._error = error
            self._broken = True
        finally:
            if self._rest:
                self._keep_piece(self._rest)
            self._ended = True
            self._notify()

    async def messages(self, after: int, replayed: bool) -> AsyncIterator[Message]:
        """The reply without its first `after` pieces, as it comes. Raises InvalidRequest if it has fewer."""
        while len(self._pieces) <= after and not self._ended:
            await self._changed.wait()
        if self._error is not None:
            raise self._error
        if self._start is None:
            return  # the server is shutting down
        if self._start["status"] < 400 and after > (len(self._pieces) if self._end else 0):
            raise InvalidRequest(f"after: the answer is no stream of more than {after} pieces")
        extra = [(b"idempotent-replayed", b"true")] if replayed else []
        yield {**self._start, "headers": [*self._start["headers"], *extra]}
        index = after if self._end else 0
        while True:
            if index < len(self._pieces):  # all at once: a write costs more than a piece
                ready, index = self._pieces[index:], len(self._pieces)
                yield _piece(b"".join(ready))
                continue
            if self._ended:
                break
            await self._changed.wait()
        if self._error is not None:
            raise self._error  # in the midst of it: its clients must not take it for whole
        yield {"type": "http.response.body", "body": b"", "more_body": False}

    def give_up(self) -> None:
        """End it, as if its client had gone."""
        self._break()
        self._gone.set()

    def join(self) -> None:
        """One more client follows."""
        self._clients += 1
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def leave(self, grace: float) -> None:
        """One client fewer; without any it ends in `grace` seconds."""
        self._clients -= 1
        if not self._clients and not self._ended:
            self._grace = asyncio.get_running_loop().call_later(grace, self.give_up)

    def _break(self) -> None:
        """It will not be what was asked for."""
        self._broken = True

    async def _take(self, message: Message) -> None:
        """The application's `send`."""
        if message["type"] == "http.response.start":
            self._start = message
            content_type = Headers(raw=message["headers"]).get("content-type", "")
            self._end = _ENDS.get(content_type.partition(";")[0], b"")
        elif body := message.get("body", b""):
            self._add(body)
            self._notify()

    def _add(self, body: bytes) -> None:
        *pieces, self._rest = (self._rest + body).split(self._end) if self._end else (body, b"")
        for piece in pieces:
            self._keep_piece(piece + self._end)

    def _keep_piece(self, piece: bytes) -> None:
        number = b"id: %d\n" % (len(self._pieces) + 1) if self._end == b"\n\n" else b""
        self._pieces.append(number + piece)
        self.size += len(number + piece)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def _body(receive: Receive) -> bytes | None:
    """The request's body; None when its client has gone. Raises BodyTooLargeError."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise BodyTooLargeError(f"the request body is larger than {MAX_BODY >> 20} MiB")
        if not message.get("more_body"):
            return bytes(body)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _piece(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}


def _name(scope: Scope, key: str) -> bytes:
    """What makes two requests the same: the owner, the route and the key. Raises InvalidRequest."""
    if not 1 <= len(key) <= MAX_KEY:
        raise InvalidRequest(f"Idempotency-Key must have 1 to {MAX_KEY} characters, not {len(key)}")
    owner: Key = scope["state"]["key"]  # as `security.Guard` found it
    return hashlib.sha256(json.dumps([owner.name, str(owner.created), scope["path"], key]).encode()).digest()


def _after(scope: Scope, headers: Headers) -> int:
    """How many pieces the client has. Raises InvalidRequest."""
    query = parse_qs(scope["query_string"].decode("latin-1"))
    after = query.get("after", [headers.get("last-event-id") or "0"])[-1]
    if not (after.isascii() and after.isdigit() and len(after) < 10):
        raise InvalidRequest(f"after (or Last-Event-ID) must be a number of pieces, not {after!r}")
    return int(after)
