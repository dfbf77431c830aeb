"""Blobs fetched from a server that does each thing a server can do wrong: success, or an error that names the cause."""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from puna.errors import Cancelled, DigestMismatch, StoreError, TransferError
from puna.store.blobs import Blobs
from puna.store.progress import Progress, ignore
from puna.store.transfer.download import download
from puna.store.transfer.journal import BLOCK
from puna.store.transfer.retrying import Patience
from puna.store.transfer.source import Source
from tests.store import registry_server as server
from tests.store.registry_server import Fault, RegistryServer

PATIENCE = Patience(attempts=4, first=0.01, longest=0.02, longest_asked=2.0, stall=0.3)
DATA = os.urandom(3 * BLOCK + 12345)


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        yield running


@pytest.fixture
def other() -> Iterator[RegistryServer]:
    """A second place for the same blob."""
    with RegistryServer() as running:
        yield running


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path)


def fetch(blobs: Blobs, *registries: RegistryServer, data: bytes = DATA, **options: object) -> None:
    """Fetch `data` from all of them; what is in the store afterwards must be it."""
    (digest,) = {registry.add_blob(data) for registry in registries}
    sources = [source(registry, digest) for registry in registries]
    given = {"patience": PATIENCE, "cancelled": threading.Event(), "report": ignore} | options
    path = download(digest, len(data), sources, blobs, **given)  # type: ignore[arg-type]
    assert path == blobs.path(digest)
    assert path.read_bytes() == data
    assert not list(blobs.partials.iterdir())


def source(registry: RegistryServer, digest: str) -> Source:
    return Source(f"{registry.url}/v2/library/x/blobs/sha256:{digest}")


def assert_nothing_wrong_is_kept(blobs: Blobs) -> None:
    assert not blobs.folder.exists() or not list(blobs.folder.iterdir())


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 9 * BLOCK])
def test_a_blob_of_any_size_is_fetched_once_and_whole(blobs: Blobs, registry: RegistryServer, size: int) -> None:
    fetch(blobs, registry, data=os.urandom(size))
    assert registry.sent == size


@pytest.mark.parametrize(
    ("fault", "most"),
    [
        (server.answers(500, times=3), 1.0),
        (server.answers(429, times=2, Retry_After="0"), 1.0),
        (server.answers(408, times=1), 1.0),
        (server.drops_at_once(times=3), 1.0),
        (server.drops_after(0, times=3), 1.0),
        (server.drops_after(100_000), 1.0),
        (server.drops_after(BLOCK + 7, times=3), 1.0),
        (server.sends_fewer_bytes_than_it_says(5000, times=3), 1.0),
        (server.sends_more_bytes_than_asked(3000), 1.2),
        (server.ignores_ranges(), 1.0),
        (server.tells_no_length(), 1.0),
        (server.stalls_after(200_000, 1.0, times=2), 1.0),
        (server.trickles(0.05, times=2), 1.0),
    ],
    ids=[
        "answers_500", "answers_429", "answers_408", "drops_the_connection_at_once", "drops_it_after_the_headers",
        "drops_it_again_and_again", "drops_it_in_a_block", "sends_fewer_bytes_than_it_says",
        "sends_more_bytes_than_asked", "ignores_ranges", "tells_no_length", "stalls", "trickles",
    ],
)  # fmt: skip
def test_a_server_succeeds_in_the_end_that(blobs: Blobs, registry: RegistryServer, fault: Fault, most: float) -> None:
    registry.faults.append(fault)
    fetch(blobs, registry)
    assert registry.sent <= most * len(DATA) + 5 * 3000  # nothing is fetched twice


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        (server.answers(500), "answers 500 Internal Server Error: so it is (gave up after 4 attempts)"),
        (server.answers(404), "answers 404 Not Found: so it is"),
        (server.answers(403), "answers 403 Forbidden: so it is"),
        (server.answers(401), "answers 401 Unauthorized: so it is"),
        (server.answers(429, Retry_After="7200"), "the server asks to come back in 7200 seconds"),
        (server.drops_after(1000), "gave up after 4 attempts"),
        (server.drops_at_once(), "gave up after 4 attempts"),
        (server.stalls_after(0, 1.0), "stalled"),
        (server.sends_another_range(17), "was asked for bytes 0-"),
        (server.says_another_size(1234), f"1234 bytes, where {len(DATA)} were expected"),
        (server.redirects(lambda exchange: exchange.path), "redirects in circles"),
        (server.redirects(lambda _: "http://127.0.0.1:1/x"), "Connection refused"),
        (server.redirects(lambda _: "ftp://127.0.0.1/x"), "ftp"),
    ],
    ids=[
        "always_answers_500", "has_it_not", "forbids_it", "wants_another_login", "is_busy_for_hours",
        "always_drops_the_connection", "drops_it_at_once", "always_stalls", "sends_another_range",
        "lies_about_its_size", "redirects_in_circles", "redirects_to_nobody", "redirects_to_another_protocol",
    ],
)  # fmt: skip
def test_an_error_names_the_cause_where_a_server(
    blobs: Blobs, registry: RegistryServer, fault: Fault, cause: str
) -> None:
    registry.faults.append(fault)
    with pytest.raises(TransferError, match=re.escape(cause)) as caught:
        fetch(blobs, registry)
    assert registry.host in str(caught.value)
    assert_nothing_wrong_is_kept(blobs)


