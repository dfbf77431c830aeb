"""Files written so that a crash at any point leaves the old or the new, never half. Knows nothing of models."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

from puna.errors import StoreError

_HINTS = {
    errno.ENOSPC: "free some space (`puna prune` removes what no model uses), then try again",
    errno.EDQUOT: "your disk quota is used up: free some space, then try again",
    errno.EROFS: "the file system is read-only: PUNA_MODELS names another folder",
    errno.EACCES: "give yourself the right to it, or let PUNA_MODELS name another folder",
    errno.EPERM: "give yourself the right to it, or let PUNA_MODELS name another folder",
}


@contextlib.contextmanager
def storing(what: str) -> Iterator[None]:
    """What the system refuses inside becomes a StoreError: `cannot <what>: <why>; <what to do>`."""
    try:
        yield
    except OSError as error:
        hint = _HINTS.get(error.errno or 0)
        raise StoreError(f"cannot {what}: {error.strerror or error}{f'; {hint}' if hint else ''}") from error


def new_file(folder: Path) -> Path:
    """A name in `folder` that nobody else uses; the folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / uuid.uuid4().hex


def create(path: Path) -> int:
    """Open a new file for reading and writing; gives its descriptor. A link of that name is not followed."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    return os.open(path, flags, 0o666)


def write(path: Path, data: bytes, *, temporary: Path) -> None:
    """Put `data` at `path`, whole or not at all. `temporary`: a folder of the same file system."""
    scratch = new_file(temporary)
    try:
        with os.fdopen(create(scratch), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        move(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def move(source: Path, destination: Path) -> None:
    """Rename a file whose content is on the disk already; the new name is too when this returns."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, destination)
    sync_folder(destination.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    if sys.platform == "win32":  # where folders cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_empty(folder: Path, *, below: Path) -> None:
    """Remove `folder` and those above it, as long as they are empty and inside `below`."""
    while folder != below and below in folder.parents:
        try:
            folder.rmdir()
        except OSError:  # not empty, or a link
            return
        folder = folder.parent
