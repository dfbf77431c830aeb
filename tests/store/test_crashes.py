"""A process that is killed in the middle of anything leaves the old store or the new one, and nothing in the way."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from puna.store import manifest
from puna.store.pruning import prune
from puna.store.verifying import verify
from tests.store import dying
from tests.store.ollama_store import add_blob, add_model

OLD_WEIGHTS = b"GGUF old weights"


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """Two models that share their weights, and a blob that none uses."""
    root = tmp_path / "template"
    add_model(root, gguf=OLD_WEIGHTS, layers=[("system", b"old")])
    add_model(root, "registry.ollama.ai/library/other/latest", gguf=OLD_WEIGHTS)
    add_blob(root, b"unused")
    return root


def died_everywhere(operation: str, template: Path, tmp_path: Path) -> list[Path]:
    """Copies of the store, each as the operation left it when it was killed; the last has seen its end."""
    copies = tmp_path / "copies"
    copies.mkdir()
    command = [sys.executable, "-m", "tests.store.dying", operation, str(template), str(copies)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = sorted(copies.iterdir(), key=lambda path: int(path.name))
    assert len(found) > 6, "too few points to be killed at: the changes are not seen"
    return found


def state(root: Path) -> dict[str, str]:
    """Every model's name and the digest of its manifest. Each has all its parts, whole."""
    assert verify(root, dry_run=True) == []
    return {str(name): hashlib.sha256(path.read_bytes()).hexdigest() for name, path in manifest.names(root)}


@pytest.mark.parametrize("operation", ["commit", "refer", "remove", "copy", "clean"])
def test_a_killed_process_leaves_the_old_or_the_new_and_nothing_in_the_way(
    operation: str, template: Path, tmp_path: Path
) -> None:
    copies = died_everywhere(operation, template, tmp_path)
    states = [state(root) for root in copies]
    old, new = state(template), states[-1]
    assert (old == new) == (operation == "clean")
    assert all(each in (old, new) for each in states)
    assert states == sorted(states, key=lambda each: each == new), "once it is new, it stays new"
    for root in copies:  # the same again succeeds, and pruning takes all that is left over
        dying.OPERATIONS[operation](root)
        prune(root, everything=True)
        assert state(root) == new
    assert len({files_of(root) for root in copies}) == 1


def files_of(root: Path) -> frozenset[str]:
    """All files of a store."""
    paths = (path for path in root.rglob("*") if path.is_file() or path.is_symlink())
    return frozenset(str(path.relative_to(root)) for path in paths)


def test_a_killed_repair_loses_no_blob_that_was_good(template: Path, tmp_path: Path) -> None:
    blob = next(path for path in (template / "blobs").iterdir() if path.read_bytes() == b"old")
    blob.write_bytes(b"OLD")
    for root in died_everywhere("repair", template, tmp_path):
        found = verify(root)
        assert [damage.path.name for damage in found] == [blob.name]