def test_wrong_bytes_are_never_kept_and_the_error_says_who_sent_them(blobs: Blobs, registry: RegistryServer) -> None:
    registry.faults.append(server.sends_wrong_bytes())
    with pytest.raises(DigestMismatch, match=f"digest mismatch, file must be downloaded again.*{registry.host}"):
        fetch(blobs, registry)
    assert_nothing_wrong_is_kept(blobs)
    assert not list(blobs.partials.iterdir())


@pytest.mark.parametrize(
    "fault",
    [
        server.sends_wrong_bytes(), server.answers(404), server.answers(503), server.drops_after(10),
        server.stalls_after(9, 1.0), server.says_another_size(77), server.sends_another_range(1),
    ],
    ids=["sends_wrong_bytes", "has_it_not", "is_busy", "drops", "stalls", "lies_about_its_size", "sends_another_range"],
)  # fmt: skip
def test_another_source_helps_where_the_first(
    blobs: Blobs, registry: RegistryServer, other: RegistryServer, fault: Fault
) -> None:
    registry.faults.append(fault)
    fetch(blobs, registry, other)


def test_no_right_is_shown_to_where_a_server_redirects_and_the_redirect_is_asked_for_once(
    blobs: Blobs, registry: RegistryServer, other: RegistryServer
) -> None:
    other.faults.append(server.redirects(lambda exchange: f"http://localhost:{registry.port}{exchange.path}"))
    digest = registry.add_blob(DATA)
    headers = {"Authorization": "Bearer secret", "Cookie": "m=secret"}
    origin = Source(source(other, digest).url, headers=lambda: headers)
    download(digest, len(DATA), [origin], blobs, ignore, threading.Event(), patience=PATIENCE)
    assert [seen.headers["authorization"] for seen in other.log] == ["Bearer secret"]
    assert not any("secret" in str(seen.headers) for seen in registry.log)
    assert len(registry.log) > 1


def test_a_redirect_that_expires_is_asked_for_again(
    blobs: Blobs, registry: RegistryServer, other: RegistryServer
) -> None:
    other.faults.append(server.redirects(lambda exchange: f"http://localhost:{registry.port}{exchange.path}"))
    seen = [0]

    def expires(exchange: server.Exchange) -> bool:
        seen[0] += 1
        return seen[0] == 2 and exchange.send(403)

    registry.faults.append(expires)
    digest = registry.add_blob(DATA)
    download(digest, len(DATA), [source(other, digest)], blobs, ignore, threading.Event(), patience=PATIENCE)
    assert 2 <= len(other.log) <= 3  # two connections may meet it at once


def test_what_has_come_is_not_fetched_again_after_an_error(blobs: Blobs, registry: RegistryServer) -> None:
    broken = [server.drops_after(3 * BLOCK, times=1), server.answers(404)]
    registry.faults += broken
    with pytest.raises(TransferError):
        fetch(blobs, registry, connections=1)
    (partial,) = blobs.partials.iterdir()
    os.utime(partial, (0, 0))  # however old it is
    came = registry.sent
    registry.faults.clear()
    fetch(blobs, registry)
    assert came >= 2 * BLOCK
    assert registry.sent - came <= len(DATA) - came // BLOCK * BLOCK


def test_a_block_that_was_lost_with_the_power_is_fetched_again(blobs: Blobs, registry: RegistryServer) -> None:
    registry.faults += [server.drops_after(3 * BLOCK, times=1), server.answers(404)]
    with pytest.raises(TransferError):
        fetch(blobs, registry, connections=1)
    (partial,) = blobs.partials.iterdir()
    with partial.open("r+b") as file:
        file.seek(BLOCK + 4096)
        file.write(bytes(4096))
    came = registry.sent
    registry.faults.clear()
    fetch(blobs, registry)
    assert registry.sent - came == len(DATA) - came + BLOCK


def test_a_partial_file_that_is_nonsense_is_begun_anew(blobs: Blobs, registry: RegistryServer) -> None:
    digest = registry.add_blob(DATA)
    blobs.partials.mkdir(parents=True)
    for junk in (
        b"",
        b"x" * 100,
        os.urandom(len(DATA)),
        DATA + os.urandom(600),
        DATA + b" " * 511 + b"\n" + b"\xff" * 80,
    ):
        (blobs.partials / f"sha256-{digest}").write_bytes(junk)
        fetch(blobs, registry)
        blobs.path(digest).unlink()


