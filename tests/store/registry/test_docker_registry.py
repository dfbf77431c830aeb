"""Push and pull against Docker's own registry, as Debian ships it."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from puna.store import Store, layers
from puna.store.names import ModelName
from puna.store.progress import Progress, ignore
from puna.store.registry.pulling import pull
from puna.store.registry.pushing import push
from puna.store.transfer import upload
from tests.store.registry.docker_registry import BINARY, docker_registry
from tests.store.registry.models import add_model

pytestmark = pytest.mark.skipif(not BINARY.exists(), reason="docker-registry is not installed (apt-get install it)")

PUSH = """
import sys, threading, time
from pathlib import Path
from puna.store import Store, layers
from puna.store.names import ModelName
from puna.store.registry.pushing import push
from puna.store.transfer import upload
upload.SMALLEST = 1 << 20

def slowly(step):
    print(step.completed or 0, flush=True)
    time.sleep(0.05)

push(Store(Path(sys.argv[1])), ModelName.parse(sys.argv[2]), report=slowly, cancelled=threading.Event())
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with docker_registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(upload, "SMALLEST", 1 << 20)
    return Store(tmp_path / "models")


def send(store: Store, name: str) -> list[Progress]:
    told: list[Progress] = []
    push(store, ModelName.parse(name), report=told.append, cancelled=threading.Event())
    return told


def test_a_model_in_several_parts_comes_back_byte_for_byte(host: str, store: Store, tmp_path: Path) -> None:
    name = ModelName.parse(f"{host}/you/model:v1")
    raw = add_model(store, str(name), os.urandom((3 << 20) + 7), b"", b"system")
    send(store, str(name))
    other = Store(tmp_path / "other")
    pull(other, name, report=ignore, cancelled=threading.Event())
    digests = {digest for digest, _ in store.blobs.each()}
    assert digests == {digest for digest, _ in other.blobs.each()}
    assert all(other.blobs.file(each).read_bytes() == store.blobs.file(each).read_bytes() for each in digests)
    served = httpx.get(f"http://{host}/v2/you/model/manifests/v1", headers={"Accept": layers.MANIFEST})
    assert served.content == raw
    assert served.headers["Docker-Content-Digest"] == f"sha256:{hashlib.sha256(raw).hexdigest()}"


def test_a_blob_is_mounted_from_another_repository(host: str, store: Store) -> None:
    weights = os.urandom(2 << 20)
    add_model(store, f"{host}/base/mounted", weights)
    add_model(store, f"{host}/you/mounted", weights, b"more")
    send(store, f"{host}/base/mounted")
    told = send(store, f"{host}/you/mounted")
    digest = hashlib.sha256(weights).hexdigest()
    assert [step.completed for step in told if step.digest == digest] == [len(weights)]


def test_a_push_that_is_killed_is_taken_up_where_the_registry_stands(host: str, store: Store, tmp_path: Path) -> None:
    """Docker's registry forgets an upload whose connection breaks within a part; between two parts it does not."""
    name, data = f"{host}/you/killed", os.urandom(6 << 20)
    add_model(store, name, data)
    process = subprocess.Popen(
        [sys.executable, "-c", PUSH, str(store.root), name], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    before = -1
    for line in process.stdout:
        if before == int(line) >= 2 << 20:  # told twice: the registry has answered, the next part has not begun
            break
        before = int(line)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    told = send(store, name)
    sent = [step.completed for step in told if step.digest == hashlib.sha256(data).hexdigest()]
    assert sent[0] is not None
    assert sent[0] > before
    other = Store(tmp_path / "other")
    pull(other, ModelName.parse(name), report=ignore, cancelled=threading.Event())
    assert other.blobs.file(hashlib.sha256(data).hexdigest()).read_bytes() == data
