"""Finds and removes what no model of a store uses. Knows nothing of what models are."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from puna.store import files, locking, management
from puna.store.blobs import Blobs

FRESH = 3600.0  # seconds that a blob without a manifest is kept, as by Ollama: somebody may be about to use it


@dataclass(frozen=True, slots=True)
class Unused:
    """A file that no model uses."""

    path: Path
    size: int  # bytes that removing it frees


def prune(root: Path, *, everything: bool = False, dry_run: bool = False) -> list[Unused]:
    """Remove blobs that no model uses, and what dead processes and `verify` left; gives what was removed.

    Args:
        everything: also blobs of the last hour, and partial downloads, which would otherwise go on where they ended.
        dry_run: remove nothing.

    Raises:
        StoreError: the store cannot be read or written.
    """
    blobs = Blobs(root)
    if not blobs.folder.is_dir() and not blobs.own.is_dir():
        return []
    with locking.exclusive(blobs.own), files.storing(f"prune {root}"):
        unused = _unused_blobs(blobs, math.inf if everything else time.time() - FRESH)
        left_over = list(_left_over(blobs, everything))
        if not dry_run:
            for digest in unused:
                blobs.remove(digest)
            for each in left_over:
                each.path.unlink(missing_ok=True)
        return [*unused.values(), *left_over]


def _unused_blobs(blobs: Blobs, before: float) -> dict[str, Unused]:
    """By digest, those last written before a Unix time."""
    keep = management.used(blobs.root) | locking.pinned(blobs.own)
    return {
        digest: Unused(blobs.path(digest), status.st_size)
        for digest, status in blobs.each()
        if digest not in keep and status.st_mtime < before
    }


def _left_over(blobs: Blobs, everything: bool) -> Iterator[Unused]:
    """Files that nobody writes any more."""
    folders = [blobs.temporary, management.temporary(blobs.root), blobs.damaged]
    for folder in dict.fromkeys(folders + [blobs.partials] * everything):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            owner = path.with_name(path.name.partition(".")[0])  # of what is written at `Blobs.scratch`
            if locking.is_abandoned(owner) and locking.is_abandoned(path):
                with contextlib.suppress(FileNotFoundError):  # its writer has just removed it
                    yield Unused(path, _space(path.lstat()))


def _space(status: os.stat_result) -> int:
    """Bytes on the disk: a download's file has holes."""
    blocks = getattr(status, "st_blocks", None)
    return status.st_size if blocks is None else min(status.st_size, int(blocks) * 512)