def test_two_at_once_fetch_it_once_and_both_tell_how_far_it_is(blobs: Blobs, registry: RegistryServer) -> None:
    gate = threading.Event()
    told: list[list[Progress]] = [[], []]
    registry.faults.append(lambda exchange: exchange.is_blob and not gate.wait(10))
    first = threading.Thread(target=fetch, args=(blobs, registry), kwargs={"report": told[0].append})
    second = threading.Thread(target=fetch, args=(Blobs(blobs.root), registry), kwargs={"report": told[1].append})
    first.start()
    wait_until(lambda: registry.log)
    second.start()
    wait_until(lambda: told[1])
    gate.set()
    first.join()
    second.join()
    assert registry.sent == len(DATA)
    assert all(each[-1].total == len(DATA) for each in told)


def test_a_second_one_takes_over_when_the_first_is_cancelled(blobs: Blobs, registry: RegistryServer) -> None:
    gate, cancelled, told = threading.Event(), threading.Event(), list[Progress]()
    registry.faults.append(lambda exchange: exchange.is_blob and not gate.wait(10))
    first = threading.Thread(target=cancelled_fetch, args=(blobs, registry, cancelled))
    first.start()
    wait_until(lambda: registry.log)
    second = threading.Thread(target=fetch, args=(Blobs(blobs.root), registry), kwargs={"report": told.append})
    second.start()
    wait_until(lambda: told)
    cancelled.set()
    first.join()
    gate.set()
    second.join()
    assert blobs.has(registry.add_blob(DATA))


def test_cancelling_ends_it_at_once_though_the_server_is_silent(blobs: Blobs, registry: RegistryServer) -> None:
    registry.faults.append(server.stalls_after(1000, 5.0))
    cancelled = threading.Event()
    threading.Timer(0.2, cancelled.set).start()
    began = time.monotonic()
    cancelled_fetch(blobs, registry, cancelled, patience=Patience())
    assert time.monotonic() - began < 2.0


def test_a_blob_that_does_not_fit_the_disk_is_refused_before_it_is_fetched(
    blobs: Blobs, registry: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(blobs.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=len(DATA) - 1))
    with pytest.raises(StoreError, match=r"not enough room in .*: 3\.2 MB are to come, 3\.2 MB are free"):
        fetch(blobs, registry)
    assert not registry.log


def test_a_size_no_disk_has_is_refused(blobs: Blobs, registry: RegistryServer) -> None:
    digest = registry.add_blob(DATA)
    with pytest.raises(StoreError):
        download(digest, 1 << 62, [source(registry, digest)], blobs, ignore, threading.Event(), patience=PATIENCE)


def test_a_file_of_unknown_digest_is_known_by_it_afterwards_and_begun_anew_when_it_has_changed(
    blobs: Blobs, registry: RegistryServer
) -> None:
    """Its ETag tells: two halves of two files would be nobody's file."""
    old, new = os.urandom(3 * BLOCK), os.urandom(3 * BLOCK)
    here = source(registry, registry.add_blob(old))
    registry.faults.append(server.drops_after(BLOCK, times=1))
    registry.faults.append(lambda exchange: exchange.range != (0, 1) and exchange.send(404))
    with pytest.raises(TransferError):
        download(None, None, [here], blobs, ignore, threading.Event(), patience=PATIENCE)
    registry.faults.clear()
    registry.blobs[next(iter(registry.blobs))] = new
    path = download(None, None, [here], blobs, ignore, threading.Event(), patience=PATIENCE)
    assert path.read_bytes() == new


def test_progress_never_goes_back_and_ends_with_all(blobs: Blobs, registry: RegistryServer) -> None:
    told: list[Progress] = []
    fetch(blobs, registry, report=told.append)
    counts = [step.completed or 0 for step in told]
    assert counts == sorted(counts)
    assert {(step.total, step.status[:8]) for step in told} <= {(len(DATA), "pulling ")}


def test_many_connections_are_used_where_each_is_slow(blobs: Blobs, registry: RegistryServer) -> None:
    """A sender that gives 2 MB/s to each connection must not make the download one of 2 MB/s."""
    active, most, lock = [0], [0], threading.Lock()

    def slow(exchange: server.Exchange) -> bool:
        start, end = exchange.send_range()
        with lock:
            active[0] += 1
            most[0] = max(most[0], active[0])
        for at in range(start, end, 40_000):
            exchange.stream(exchange.data, at, min(end, at + 40_000))
            time.sleep(0.02)
        with lock:
            active[0] -= 1
        return True

    registry.faults.append(lambda exchange: exchange.is_blob and slow(exchange))
    fetch(blobs, registry, data=os.urandom(9 * BLOCK), connections=4)
    assert most[0] >= 3


def cancelled_fetch(
    blobs: Blobs, registry: RegistryServer, cancelled: threading.Event, patience: Patience = PATIENCE
) -> None:
    with pytest.raises(Cancelled):
        fetch(blobs, registry, cancelled=cancelled, patience=patience)


def wait_until(happened: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.005)
