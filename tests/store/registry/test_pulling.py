"""Models brought from a registry: byte for byte, resumed, from mirrors, with the rights that are asked for."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from puna.errors import Cancelled, InvalidRequest, StoreError, TransferError, UnsupportedModel
from puna.store import Store, layers, pulling
from puna.store.names import ModelName
from puna.store.progress import Progress, Report, ignore
from puna.store.registry.pulling import NotInRegistry, pull
from puna.store.transfer import journal
from puna.store.transfer.journal import BLOCK
from puna.store.transfer.retrying import GaveUp, Patience
from tests.store import registry_server as server
from tests.store.registry_server import RegistryServer

PATIENCE = Patience(attempts=4, first=0.01, longest=0.02, stall=2.0)
PARTS = [(layers.MODEL, os.urandom(3_000_000)), (layers.TEMPLATE, b"{{ .Prompt }}"), (layers.LICENSE, b"free")]


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        running.add_model("library/tiny", "latest", PARTS)
        yield running


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Empty, of a user without keys."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return Store(tmp_path / "models")


def bring(store: Store, name: str, report: Report = ignore, cancelled: threading.Event | None = None) -> None:
    pull(store, ModelName.parse(name), report=report, cancelled=cancelled or threading.Event(), patience=PATIENCE)


def manifest_in(store: Store, registry: RegistryServer, rest: str = "library/tiny/latest") -> bytes:
    return (store.root / "manifests" / registry.host / rest).read_bytes()


def test_the_manifest_is_kept_byte_for_byte_and_every_blob_is_there(store: Store, registry: RegistryServer) -> None:
    raw = json.dumps(json.loads(registry.manifests["library/tiny", "latest"]), indent=3).encode() + b"\n\n"
    registry.manifests["library/tiny", "latest"] = raw
    bring(store, f"{registry.host}/library/tiny")
    assert manifest_in(store, registry) == raw
    for _, data in PARTS:
        assert store.blobs.path(hashlib.sha256(data).hexdigest()).read_bytes() == data


def test_the_steps_are_told_in_ollama_s_words_and_order(store: Store, registry: RegistryServer) -> None:
    told: list[Progress] = []
    bring(store, f"{registry.host}/library/tiny", told.append)
    statuses = list(dict.fromkeys(step.status for step in told))
    pulling_all = [f"pulling {layer['digest'][7:19]}" for layer in _layers(registry)]
    assert statuses == ["pulling manifest", *pulling_all, "verifying sha256 digest", "writing manifest"]
    assert all(step.completed == step.total for step in told if step.digest and step.completed == step.total)
    again: list[Progress] = []
    registry.add_model("library/tiny", "latest", PARTS[:2])
    bring(store, f"{registry.host}/library/tiny", again.append)
    assert again[-1].status == "removing unused layers"


def test_what_is_here_already_is_not_asked_for(store: Store, registry: RegistryServer) -> None:
    bring(store, f"{registry.host}/library/tiny")
    sent = registry.sent
    registry.add_model("me/other", "v2", PARTS[:1])
    bring(store, f"{registry.host}/me/other:v2")
    assert registry.sent == sent


def test_a_model_that_is_nowhere_is_told_in_ollama_s_words(store: Store, registry: RegistryServer) -> None:
    with pytest.raises(NotInRegistry, match=r"^pull model manifest: file does not exist$"):
        bring(store, f"{registry.host}/library/none")
    assert not (store.root / "manifests").exists()


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'{"config":{},"layers":[]}', b"x" * (5 << 20)])
def test_what_is_no_manifest_is_refused(store: Store, registry: RegistryServer, raw: bytes) -> None:
    registry.manifests["library/tiny", "latest"] = raw
    with pytest.raises((UnsupportedModel, TransferError)):
        bring(store, f"{registry.host}/library/tiny")
    assert not (store.root / "manifests").exists()


@pytest.mark.parametrize("digest", ["sha256:../../../etc/passwd", "sha256:" + "A" * 64, "md5:" + "a" * 32])
def test_a_digest_that_is_a_path_never_reaches_the_disk(store: Store, registry: RegistryServer, digest: str) -> None:
    document = json.loads(registry.manifests["library/tiny", "latest"])
    document["layers"][0]["digest"] = digest
    registry.manifests["library/tiny", "latest"] = json.dumps(document).encode()
    with pytest.raises(UnsupportedModel):
        bring(store, f"{registry.host}/library/tiny")


def test_a_model_larger_than_the_disk_is_refused_before_anything_is_fetched(
    store: Store, registry: RegistryServer
) -> None:
    document = json.loads(registry.manifests["library/tiny", "latest"])
    document["layers"][0]["size"] = 1 << 60
    registry.manifests["library/tiny", "latest"] = json.dumps(document).encode()
    with pytest.raises(StoreError, match="not enough room"):
        bring(store, f"{registry.host}/library/tiny")
    assert registry.sent == 0


def test_a_part_that_fails_leaves_the_old_model_as_it_was(store: Store, registry: RegistryServer) -> None:
    bring(store, f"{registry.host}/library/tiny")
    old = manifest_in(store, registry)
    registry.add_model("library/tiny", "latest", [(layers.MODEL, os.urandom(1000)), (layers.SYSTEM, os.urandom(50))])
    registry.faults.append(server.sends_wrong_bytes())
    with pytest.raises(StoreError, match="digest mismatch"):
        bring(store, f"{registry.host}/library/tiny")
    assert manifest_in(store, registry) == old
    assert store.blobs.has(hashlib.sha256(PARTS[0][1]).hexdigest())


def test_a_cancelled_pull_leaves_no_model_and_keeps_what_came(store: Store, registry: RegistryServer) -> None:
    cancelled = threading.Event()

    def cancels(exchange: server.Exchange) -> bool:
        if exchange.is_blob:
            cancelled.set()
        return False

    registry.faults.append(cancels)
    with pytest.raises(Cancelled):
        bring(store, f"{registry.host}/library/tiny", cancelled=cancelled)
    assert not (store.root / "manifests").exists()


def test_a_mirror_is_asked_first_and_the_host_where_it_fails(
    store: Store, registry: RegistryServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RegistryServer() as mirror:
        mirror.add_model("library/tiny", "latest", PARTS)
        monkeypatch.setenv("PUNA_MIRRORS", f"{registry.host}={mirror.url}")
        mirror.faults.append(server.sends_wrong_bytes(times=1))
        bring(store, f"{registry.host}/library/tiny")
        assert mirror.asked("GET", "manifests")
        assert not registry.asked("GET", "manifests")
        assert registry.asked("GET", "blobs")


def test_a_token_is_fetched_once_signed_by_the_key_and_shown(store: Store, registry: RegistryServer) -> None:
    key = Ed25519PrivateKey.generate()
    path = store.root.parent / ".ollama" / "id_ed25519"
    path.parent.mkdir(parents=True)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    registry.token = "good"
    bring(store, f"{registry.host}/library/tiny")
    tokens = registry.asked("GET", "token")
    assert 1 <= len(tokens) <= 2  # one for the manifest, one for the blobs
    query = parse_qsl(tokens[0].path.partition("?")[2])
    assert [value for name, value in query if name == "scope"] == ["repository:x:pull", "repository:x:push"]
    assert {"service", "ts", "nonce"} <= {name for name, _ in query}
    public, signature = tokens[0].headers["authorization"].split(":")
    blob = base64.b64decode(public)
    assert blob[4:15] == b"ssh-ed25519"
    nothing = base64.b64encode(hashlib.sha256(b"").hexdigest().encode()).decode()
    signed = f"GET,{registry.url}{tokens[0].path},{nothing}".encode()
    Ed25519PublicKey.from_public_bytes(blob[-32:]).verify(base64.b64decode(signature), signed)


def test_a_token_is_fetched_anonymously_where_there_is_no_key(store: Store, registry: RegistryServer) -> None:
    registry.token = "good"
    bring(store, f"{registry.host}/library/tiny")
    assert "authorization" not in registry.asked("GET", "token")[0].headers


def test_a_login_of_docker_is_shown_to_its_registry(store: Store, registry: RegistryServer) -> None:
    login = base64.b64encode(b"me:secret").decode()
    folder = store.root.parent / "docker"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": login}}}))

    def asks(exchange: server.Exchange) -> bool:
        shown = exchange.seen.headers.get("authorization")
        return shown != f"Basic {login}" and exchange.send(401, WWW_Authenticate='Basic realm="x"')

    registry.faults.append(asks)
    bring(store, f"{registry.host}/library/tiny")


def test_a_key_is_never_shown_to_another_host_than_the_registry_s(store: Store, registry: RegistryServer) -> None:
    path = store.root.parent / ".ollama" / "id_ed25519"
    path.parent.mkdir(parents=True)
    path.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    with RegistryServer() as stranger:
        stranger.token = registry.token = "good"
        realm = f'Bearer realm="{stranger.url}/token",service="x"'
        registry.faults.append(
            lambda exchange: (
                exchange.seen.headers.get("authorization") != "Bearer good"
                and exchange.send(401, WWW_Authenticate=realm)
            )
        )
        bring(store, f"{registry.host}/library/tiny")
        assert "authorization" not in stranger.asked("GET", "token")[0].headers


def test_a_token_that_is_refused_or_nonsense_is_told(store: Store, registry: RegistryServer) -> None:
    registry.token = "good"
    registry.faults.append(server.answers(403, of="/token"))
    with pytest.raises(TransferError, match="which gives the tokens, answers 403 Forbidden"):
        bring(store, f"{registry.host}/library/tiny")
    registry.faults[:] = [server.answers(200, of="/token")]
    with pytest.raises(TransferError, match="without a token"):
        bring(store, f"{registry.host}/library/tiny")


def test_a_registry_that_is_not_there_is_told_soon(store: Store) -> None:
    with pytest.raises(GaveUp, match=r"127\.0\.0\.1:1.*gave up after 3 attempts"):
        bring(store, "127.0.0.1:1/library/tiny")


def test_http_needs_to_be_allowed(store: Store) -> None:
    with pytest.raises(InvalidRequest, match="insecure protocol http"):
        pulling.pull(store, "http://example.com/library/x", report=ignore, cancelled=threading.Event())


def test_a_pull_that_is_killed_again_and_again_asks_for_no_block_twice(store: Store, registry: RegistryServer) -> None:
    """kill -9 amid several blocks: what was recorded stays, the model is right in the end."""
    data = os.urandom(16 * BLOCK)
    digest = hashlib.sha256(data).hexdigest()
    raw = registry.add_model("library/big", "latest", [(layers.MODEL, data)])
    partial = store.blobs.partials / f"sha256-{digest}"
    line = [sys.executable, "-m", "puna", "pull", f"{registry.host}/library/big"]
    environment = {**os.environ, "PUNA_MODELS": str(store.root)}
    kept: list[tuple[int, set[int]]] = []  # requests until a kill, and the blocks that were there
    for enough in (2, 6, 11):
        registry.faults[:] = [_sends_nothing_beyond(enough, partial, len(data))]
        _killed_at(enough, line, environment, partial, len(data))
        there = journal.try_open(partial, len(data), digest)
        assert there is not None
        with there:
            kept.append((len(registry.log), set(there.blocks)))
    registry.faults.clear()
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert manifest_in(store, registry, "library/big/latest") == raw
    assert store.blobs.path(digest).read_bytes() == data
    for requests, blocks in kept:
        assert not blocks & _asked_for(registry.log[requests:], digest)


def _killed_at(enough: int, line: list[str], environment: dict[str, str], partial: Path, size: int) -> None:
    """Pull until so many blocks are there, and kill it."""
    process = subprocess.Popen(line, env=environment, stderr=subprocess.DEVNULL)
    while journal.arrived(partial, size) < enough * BLOCK and process.poll() is None:
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL


def _sends_nothing_beyond(enough: int, partial: Path, size: int) -> server.Fault:
    """While so many blocks are there, and never the last block: whoever pulls is still at it when it is killed."""

    def beyond() -> bool:
        return journal.arrived(partial, size) >= enough * BLOCK

    def fault(exchange: server.Exchange) -> bool:
        data = exchange.data if exchange.is_blob else b""
        if len(data) != size:
            return False
        start, end = exchange.send_range()
        for at in range(start, end, server.CHUNK):
            while fault in exchange.registry.faults and (at >= size - BLOCK or beyond()):
                time.sleep(0.002)
            exchange.stream(data, at, min(at + server.CHUNK, end))
        return True

    return fault


def _asked_for(log: list[server.Seen], digest: str) -> set[int]:
    """Blocks of which requests asked for a byte."""
    blocks: set[int] = set()
    for seen in log:
        if digest in seen.path:
            first, last = seen.headers["range"].removeprefix("bytes=").split("-")
            blocks.update(range(int(first) // BLOCK, int(last) // BLOCK + 1))
    return blocks


def _layers(registry: RegistryServer) -> list[dict[str, str]]:
    document = json.loads(registry.manifests["library/tiny", "latest"])
    return [*document["layers"], document["config"]]
