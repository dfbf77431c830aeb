"""Models sent to a registry that behaves, and to one that does not."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from puna.errors import Cancelled, InvalidRequest, ModelNotFound, TransferError
from puna.store import Store
from puna.store.names import ModelName
from puna.store.progress import Progress, Report, ignore
from puna.store.registry.pulling import pull
from puna.store.registry.pushing import push
from puna.store.transfer import upload
from puna.store.transfer.retrying import Patience
from tests.store.registry.models import add_model
from tests.store.registry_server import Exchange, Fault, RegistryServer, answers, drops_at_once

PATIENCE = Patience(attempts=4, first=0.01, longest=0.02, stall=2.0)
PART = 70_000  # bytes


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        yield running


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Empty; uploads go in small parts."""
    monkeypatch.setattr(upload, "SMALLEST", PART)
    monkeypatch.setattr(upload, "LEAST", 5_000)
    monkeypatch.setattr(upload, "CHUNK", 10_000)
    monkeypatch.setenv("HOME", str(tmp_path))
    return Store(tmp_path / "models")


def send(store: Store, name: str, report: Report = ignore, cancelled: threading.Event | None = None) -> None:
    push(store, ModelName.parse(name), report=report, cancelled=cancelled or threading.Event(), patience=PATIENCE)


def patches(registry: RegistryServer) -> list[str]:
    return [seen.headers["content-range"] for seen in registry.log if seen.method == "PATCH"]


def drops_in_the_middle(count: int, *, times: int = 1) -> Fault:
    """The registry keeps so many bytes of a part, and the connection breaks."""
    left = [times]

    def fault(exchange: Exchange) -> bool:
        if exchange.method != "PATCH" or not left[0]:
            return False
        left[0] -= 1
        exchange.registry.uploads[exchange.path.rpartition("/")[2]] += exchange.handler.rfile.read(count)
        return exchange.drop()

    return fault


def lies_about_the_offset(end: int, *, times: int = 1) -> Fault:
    """A part is taken; the answer tells another number of bytes."""
    left = [times]

    def fault(exchange: Exchange) -> bool:
        if exchange.method != "PATCH" or not left[0]:
            return False
        left[0] -= 1
        exchange.body()
        return exchange.send(202, Location=exchange.path, Range=f"0-{end}")

    return fault


def forgets_the_upload() -> Fault:
    """A part is answered as if nobody had begun."""
    left = [1]

    def fault(exchange: Exchange) -> bool:
        if exchange.method != "PATCH" or not left[0]:
            return False
        left[0] -= 1
        exchange.registry.uploads.clear()
        return exchange.send(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}')

    return fault


def answers_without_end() -> Fault:
    """An error with 100 MB of words."""

    def fault(exchange: Exchange) -> bool:
        exchange.body()
        exchange.head(500, {"Content-Length": str(100_000_000)})
        exchange.stream(bytes(1_000_000), 0, 1_000_000)
        return exchange.drop()

    return fault


def test_a_model_pushed_and_pulled_again_is_the_same_bytes(
    store: Store, registry: RegistryServer, tmp_path: Path
) -> None:
    name = f"{registry.host}/you/model:v1"
    raw = add_model(store, name)
    told: list[Progress] = []
    send(store, name, told.append)
    assert registry.manifests["you/model", "v1"] == raw
    other = Store(tmp_path / "other")
    pull(other, ModelName.parse(name), report=ignore, cancelled=threading.Event(), patience=PATIENCE)
    for digest, _ in store.blobs.each():
        assert other.blobs.file(digest).read_bytes() == store.blobs.file(digest).read_bytes()
    assert [step.status for step in told if step.digest is None] == ["retrieving manifest", "pushing manifest"]
    assert all(step.completed is not None and step.completed <= (step.total or 0) for step in told if step.digest)


def test_what_the_registry_has_is_not_sent_again(store: Store, registry: RegistryServer) -> None:
    name = f"{registry.host}/you/model"
    add_model(store, name)
    send(store, name)
    registry.log.clear()
    send(store, name)
    assert {seen.method for seen in registry.log} == {"HEAD", "PUT"}


