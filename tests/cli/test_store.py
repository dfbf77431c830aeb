"""rm, cp, prune and verify: what they change, what they say, and what they refuse."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from puna.store import layers
from tests import minilm
from tests.cli.process import puna
from tests.store.ollama_store import CRIA, add_blob, add_model
from tests.store.registry_server import RegistryServer

PARTS = (b"GGUF old", b"Be brief.")
DIGEST = hashlib.sha256(CRIA.read_bytes()).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "models"
    add_model(path)
    return path


def names() -> list[str]:
    return [line.split()[0] for line in puna("list").stdout.splitlines()[1:]]


def test_a_model_is_copied_and_both_are_removed(root: Path) -> None:
    assert puna("cp", "llama", "Me/copy").stdout == "copied 'llama' to 'Me/copy'\n"
    assert {"Me/copy:latest", "llama:latest"} <= set(names())
    assert puna("rm", "LLAMA", "me/copy").stdout.splitlines() == [
        "deleted 'LLAMA' (0 B freed)",
        "deleted 'me/copy' (3.4 MB freed)",
    ]
    assert sorted(names()) == sorted([*minilm.NAMES, "cria:latest"])
    assert not list((root / "blobs").iterdir())


def test_nothing_is_removed_where_one_of_the_names_is_wrong(root: Path) -> None:
    done = puna("rm", "llama", "lama")
    assert done.returncode == 1
    assert done.stderr == "Error: model 'lama' not found: did you mean llama:latest?\n"
    assert "llama:latest" in names()
    assert puna("cp", "lama", "x").stderr == done.stderr
    assert "cannot be removed" in puna("rm", "cria").stderr
    assert (root / "manifests").is_dir()


def test_pruning_tells_what_it_would_remove_and_then_removes_it(root: Path) -> None:
    old = root / "blobs" / add_blob(root, b"old").replace(":", "-")
    os.utime(old, (1, 1))
    assert puna("prune", "--dry-run").stdout.splitlines() == [
        f"blobs/{old.name}    3 B",
        "1 file (3 B) would be removed",
    ]
    assert old.exists()
    add_blob(root, b"fresh")
    done = puna("prune")
    assert "1 file (3 B) removed" in done.stdout
    assert "(1 file (5 B), fresh or half downloaded, kept: --all removes them too)" in done.stderr
    assert not old.exists()


def test_pruning_does_not_seem_to_remove_a_blob_in_use_whose_damaged_copy_goes(root: Path) -> None:
    blob = root / "blobs" / f"sha256-{DIGEST}"
    with RegistryServer() as registry:
        name = f"{registry.host}/me/tiny"
        registry.add_model("me/tiny", "latest", [(layers.MODEL, CRIA.read_bytes())])
        assert puna("rm", "llama").returncode == 0
        assert puna("pull", name).returncode == 0
        blob.write_bytes(b"damaged")
        assert "1 file repaired" in puna("verify").stdout
    assert puna("prune").stdout.splitlines() == [f"damaged/{blob.name}    7 B", "1 file (7 B) removed"]
    assert blob.read_bytes() == CRIA.read_bytes()


def test_verifying_names_the_damage_and_the_model_and_fails(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # no registry
    assert puna("verify").stdout == "every file of the store is what it should be\n"
    (root / "blobs" / f"sha256-{DIGEST}").write_bytes(b"damaged")
    done = puna("verify", "--dry-run")
    assert done.returncode == 1
    assert f"sha256-{DIGEST} (of llama:latest): its content is that of" in done.stdout
    assert "1 file of the store damaged or missing" in done.stderr


def test_verifying_fetches_what_is_damaged_from_its_registry_and_never_a_newer_model(root: Path) -> None:
    with RegistryServer() as registry:
        old = registry.add_model("me/tiny", "latest", [(layers.MODEL, b"GGUF old"), (layers.SYSTEM, b"Be brief.")])
        name = f"{registry.host}/me/tiny"
        assert puna("pull", name).returncode == 0
        registry.add_model("me/tiny", "latest", [(layers.MODEL, b"GGUF new")])
        damaged, missing = (root / "blobs" / f"sha256-{hashlib.sha256(data).hexdigest()}" for data in PARTS)
        damaged.write_bytes(b"?")
        missing.unlink()
        done = puna("verify")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("fetched again") == 2
    assert "2 files repaired" in done.stdout
    assert (damaged.read_bytes(), missing.read_bytes()) == PARTS
    assert (root / "manifests" / name / "latest").read_bytes() == old
