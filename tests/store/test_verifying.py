from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from puna.errors import PunaError
from puna.store import Blobs, Layer, ModelName, Progress, Report, Store, layers, management
from puna.store.pruning import prune
from puna.store.verifying import verify
from tests.store.ollama_store import add_blob, add_manifest, add_model

WEIGHTS = b"GGUF weights of llama"
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "models"
    add_model(path, gguf=WEIGHTS)
    return path


def damage(root: Path) -> Path:
    path = root / "blobs" / f"sha256-{DIGEST}"
    path.write_bytes(WEIGHTS[:-1] + b"?")
    return path


def bring(
    _models: Sequence[ModelName], layer: Layer, blobs: Blobs, _report: Report, _cancelled: threading.Event
) -> None:
    assert layer.digest == DIGEST
    blobs.add_stream([WEIGHTS], layer.digest)


def test_a_store_in_order_has_no_damage(root: Path) -> None:
    told: list[Progress] = []
    assert verify(root, report=told.append) == []
    assert told[-1].completed == told[-1].total == sum(path.stat().st_size for path in (root / "blobs").iterdir())
    assert verify(root / "none") == []


def test_one_wrong_byte_is_found_set_aside_and_told_with_its_model(root: Path) -> None:
    path = damage(root)
    [found] = verify(root)
    assert (found.path, found.models) == (path, (ModelName.parse("llama"),))
    assert "its content is that of sha256:" in found.reason
    assert not path.exists()
    assert (Blobs(root).damaged / path.name).read_bytes() == WEIGHTS[:-1] + b"?"
    [missing] = verify(root)
    assert missing.reason == "it is missing"
    assert [each.path.name for each in prune(root)] == [path.name]


def test_a_dry_run_changes_nothing(root: Path) -> None:
    path = damage(root)
    assert len(verify(root, dry_run=True, fetch=bring)) == 1
    assert path.exists()


def test_what_is_damaged_is_fetched_again(root: Path) -> None:
    damage(root)
    [found] = verify(root, fetch=bring)
    assert found.repaired
    assert verify(root) == []
    assert Store(root).resolve("llama").path.read_bytes() == WEIGHTS


def test_what_cannot_be_fetched_says_why(root: Path) -> None:
    def fail(*_: object) -> None:
        raise PunaError("no registry has it")

    damage(root)
    [found] = verify(root, fetch=fail)
    assert not found.repaired
    assert found.not_repaired == "no registry has it"


def test_a_damaged_blob_that_no_model_uses_is_set_aside_and_missed_by_nobody(root: Path) -> None:
    digest = add_blob(root, b"unused").removeprefix("sha256:")
    (root / "blobs" / f"sha256-{digest}").write_bytes(b"?")
    [found] = verify(root, fetch=bring)
    assert found.repaired
    assert verify(root) == []


def test_a_damaged_manifest_is_told(root: Path) -> None:
    add_manifest(root, "h/n/m/t", b"{")
    [found] = verify(root, fetch=bring)
    assert "not a model manifest" in found.reason
    assert not found.repaired


def test_a_file_used_in_place_is_good_again_once_its_content_is_known_to_be(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.gguf"
    file.write_bytes(b"mine")
    store = Store(root)
    with store.blobs.pinned() as blobs:
        weights = blobs.add_file(file, layers.MODEL, reference=True)
        config = blobs.add_bytes(b"{}", layers.CONFIG)
        management.commit(root, ModelName.parse("mine"), layers.manifest_bytes(config, (weights,)))
    os.utime(file, (1, 1))
    assert not store.blobs.has(weights.digest)
    assert verify(root) == []
    assert store.blobs.has(weights.digest)
    file.write_bytes(b"changed")
    [found] = verify(root)
    assert "its content is that of" in found.reason
    assert file.read_bytes() == b"changed", "the user's file is left alone"