def test_a_blob_of_another_repository_there_is_mounted_and_not_sent(store: Store, registry: RegistryServer) -> None:
    weights = os.urandom(100_000)
    add_model(store, f"{registry.host}/base/model", weights)
    add_model(store, f"{registry.host}/you/tuned", weights, b"a text of its own")
    send(store, f"{registry.host}/base/model")
    heads = [answers(404, of="/v2/you/tuned/blobs/sha256:")]
    registry.faults += [lambda exchange: exchange.method == "HEAD" and heads[0](exchange)]
    registry.log.clear()
    send(store, f"{registry.host}/you/tuned")
    mounts = [seen.path for seen in registry.log if seen.method == "POST"]
    digest = hashlib.sha256(weights).hexdigest()
    assert f"/v2/you/tuned/blobs/uploads/?mount=sha256%3A{digest}&from=base%2Fmodel" in mounts
    assert patches(registry) == ["0-16"]


def test_a_large_blob_goes_in_parts_one_behind_the_other(store: Store, registry: RegistryServer) -> None:
    add_model(store, f"{registry.host}/you/model", bytes(3 * PART + 5))
    send(store, f"{registry.host}/you/model")
    expected = ["0-69999", "70000-139999", "140000-209999", "210000-210004"]
    assert [each for each in patches(registry) if each != "0-22"] == expected


