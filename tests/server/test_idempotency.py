"""Idempotency-Key: nothing is generated twice, streams are taken up, what nobody comes back for ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from puna.server import idempotency
from puna.server.idempotency import GENERATING, Idempotency
from puna.server.keys import OPERATOR, Key
from puna.server.live import BROKEN
from tests.server.process import server_process
from tests.server.test_failures import ENDLESS, HI, loaded, send, wait_until

OPTIONS = {"temperature": 0.8, "num_predict": 40}  # no seed: the same text again is the same answer again
BODIES: dict[str, dict[str, Any]] = {
    "/api/chat": {"model": "cria", "messages": HI, "options": OPTIONS},
    "/api/generate": {"model": "cria", "prompt": "hi", "options": OPTIONS},
    "/v1/chat/completions": {"model": "cria", "messages": HI, "max_tokens": 40, "stream": True},
    "/v1/completions": {"model": "cria", "prompt": "hi", "max_tokens": 40, "stream": True},
    "/v1/responses": {"model": "cria", "input": "hi", "max_output_tokens": 40, "stream": True},
    "/v1/messages": {"model": "cria", "messages": HI, "max_tokens": 40, "stream": True},
}


def key(value: str, **more: str) -> dict[str, str]:
    return {"Idempotency-Key": value, **more}


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("stream", [True, False])
def test_the_same_request_again_gets_the_same_bytes(http: httpx.Client, path: str, stream: bool) -> None:
    body, headers = {**BODIES[path], "stream": stream}, key(f"same {path} {stream}")
    first, again = (http.post(path, json=body, headers=headers) for _ in range(2))
    assert first.status_code == 200, first.text
    assert again.content == first.content
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["content-type"] == first.headers["content-type"]


@pytest.mark.parametrize("path", BODIES)
def test_a_stream_is_taken_up_after_any_piece(http: httpx.Client, path: str) -> None:
    body, headers = {**BODIES[path], "stream": True}, key(f"after {path}")
    whole = http.post(path, json=body, headers=headers).content
    end = b"\n" if path.startswith("/api") else b"\n\n"
    pieces = [piece + end for piece in whole.split(end)[:-1]]
    for after in (1, len(pieces) - 1, len(pieces)):
        assert http.post(path, params={"after": after}, json=body, headers=headers).content == b"".join(pieces[after:])
    assert http.post(path, params={"after": len(pieces) + 1}, json=body, headers=headers).status_code == 400


def test_events_have_ids_only_with_a_key_and_last_event_id_takes_up(http: httpx.Client) -> None:
    path = "/v1/chat/completions"
    assert not any(line.startswith("id:") for line in http.post(path, json=BODIES[path]).text.splitlines())
    events = http.post(path, json=BODIES[path], headers=key("ids")).text.split("\n\n")[:-1]
    assert [event.split("\n")[0] for event in events] == [f"id: {number + 1}" for number in range(len(events))]
    rest = http.post(path, json=BODIES[path], headers=key("ids", **{"Last-Event-ID": "2"}))
    assert rest.text.split("\n\n")[:-1] == events[2:]


@pytest.mark.parametrize(
    ("path", "of"), [("/api/chat", None), ("/v1/chat/completions", "type"), ("/v1/messages", "type")]
)
def test_another_body_under_the_same_key_is_a_422_in_the_dialects_shape(
    http: httpx.Client, path: str, of: str | None
) -> None:
    body = {**BODIES[path], "stream": False}
    assert http.post(path, json=body, headers=key("other")).status_code == 200
    refused = http.post(path, json={**body, "messages": [*HI, *HI]}, headers=key("other"))
    assert refused.status_code == 422
    error = refused.json()["error"]
    assert isinstance(error, str) if of is None else error[of] == "invalid_request_error"


def test_the_same_key_on_another_route_is_another_request(http: httpx.Client) -> None:
    for path in ("/v1/chat/completions", "/v1/messages"):
        assert "idempotent-replayed" not in http.post(path, json=BODIES[path], headers=key("routes")).headers


@pytest.mark.parametrize(
    ("headers", "params", "status"),
    [
        (key(""), {}, 400),
        (key("k" * 256), {}, 400),
        (key("new"), {"after": "3"}, 409),
        (key("new"), {"after": "x"}, 400),
        (key("new", **{"Last-Event-ID": "-1"}), {}, 400),
    ],
)
def test_what_cannot_be_is_refused(
    http: httpx.Client, headers: dict[str, str], params: dict[str, str], status: int
) -> None:
    assert http.post("/api/chat", json=BODIES["/api/chat"], headers=headers, params=params).status_code == status


def test_a_refused_request_may_be_mended_under_its_key(http: httpx.Client) -> None:
    for body, status in (({**BODIES["/api/chat"], "model": "nope"}, 404), (BODIES["/api/chat"], 200)):
        assert http.post("/api/chat", json=body, headers=key("mended")).status_code == status


def test_a_client_that_comes_back_gets_the_rest_of_the_running_answer(url: str, http: httpx.Client) -> None:
    """Without a key it would have been cancelled within a step."""
    body = {"model": "cria", "messages": HI, "options": {**ENDLESS, "num_predict": 1500}}
    connection = send(url, "/api/chat", body, key("back"))
    start = connection.recv(2000)
    connection.close()
    assert start.startswith(b"HTTP/1.1 200")
    assert not wait_until(lambda: loaded(http)["open_requests"] == 0, 0.3)
    rest = http.post("/api/chat", content=json.dumps(body), headers=key("back"), params={"after": 1}).text.splitlines()
    last = json.loads(rest[-1])
    assert last["eval_count"] == 1500
    whole = http.post("/api/chat", content=json.dumps(body), headers=key("back")).text.splitlines()
    assert whole[1:] == rest


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/messages"])
def test_a_delete_ends_the_answer_at_once_and_forgets_it(url: str, http: httpx.Client, path: str) -> None:
    """Whoever follows it gets its last piece; without this it would go on for the grace of a lost client."""
    body = {**BODIES[path], "logit_bias": ENDLESS["logit_bias"], "max_tokens": 1500}
    if path == "/api/chat":
        body = {"model": "cria", "messages": HI, "options": {**ENDLESS, "num_predict": 1500}}
    if path == "/v1/messages":
        body["messages"] = [{"role": "user", "content": "Count from one to thirty, again and again."}]
    with send(url, path, body, key(f"ended {path}")) as connection:
        assert connection.recv(2000).startswith(b"HTTP/1.1 200")
        assert http.delete(path, headers=key(f"ended {path}")).status_code == 204
        assert wait_until(lambda: loaded(http)["open_requests"] == 0, 1)
        connection.settimeout(5)
        rest = b"".join(iter(lambda: connection.recv(1 << 16), b"")) if path == "/api/chat" else b""
    if rest:
        assert b'"done_reason":"cancelled"' in rest
    assert http.delete(path, headers=key(f"ended {path}")).status_code == 404
    again = http.post(path, json=body, headers=key(f"ended {path}"), params={"after": 1})
    assert again.status_code == 409


def test_several_at_once_are_answered_by_one_generation(url: str) -> None:
    async def ask(client: httpx.AsyncClient) -> bytes:
        return (await client.post("/v1/messages", json=BODIES["/v1/messages"], headers=key("two"))).content

    async def both() -> list[bytes]:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            return await asyncio.gather(*(ask(client) for _ in range(4)))

    assert len(set(asyncio.run(both()))) == 1


def test_a_server_ends_in_order_while_an_answer_goes_on_without_a_client(models: Path) -> None:
    """`server_process` sees to it that it says nothing."""
    body = {"model": "cria", "messages": HI, "options": ENDLESS}
    with server_process(models) as url:
        for number in range(2):
            with send(url, "/api/chat", body, key(f"end {number}")) as connection:
                assert connection.recv(2000).startswith(b"HTTP/1.1 200")


def test_a_full_server_is_no_answer_to_keep(models: Path) -> None:
    with server_process(models, PUNA_MAX_QUEUE="1") as url, httpx.Client(base_url=url, timeout=60) as http:
        http.post("/api/generate", json={"model": "cria"})
        body = {**BODIES["/api/chat"], "stream": False}
        with send(url, "/api/chat", {"model": "cria", "messages": HI, "options": ENDLESS}, key("first")):
            assert wait_until(lambda: loaded(http)["open_requests"] == 1, 5)
            refused = http.post("/api/chat", json=body, headers=key("second"))
        assert refused.status_code == 503
        assert "retry-after" in refused.headers
        assert wait_until(lambda: http.post("/api/chat", json=body, headers=key("second")).status_code == 200, 20)


def test_every_route_that_answers_in_a_stream_is_covered(http: httpx.Client) -> None:
    """A new dialect's route must not be forgotten."""
    described = http.get("/openapi.json").json()
    answering = set()
    for path, methods in described["paths"].items():
        body = methods.get("post", {}).get("requestBody")
        schema = body["content"].get("application/json", {}).get("schema", {}) if body else {}
        reference = schema.get("$ref", "")
        fields = described["components"]["schemas"].get(reference.rpartition("/")[2], {}).get("properties", {})
        if {"stream", "temperature"} <= set(fields) or {"stream", "options"} <= set(fields):
            answering.add(path)
    assert answering - {"/v1/responses/input_tokens"} <= GENERATING  # it counts, no more
    assert set(BODIES) <= answering


