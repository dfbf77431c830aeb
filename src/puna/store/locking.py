"""Several processes at one store: a short lock for changes, and pins for what is in use but not yet in a manifest.

All locks are the system's: those of a process that died, however it died, are void.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from puna.errors import StoreError
from puna.store import files

PATIENCE = 30.0  # seconds to wait for another process's change, which takes milliseconds
POLL = 0.002  # seconds


def try_lock(descriptor: int) -> bool:
    """Lock an open file for this process, if nobody has it. Closing the file gives it back."""
    try:
        if sys.platform == "win32":
            import msvcrt

            position = os.lseek(descriptor, 0, os.SEEK_CUR)
            try:
                os.lseek(descriptor, 1 << 60, os.SEEK_SET)  # far behind the content, which stays readable
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            finally:
                os.lseek(descriptor, position, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


@contextlib.contextmanager
def exclusive(own: Path) -> Iterator[None]:
    """Nobody else changes manifests or pins, or removes blobs, inside.

    Raises:
        StoreError: the store cannot be written, or another process does not let go.
    """
    with files.storing(f"change the model store in {own.parent}"):
        own.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(own / "lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    try:
        deadline = time.monotonic() + PATIENCE
        while not try_lock(descriptor):
            if time.monotonic() > deadline:
                raise StoreError(f"another process has been changing {own.parent} for {PATIENCE:.0f} seconds")
            time.sleep(POLL)
        yield
    finally:
        os.close(descriptor)


class Pins:
    """Blobs that an operation counts on: nobody removes them before it ends."""

    def __init__(self, own: Path) -> None:
        with exclusive(own), files.storing(f"write into {own}"):
            self._path, self._descriptor = locked_file(own / "pins")

    def add(self, digests: Iterable[str]) -> None:
        """Pin blobs (64 hex digits each), whether they are there or not. Inside `exclusive` only."""
        os.write(self._descriptor, "".join(f"{digest}\n" for digest in digests).encode())

    def release(self) -> None:
        """Let go of all of them."""
        os.close(self._descriptor)
        self._path.unlink(missing_ok=True)


def pinned(own: Path) -> frozenset[str]:
    """The digests that operations count on. Inside `exclusive` only; forgets those of the dead."""
    digests: set[str] = set()
    folder = own / "pins"
    for path in folder.iterdir() if folder.is_dir() else ():
        if is_abandoned(path):
            path.unlink(missing_ok=True)
        else:
            with contextlib.suppress(FileNotFoundError):  # its operation has just ended
                digests.update(path.read_text().split())
    return frozenset(digests)


def locked_file(folder: Path) -> tuple[Path, int]:
    """A new file that is known to be in use while its descriptor is open. Inside `exclusive` only."""
    path = files.new_file(folder)
    descriptor = files.create(path)
    try_lock(descriptor)  # nobody else knows of it
    return path, descriptor


def is_abandoned(path: Path) -> bool:
    """Whether nobody has locked a file. Inside `exclusive` only: somebody may lock it right afterwards."""
    if path.is_symlink():  # has no lock of its own, and stays where it is for no time at all
        return True
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        return try_lock(descriptor)
    finally:
        os.close(descriptor)
