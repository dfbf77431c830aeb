"""A download that outlives its process: a sparse file, and behind its end a journal of the blocks that have arrived.

A block is recorded with its checksum once its bytes are written, so a process may end at any byte. After a power
failure the journal may know of bytes that never reached the disk: the checksum tells, when a block is read again.
Whoever writes holds the file's lock. Knows nothing of where the bytes come from.

Layout: the file's bytes, a header of `_HEADER` bytes, a record for each block in the order of arrival.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import struct
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from puna.store import files, locking

BLOCK = 1 << 20  # bytes; the last one of a file may be shorter

_RECORD = struct.Struct("<IQ")  # index of the block, checksum of its bytes
_HEADER = 512  # bytes: JSON, padded with blanks


class Partial:
    """A file of `size` bytes that is being downloaded. Opened with `try_open`. A context manager; thread-safe."""

    def __init__(self, path: Path, locked: BinaryIO, size: int, identity: str) -> None:
        self.path = path
        self.size = size
        self.block_count = -(-size // BLOCK)
        self._writing = f"write into {path.parent}"
        self._header = _header(size, identity)
        self._journal = locked
        self._buffer = memoryview(bytearray(BLOCK))
        self._write = threading.Lock()
        self._checksums = self._recorded()
        self._reading = path.open("rb", buffering=0)

    def clear(self) -> None:
        """Forget all blocks."""
        with files.storing(f"write into {self.path.parent}"):
            self._checksums = {}
            self._journal.truncate(0)
            self._journal.seek(self.size)
            self._journal.write(self._header)

    @property
    def blocks(self) -> Mapping[int, int | None]:
        """The blocks that are there (or were, when the machine last ran), and their checksums where they are known."""
        return self._checksums

    def record(self, block: int, checksum: int) -> None:
        """The bytes of a block are written. Raises StoreError."""
        with self._write, files.storing(self._writing):
            self._journal.write(_RECORD.pack(block, checksum))
            self._checksums[block] = checksum

    def read(self, block: int) -> memoryview:
        """The bytes of a block, until the next call. For one thread only."""
        with files.storing(f"read {self.path}"):
            self._reading.seek(block * BLOCK)
            read = self._reading.readinto(self._buffer[: self.size - block * BLOCK])
            return self._buffer[:read]

    def is_intact(self, block: int, data: memoryview) -> bool:
        """Whether these bytes are those that were recorded. Where not, the block is known no more."""
        if self._checksums[block] in (None, checksum(data)):
            return True
        with self._write:
            del self._checksums[block]
        return False

    def finish(self) -> None:
        """All blocks are there: leave the file alone, without its journal. Call nothing else but `close` after it."""
        with files.storing(f"write into {self.path.parent}"):
            self._journal.truncate(self.size)

    def discard(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Keep the file, give its lock back."""
        self._reading.close()
        self._journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _recorded(self) -> dict[int, int | None]:
        """Checksums by block; leaves the file ready for the next record."""
        length = os.fstat(self._journal.fileno()).st_size
        if length == self.size > 0:  # all had come, and it ended before the file was where it belongs
            self._journal.seek(self.size)
            self._journal.write(self._header)
            return dict.fromkeys(range(self.block_count))
        self._journal.seek(self.size)
        if length < self.size or self._journal.read(_HEADER) != self._header:
            self.clear()
            return {}
        records = self._journal.read(16 * _RECORD.size * (self.block_count + 1)) or b""
        whole = len(records) - len(records) % _RECORD.size
        self._journal.truncate(self.size + _HEADER + whole)
        self._journal.seek(self.size + _HEADER + whole)
        return {block: value for block, value in _RECORD.iter_unpack(records[:whole]) if block < self.block_count}


def checksum(data: memoryview, offset: int = 0) -> int:
    """The sum of little-endian 64-bit words modulo 2**64, of bytes that stand at `offset` of their block.

    Sums of a block's parts add up to the block's. It tells bytes from those that were there before them, as cheaply as
    can be: whether they are the right ones is told by the file's digest.
    """
    head = min(-offset % 8, len(data))
    body = head + (len(data) - head) // 8 * 8
    words = np.frombuffer(data[head:body], "<u8").sum(dtype=np.uint64)
    ends = (int.from_bytes(data[:head], "little") << offset % 8 * 8) + int.from_bytes(data[body:], "little")
    return (int(words) + ends) % 2**64


def try_open(path: Path, size: int, identity: str) -> Partial | None:
    """Open the download at `path`, or begin it; None while another process (or thread) has it.

    identity: what else tells that it is the same file, such as its ETag where its digest is not known.

    Raises:
        StoreError: it cannot be written.
    """
    flags = os.O_RDWR | os.O_CREAT
    for name in ("O_BINARY", "O_CLOEXEC", "O_NOFOLLOW"):
        flags |= getattr(os, name, 0)
    with files.storing(f"write into {path.parent}"), contextlib.ExitStack() as undo:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = undo.enter_context(os.fdopen(os.open(path, flags, 0o666), "r+b", buffering=0))
        if not locking.try_lock(file.fileno()) or not _is_still(file, path):
            return None
        partial = Partial(path, file, size, identity)
        undo.pop_all()
        return partial


def arrived(path: Path, size: int) -> int:
    """Bytes that a download of another process has, about."""
    with contextlib.suppress(OSError):
        records = max(0, path.stat().st_size - size - _HEADER) // _RECORD.size
        return min(size, records * BLOCK)
    return 0


def _is_still(file: BinaryIO, path: Path) -> bool:
    """Whether the name is still that of the open file: whoever had the lock may have ended the download."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _header(size: int, identity: str) -> bytes:
    hashed = hashlib.sha256(identity.encode()).hexdigest()
    text = json.dumps({"version": 2, "size": size, "block": BLOCK, "identity": hashed})
    return text.encode().ljust(_HEADER - 1) + b"\n"