# From here on the middleware by itself, around applications that do what is needed to see it.

Application = Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]]


class Client:
    """One request to an ASGI application, that hangs up when told to."""

    def __init__(self, app: Application, headers: dict[str, str], query: str = "", owner: Key = OPERATOR) -> None:
        self.received = b""
        self.status = 0
        self.headers: dict[str, str] = {}
        self._body: bytes | None = b"{}"
        self._gone = asyncio.Event()
        self._scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/messages",
            "query_string": query.encode(),
            "state": {"key": owner},
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
        self.task = asyncio.create_task(app(self._scope, self._receive, self._send))

    def hang_up(self) -> None:
        self._gone.set()

    async def _receive(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.received += message.get("body", b"")


class SlowClient(Client):
    """One that reads nothing before `reads` is set."""

    def __init__(self, app: Application, headers: dict[str, str]) -> None:
        self.reads = asyncio.Event()
        super().__init__(app, headers)

    async def _send(self, message: Message) -> None:
        await self.reads.wait()
        await super()._send(message)


class Lines:
    """Streams numbered lines, each when told to; knows how often it was asked and whether its client went away."""

    def __init__(self, media_type: bytes = b"application/x-ndjson") -> None:
        self.runs = 0
        self.gone = asyncio.Event()
        self.next = asyncio.Semaphore(0)
        self.broken = False
        self._media_type = media_type

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.runs += 1
        self.gone.clear()
        assert (await receive())["body"] == b"{}"
        watcher = asyncio.create_task(self._watch(receive))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", self._media_type)]})
        for number in range(4):
            await self.next.acquire()
            if self.gone.is_set():
                break
            await send(
                {"type": "http.response.body", "body": b"%d of run %d\n" % (number, self.runs), "more_body": True}
            )
        if self.broken:
            scope[BROKEN]()
        watcher.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _watch(self, receive: Receive) -> None:
        await receive()
        self.gone.set()
        self.next.release()

    def go(self, lines: int) -> None:
        for _ in range(lines):
            self.next.release()


def after(received: bytes) -> str:
    """The query that takes up what follows."""
    lines = received.count(b"\n")
    return f"after={lines}" if lines else ""


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_request_that_nobody_comes_back_for_ends_after_its_grace() -> None:
    async def run() -> None:
        lines = Lines()
        app = Idempotency(lines, grace=0.05)
        client = Client(app, key("k"))
        lines.go(1)
        await settle()
        client.hang_up()
        await client.task
        assert not lines.gone.is_set()
        await asyncio.sleep(0.1)
        assert lines.gone.is_set()
        again = Client(app, key("k"))
        lines.go(4)
        await again.task
        assert (lines.runs, again.received) == (2, b"".join(b"%d of run 2\n" % number for number in range(4)))

    asyncio.run(run())


def test_coming_back_stops_the_clock() -> None:
    async def run() -> None:
        lines = Lines()
        app = Idempotency(lines, grace=0.05)
        first = Client(app, key("k"))
        lines.go(1)
        await settle()
        first.hang_up()
        await first.task
        second = Client(app, key("k"), "after=1")
        await asyncio.sleep(0.1)
        lines.go(3)
        await second.task
        assert first.received + second.received == b"".join(b"%d of run 1\n" % number for number in range(4))
        assert lines.runs == 1

    asyncio.run(run())


def test_an_answer_that_broke_is_not_kept() -> None:
    async def run() -> None:
        lines = Lines()
        lines.broken = True
        app = Idempotency(lines)
        for runs in (1, 2):
            client = Client(app, key("k"))
            lines.go(4)
            await client.task
            assert (client.status, lines.runs) == (200, runs)

    asyncio.run(run())


def test_an_application_that_raises_raises_to_each_client_and_may_be_asked_again() -> None:
    async def run() -> None:
        runs = 0

        async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
            nonlocal runs
            runs += 1
            await asyncio.sleep(0.01)
            raise ZeroDivisionError

        app = Idempotency(broken)
        for _ in range(2):
            clients = [Client(app, key("k")) for _ in range(2)]
            for client in clients:
                with pytest.raises(ZeroDivisionError):
                    await client.task
        assert runs == 2

    asyncio.run(run())


def test_an_application_that_raises_in_the_midst_does_not_look_whole() -> None:
    async def run() -> None:
        async def broken(_scope: Scope, _receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
            raise ZeroDivisionError

        client = Client(Idempotency(broken), key("k"))
        with pytest.raises(ZeroDivisionError):
            await client.task

    asyncio.run(run())


def test_an_answer_is_its_owners_alone() -> None:
    async def run() -> None:
        lines = Lines()
        app = Idempotency(lines)
        for owner in (OPERATOR, Key("ann"), Key("bob")):
            client = Client(app, key("k"), owner=owner)
            lines.go(4)
            await client.task
        assert lines.runs == 3

    asyncio.run(run())


def test_answers_are_forgotten_by_age_and_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = 0

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal runs
        runs += 1
        await Response(b"x" * 400)(scope, receive, send)

    async def ask(app: Idempotency, name: str) -> None:
        await Client(app, key(name)).task

    async def run() -> None:
        app = Idempotency(large, keep=0.05)
        for name in ("a", "b", "c", "c", "a"):  # there is room for two: when a comes again it was forgotten
            await ask(app, name)
        assert runs == 4
        await asyncio.sleep(0.1)
        await ask(app, "a")
        assert runs == 5

    monkeypatch.setattr(idempotency, "KEEP_BYTES", 1000)
    asyncio.run(run())


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), max_size=5))
def test_however_often_a_client_is_cut_off_it_reads_every_line_once(cuts: list[tuple[int, int]]) -> None:
    """Each cut: so many lines come, then the client hangs up, then so many come before it is back."""

    async def run() -> None:
        lines = Lines()
        app = Idempotency(lines)
        received = b""
        for before, between in cuts:
            client = Client(app, key("k"), after(received))
            lines.go(before)
            await settle()
            client.hang_up()
            await client.task
            received += client.received
            lines.go(between)
            await settle()
        client = Client(app, key("k"), after(received))
        lines.go(4)
        await client.task
        assert received + client.received == b"".join(b"%d of run 1\n" % number for number in range(4))
        assert lines.runs == 1

    asyncio.run(run())


def test_a_client_that_reads_slowly_holds_up_nobody() -> None:
    async def run() -> None:
        lines = Lines()
        app = Idempotency(lines)
        slow, quick = SlowClient(app, key("k")), Client(app, key("k"))
        lines.go(4)
        await quick.task
        assert quick.received
        assert not slow.received
        slow.reads.set()
        await slow.task
        assert slow.received == quick.received

    asyncio.run(run())
