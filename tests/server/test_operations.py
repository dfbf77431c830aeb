"""Long work on the store as a reply: what its client sees, and what a client that goes away or reads slowly costs."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message

from puna.errors import InvalidRequest, PunaError
from puna.runtime import Runtime
from puna.server.accounting import Accounting
from puna.server.accounts import Accounts
from puna.server.live import Service
from puna.server.metrics import Metrics
from puna.server.operations import Operation, Work, respond
from puna.store import Progress, Report, Store
from puna.store.progress import check

DIGEST = "ab" * 32


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with Accounts(tmp_path / "accounts.db") as accounts, Runtime(Store(tmp_path / "models")) as runtime:
        service = Service(runtime, Accounting(accounts.ledger, Metrics()))
        yield service
        service.close()


def reply(service: Service, work: Work, *, stream: bool, leaves: bool = False) -> tuple[int, list[dict[str, Any]]]:
    """The status and the lines of the reply; `leaves`: the client goes away at once."""
    status, body = 0, b""

    async def send(message: Message) -> None:
        nonlocal status, body
        status = message.get("status", status)
        body += message.get("body", b"")

    async def receive() -> Message:
        if not leaves:
            await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def run() -> None:
        request = Request({"type": "http", "method": "POST", "path": "/api/pull", "headers": []}, receive)
        try:
            response = await respond(service, request, work, stream=stream)
        except PunaError as error:
            await send({"status": 500, "body": json.dumps({"error": str(error)}).encode()})
        else:
            await response(request.scope, receive, send)

    asyncio.run(run())
    return status, [json.loads(line) for line in body.splitlines()]


def work(report: Report, _cancelled: threading.Event) -> None:
    report(Progress("pulling manifest"))
    report(Progress("pulling abab", DIGEST, total=10, completed=10, warning="no TLS"))


def failing(report: Report, _cancelled: threading.Event) -> None:
    report(Progress("pulling manifest"))
    raise PunaError("file does not exist")


def refused(_report: Report, _cancelled: threading.Event) -> None:
    raise InvalidRequest("no")


def test_progress_comes_line_by_line_in_ollama_s_shape(service: Service) -> None:
    status, lines = reply(service, work, stream=True)
    assert status == 200
    assert lines == [
        {"status": "pulling manifest"},
        {"status": "pulling abab", "digest": f"sha256:{DIGEST}", "total": 10, "completed": 10, "warnings": ["no TLS"]},
        {"status": "success", "warnings": ["no TLS"]},
    ]


def test_without_a_stream_only_the_end_is_told(service: Service) -> None:
    assert reply(service, work, stream=False) == (200, [{"status": "success", "warnings": ["no TLS"]}])
    assert reply(service, failing, stream=False) == (500, [{"error": "file does not exist"}])


def test_an_error_in_the_middle_is_the_last_line_and_one_before_anything_has_a_status(service: Service) -> None:
    assert reply(service, failing, stream=True) == (
        200,
        [{"status": "pulling manifest"}, {"error": "file does not exist"}],
    )
    assert reply(service, refused, stream=True) == (400, [{"error": "no"}])


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_ends_the_work(service: Service, stream: bool) -> None:
    ended = threading.Event()

    def endless(report: Report, cancelled: threading.Event) -> None:
        report(Progress("pulling manifest"))
        assert cancelled.wait(20)
        ended.set()
        check(cancelled)

    reply(service, endless, stream=stream, leaves=True)
    assert ended.wait(20)


def test_a_client_that_reads_slowly_costs_no_memory(service: Service) -> None:
    def eager(report: Report, _cancelled: threading.Event) -> None:
        for completed in range(20_000):
            report(Progress("pulling abab", DIGEST, total=20_000, completed=completed))

    async def run() -> list[Progress]:
        operation = Operation()
        operation.begin(service, eager)
        await asyncio.sleep(0.05)
        seen = []
        async for progress in operation.progress():
            seen.append(progress)
            await asyncio.sleep(0.01)
            assert len(operation._waiting) <= 1
        return seen

    seen = asyncio.run(run())
    assert seen[-1].completed == 19_999
    assert len(seen) < 10_000


def test_a_server_that_ends_tells_it_to_the_client(service: Service) -> None:
    def patient(report: Report, cancelled: threading.Event) -> None:
        report(Progress("pulling manifest"))
        service.abort()
        assert cancelled.wait(20)
        check(cancelled)

    _, lines = reply(service, patient, stream=True)
    assert lines[-1] == {"error": "the server is shutting down"}
