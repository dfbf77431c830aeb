"""DiskBudget: the files below a folder stay within a number of bytes; the least recently used go first.

A file's modification time says when it was used. Other processes may add and delete files at the same time: the
folder is looked through again after each sixteenth of the budget that this one has added. Knows nothing of what
the files hold.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

SECTOR = 4096  # bytes: what a file takes on disk is a multiple of it
SCRATCH_SECONDS = 3600.0  # a scratch file of that age was left behind by a process that was killed


@dataclass(frozen=True, slots=True, order=True)
class _File:
    used: float
    path: str
    size: int


class DiskBudget:
    """At most `budget` bytes below `root`."""

    SCRATCH: ClassVar[str] = ".scratch-"  # how the name of a file that is being written begins

    def __init__(self, root: Path, budget: int) -> None:
        self._root, self._budget = root, budget
        self._known: int | None = None  # bytes at the last look
        self._added = 0  # bytes since

    def make_room(self, size: int) -> bool:
        """Delete files until another of `size` bytes fits; False if it never can."""
        size = _on_disk(size)
        if size > self._budget:
            return False
        if self._known is None or self._known + self._added + size > self._budget or self._added > self._budget // 16:
            self._known, self._added = self._shrink(size), 0
        self._added += size
        return True

    def _shrink(self, room: int) -> int:
        """If there is too much, delete an eighth more than has to go. The bytes that are left."""
        files = sorted(self._files())
        total = sum(file.size for file in files)
        if total + room <= self._budget:
            return total
        for file in files:
            if total <= max(0, self._budget * 7 // 8 - room):
                break
            with contextlib.suppress(FileNotFoundError):  # another process has been quicker
                os.unlink(file.path)
            total -= file.size
        return total

    def _files(self) -> Iterator[_File]:
        oldest = time.time() - SCRATCH_SECONDS
        for folder, _, names in os.walk(self._root):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    status = os.stat(path)
                    if name.startswith(self.SCRATCH) and status.st_mtime < oldest:
                        os.unlink(path)
                        continue
                except FileNotFoundError:
                    continue
                yield _File(status.st_mtime, path, _on_disk(status.st_size))


def _on_disk(size: int) -> int:
    return -(-size // SECTOR) * SECTOR
