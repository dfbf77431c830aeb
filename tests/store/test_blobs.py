from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from puna.errors import Cancelled, DigestMismatch, InvalidRequest, ModelNotFound, StoreError
from puna.store import Blobs, Progress, layers

DATA = b"some weights" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "models")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(DATA)
    return path


def strays(blobs: Blobs) -> list[Path]:
    """Files that are neither blobs nor the lock."""
    return [
        path
        for path in blobs.root.rglob("*")
        if path.is_file() and path.name != "lock" and not path.name.startswith("sha256-")
    ]


def test_bytes_streams_and_files_become_the_same_blob(blobs: Blobs, source: Path) -> None:
    by_file = blobs.add_file(source, layers.MODEL)
    assert blobs.add_bytes(DATA, layers.MODEL) == by_file
    assert blobs.add_stream([DATA[:7], b"", DATA[7:]], DIGEST) == (DIGEST, len(DATA))
    assert (by_file.digest, by_file.size) == (DIGEST, len(DATA))
    assert blobs.file(DIGEST).read_bytes() == DATA
    assert [digest for digest, _ in blobs.each()] == [DIGEST]
    assert strays(blobs) == []


def test_a_copied_file_may_change_afterwards(blobs: Blobs, source: Path) -> None:
    blobs.add_file(source, layers.MODEL)
    source.write_bytes(b"other")
    assert blobs.file(DIGEST).read_bytes() == DATA


def test_a_blob_is_readable_for_whom_the_umask_allows(blobs: Blobs) -> None:
    """A temporary file is often its owner's alone, and Ollama's service is another user."""
    old = os.umask(0o022)
    try:
        blobs.add_bytes(DATA, layers.MODEL)
    finally:
        os.umask(old)
    assert blobs.file(DIGEST).stat().st_mode & 0o777 == 0o644


def test_wrong_bytes_leave_nothing_behind(blobs: Blobs) -> None:
    other = "ab" * 32
    with pytest.raises(DigestMismatch, match=f'digest mismatch, expected "sha256:{other}", got "sha256:{DIGEST}"'):
        blobs.add_stream([DATA], other)
    assert not blobs.has(DIGEST)
    assert not blobs.has(other)
    assert strays(blobs) == []


def test_a_stream_that_breaks_leaves_nothing_behind(blobs: Blobs) -> None:
    def broken() -> Iterator[bytes]:
        yield DATA
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        blobs.add_stream(broken())
    assert strays(blobs) == []
    assert list(blobs.each()) == []


def test_a_large_file_is_not_read_into_memory_and_can_be_cancelled(blobs: Blobs, tmp_path: Path) -> None:
    path, cancelled, told = tmp_path / "large", threading.Event(), []
    with path.open("wb") as file:
        file.truncate(64 << 20)

    def tell(progress: Progress) -> None:
        told.append(progress.completed)
        cancelled.set()

    with pytest.raises(Cancelled):
        blobs.add_file(path, layers.MODEL, report=tell, cancelled=cancelled)
    assert told == [4 << 20]
    assert strays(blobs) == []


def test_what_was_written_into_a_scratch_file_is_moved_not_copied(blobs: Blobs) -> None:
    with blobs.scratch() as path:
        path.write_bytes(DATA)
        inode = path.stat().st_ino
        layer = blobs.take(path, layers.MODEL)
    assert blobs.file(layer.digest).stat().st_ino == inode
    assert strays(blobs) == []
    with blobs.scratch() as path:
        path.write_bytes(b"thrown away")
    assert strays(blobs) == []


def test_a_file_used_in_place_is_stored_as_a_link(blobs: Blobs, source: Path) -> None:
    layer = blobs.add_file(source, layers.MODEL, reference=True)
    assert layer.digest == DIGEST
    assert layer.size == len(DATA)
    assert blobs.file(DIGEST).readlink() == source
    assert blobs.size(DIGEST) == len(DATA)
    assert blobs.add_file(source, layers.MODEL, reference=True) == layer


def test_a_real_blob_is_not_replaced_by_a_link(blobs: Blobs, source: Path) -> None:
    blobs.add_bytes(DATA, layers.MODEL)
    blobs.add_file(source, layers.MODEL, reference=True)
    assert not blobs.file(DIGEST).is_symlink()


def test_a_changed_file_that_is_used_in_place_is_noticed(blobs: Blobs, source: Path) -> None:
    blobs.add_file(source, layers.MODEL, reference=True)
    source.write_bytes(DATA[:-1] + b"X")
    os.utime(source, (1, 1))
    assert not blobs.has(DIGEST)
    with pytest.raises(StoreError, match=r"model\.gguf is not what it was.*create the model again"):
        blobs.file(DIGEST)
    source.unlink()
    with pytest.raises(ModelNotFound, match=r"model\.gguf, which was used in place, is gone"):
        blobs.file(DIGEST)


def test_a_link_is_replaced_by_the_bytes_once_they_come(blobs: Blobs, source: Path) -> None:
    """And is not written through: the file belongs to the user."""
    blobs.add_file(source, layers.MODEL, reference=True)
    source.write_bytes(b"the user's new file")
    blobs.add_bytes(DATA, layers.MODEL)
    assert blobs.file(DIGEST).read_bytes() == DATA
    assert not blobs.file(DIGEST).is_symlink()
    assert source.read_bytes() == b"the user's new file"


def test_links_that_others_made_are_used_as_they_are(blobs: Blobs, source: Path) -> None:
    blobs.folder.mkdir(parents=True)
    blobs.path(DIGEST).symlink_to(source)
    os.utime(source, (1, 1))
    assert blobs.has(DIGEST)


def test_a_missing_blob_is_named(blobs: Blobs) -> None:
    with pytest.raises(ModelNotFound, match=f"sha256-{DIGEST}.*pull the model again"):
        blobs.file(DIGEST)


def test_blobs_on_another_disk_are_renamed_there(blobs: Blobs, tmp_path: Path) -> None:
    """A rename cannot go from one file system to another."""
    elsewhere = tmp_path / "large disk"
    (elsewhere / "blobs").mkdir(parents=True)
    blobs.root.mkdir()
    blobs.folder.symlink_to(elsewhere / "blobs")
    again = Blobs(blobs.root)
    again.add_bytes(DATA, layers.MODEL)
    assert again.own.parent == elsewhere
    assert (elsewhere / "blobs" / f"sha256-{DIGEST}").read_bytes() == DATA


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", ".", ""])
def test_a_name_of_a_file_cannot_lead_out_of_its_folder(blobs: Blobs, source: Path, name: str) -> None:
    with pytest.raises(InvalidRequest, match="file path must be relative"), blobs.folder_of({name: source}):
        pass


def test_files_get_their_names_back(blobs: Blobs, source: Path) -> None:
    with blobs.folder_of({"a/b.gguf": source}) as folder:
        assert (folder / "a/b.gguf").read_bytes() == DATA
    assert not folder.exists()
