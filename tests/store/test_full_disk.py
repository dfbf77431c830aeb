"""No room, no permission: a clear error, and nothing half."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FULL = """
import os, sys
from pathlib import Path
from puna.errors import StoreError
from puna.store import ModelName, Store, layers, management
from puna.store.verifying import verify
root = Path(sys.argv[1], "models")
store = Store(root)
with store.blobs.pinned() as blobs:
    config = blobs.add_bytes(b"{}", layers.CONFIG)
    weights = blobs.add_bytes(bytes(1 << 20), layers.MODEL)
    management.commit(root, ModelName.parse("old"), layers.manifest_bytes(config, (weights,)))
large = Path(sys.argv[2])
for add in (
    lambda: store.blobs.add_stream(iter([b"x" * (1 << 19)] * 4)),
    lambda: store.blobs.add_file(large, layers.MODEL),
    lambda: store.blobs.add_bytes(b"y" * (3 << 20), layers.MODEL),
):
    try:
        add()
    except StoreError as error:
        print(error)
assert [digest for digest, _ in store.blobs.each()] == sorted([config.digest, weights.digest])
assert not any(store.blobs.temporary.iterdir())
assert verify(root) == []
with open(Path(sys.argv[1], "rest"), "wb", buffering=0) as rest:
    try:
        while True:
            rest.write(bytes(4096))
    except OSError:
        pass
try:
    management.copy(store, ModelName.parse("old"), ModelName.parse("new"))
except StoreError as error:
    print(error)
assert not management.is_there(root, ModelName.parse("new"))
management.remove(root, ModelName.parse("old"))
assert not any(store.blobs.each()), "room can be made where there is none"
"""

READ_ONLY = """
import subprocess, sys
from pathlib import Path
from puna.errors import StoreError
from puna.store import ModelName, Store, management
from puna.store.pruning import prune
from puna.store.verifying import verify
folder = Path(sys.argv[1])
root = folder / "models"
management.copy(Store(root), ModelName.parse("cria"), ModelName.parse("mine"))
subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
store = Store(root)
assert store.resolve("mine").path.is_file()
assert verify(root, dry_run=True) == []
assert [model.name for model in store.list()][0] == "mine:latest"
for change in (
    lambda: management.remove(root, ModelName.parse("mine")),
    lambda: management.copy(store, ModelName.parse("mine"), ModelName.parse("x")),
    lambda: store.blobs.add_stream([b"x"]),
    lambda: prune(root),
):
    try:
        change()
    except StoreError as error:
        print(error)
"""


def run_mounted(folder: Path, script: str, size: str, *arguments: str) -> str:
    """Run Python in a name space where `folder` is a small file system of its own."""
    folder.mkdir()
    mount = f'mount -t tmpfs -o size={size} none "$0" && cd "$0" && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, str(folder)]
    can = subprocess.run([*command, "true"], capture_output=True, check=False)
    if can.returncode:
        pytest.skip(f"no file system of its own can be mounted here: {can.stderr.decode().strip()}")
    run = [*command, sys.executable, "-c", script, str(folder), *arguments]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_full_disk_is_told_and_leaves_nothing_half(tmp_path: Path) -> None:
    large = tmp_path / "large.gguf"
    large.write_bytes(bytes(range(256)) * (3 << 12))
    lines = run_mounted(tmp_path / "full", FULL, "2m", str(large)).splitlines()
    assert len(lines) == 4
    for line in lines:
        assert "No space left on device; free some space (`puna prune`" in line


def test_a_read_only_store_is_read_and_its_changes_are_refused_clearly(tmp_path: Path) -> None:
    lines = run_mounted(tmp_path / "read-only", READ_ONLY, "8m").splitlines()
    assert len(lines) == 4
    for line in lines:
        assert "Read-only file system" in line
        assert "PUNA_MODELS" in line