def test_parts_that_are_redirected_go_to_the_storage_without_our_token(store: Store, registry: RegistryServer) -> None:
    registry.redirects_parts, registry.token = True, "secret"
    data = os.urandom(5 * PART + 1)
    add_model(store, f"{registry.host}/you/model", data)
    send(store, f"{registry.host}/you/model")
    assert registry.blobs[hashlib.sha256(data).hexdigest()] == data
    stored = registry.asked("PUT", "storage")
    assert len(stored) == 7
    assert not any("authorization" in seen.headers for seen in stored)
    sums = [hashlib.md5(data[at : at + PART]).digest() for at in range(0, len(data), PART)]
    etag = f"{hashlib.md5(b''.join(sums)).hexdigest()}-{len(sums)}"
    assert any(f"etag={etag}" in seen.path for seen in registry.log if seen.method == "PUT")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (drops_in_the_middle(30_000), "the connection drops in the middle of a part"),
        (drops_in_the_middle(0), "it drops before a byte"),
        (drops_at_once(of="/blobs/uploads/", times=2), "it drops before there is an answer"),
        (drops_at_once(of="/manifests/", times=2), "it drops at the manifest"),
        (answers(500, of="/blobs/", times=3), "500"),
        (answers(503, of="/blobs/uploads/", times=2, Retry_After="0"), "503 with Retry-After"),
        (answers(429, of="/", times=3, Retry_After="0"), "429"),
        (forgets_the_upload(), "the upload is forgotten"),
        (lies_about_the_offset(10**9), "it says that it has more than was sent"),
        (lies_about_the_offset(5), "it says that it has less than it has"),
        (answers(202, of="/blobs/uploads/x", times=1), "an upload that is no upload"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_push_gets_through_a_registry_that_fails_now_and_then(
    fault: Fault, reason: str, store: Store, registry: RegistryServer
) -> None:
    data = os.urandom(2 * PART + 9)
    raw = add_model(store, f"{registry.host}/you/model", data)
    registry.faults.append(fault)
    send(store, f"{registry.host}/you/model")
    assert registry.blobs[hashlib.sha256(data).hexdigest()] == data, reason
    assert registry.manifests["you/model", "latest"] == raw


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (answers(500, of="/blobs/"), "500"),
        (answers(429, of="/", Retry_After="9999"), "come back in 9999 seconds"),
        (answers(403, of="/blobs/uploads/"), "403"),
        (answers(403, of="/manifests/"), "namespace of yours"),
        (answers(401, of="/"), "401"),
        (answers(400, of="/manifests/"), "so it is"),
        (lies_about_the_offset(10**9, times=99), "says that it has 1000000001 bytes"),
        (drops_at_once(of="/blobs/"), "gave up after 4 attempts"),
        (answers(202, of="/blobs/uploads/"), "does not say where"),
        (answers_without_end(), "500"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_push_that_cannot_be_done_ends_with_the_cause(
    fault: Fault, words: str, store: Store, registry: RegistryServer
) -> None:
    add_model(store, f"{registry.host}/you/model")
    registry.faults.append(fault)
    with pytest.raises(TransferError, match=words):
        send(store, f"{registry.host}/you/model")
    assert not registry.manifests


def test_a_registry_that_is_not_there_is_told_soon(store: Store) -> None:
    add_model(store, "127.0.0.1:1/you/model")
    with pytest.raises(TransferError, match=r"127\.0\.0\.1:1.*gave up after 3 attempts"):
        send(store, "127.0.0.1:1/you/model")


def test_a_dropped_part_goes_on_at_the_byte_that_the_registry_tells(store: Store, registry: RegistryServer) -> None:
    data = os.urandom(PART)
    add_model(store, f"{registry.host}/you/model", data)
    registry.faults.append(drops_in_the_middle(30_000))
    send(store, f"{registry.host}/you/model")
    assert [each for each in patches(registry) if each != "0-22"] == ["0-69999", "30000-69999"]


def test_a_push_that_ended_in_the_middle_is_taken_up_by_the_next_process(
    store: Store, registry: RegistryServer
) -> None:
    data = os.urandom(3 * PART)
    name = f"{registry.host}/you/model"
    add_model(store, name, data)
    cancelled = threading.Event()

    def cancel_in_the_second_part(step: Progress) -> None:
        if step.completed is not None and PART < step.completed < step.total:  # type: ignore[operator]
            cancelled.set()

    with pytest.raises(Cancelled):
        send(store, name, cancel_in_the_second_part, cancelled)
    before = len(patches(registry))
    send(store, name)
    assert int(patches(registry)[before].partition("-")[0]) >= PART
    assert registry.blobs[hashlib.sha256(data).hexdigest()] == data
    assert not list((store.blobs.own / "uploads").iterdir())


def test_parts_get_smaller_where_a_proxy_says_that_they_are_too_large(store: Store, registry: RegistryServer) -> None:
    data = os.urandom(2 * PART)
    add_model(store, f"{registry.host}/you/model", data)

    def too_large(exchange: Exchange) -> bool:
        large = exchange.method == "PATCH" and int(exchange.seen.headers["content-length"]) > 20_000
        return large and exchange.send(413)

    registry.faults.append(too_large)
    send(store, f"{registry.host}/you/model")
    assert registry.blobs[hashlib.sha256(data).hexdigest()] == data


def test_a_token_is_fetched_where_the_registry_asks_for_one(store: Store, registry: RegistryServer) -> None:
    registry.token = "a-token"
    add_model(store, f"{registry.host}/you/model")
    send(store, f"{registry.host}/you/model")
    assert registry.manifests


def test_an_upload_that_leads_out_of_http_is_not_followed(store: Store, registry: RegistryServer) -> None:
    add_model(store, f"{registry.host}/you/model")
    registry.faults.append(answers(202, of="/blobs/uploads/", Location="file:///etc/passwd"))
    with pytest.raises(TransferError, match="not https"):
        send(store, f"{registry.host}/you/model")


def test_what_is_not_whole_here_is_not_begun_there(store: Store, registry: RegistryServer) -> None:
    data = os.urandom(1000)
    add_model(store, f"{registry.host}/you/model", data)
    store.blobs.path(hashlib.sha256(data).hexdigest()).unlink()
    with pytest.raises(ModelNotFound):
        send(store, f"{registry.host}/you/model")
    assert not registry.log


def test_a_model_that_is_not_here_and_the_one_in_the_box_are_refused_by_name(store: Store) -> None:
    with pytest.raises(ModelNotFound, match="you/none"):
        send(store, "you/none")
    with pytest.raises(InvalidRequest, match="puna cp cria"):
        send(store, "cria")
