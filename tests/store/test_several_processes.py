"""Processes that add, copy, remove and prune models of one store at once never cost one of them a part."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from puna.errors import StoreError
from puna.store import Blobs, ModelName, locking, management
from puna.store.pruning import prune
from puna.store.verifying import verify
from tests.store.ollama_store import add_model

SECONDS = 1.5


def started(role: str, root: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.store.changing", role, str(root), str(SECONDS)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_no_model_loses_a_part_to_another_process(tmp_path: Path) -> None:
    root = tmp_path / "models"
    processes = [started(role, root) for role in ("pull", "delete", "clean", "copy", "add", "read")]
    ended = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), [errors for _, errors in ended]
    assert all(int(turns) > 0 for turns, _ in ended)
    assert management.is_there(root, ModelName.parse("kept"))
    assert verify(root) == []
    prune(root, everything=True)
    assert not [path for path in (root / ".puna").rglob("*") if path.is_file() and path.name != "lock"]


def test_a_process_that_holds_the_lock_too_long_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped process would otherwise stop all others."""
    root = tmp_path / "models"
    add_model(root)
    monkeypatch.setattr(locking, "PATIENCE", 0.1)
    with (
        locking.exclusive(Blobs(root).own),
        pytest.raises(StoreError, match=r"another process has been changing .*models"),
    ):
        management.remove(root, ModelName.parse("llama"))
    management.remove(root, ModelName.parse("llama"))
