"""PrefixStore: KV blocks on disk, one file each, so that a prefix survives unloading, eviction and restarts.

ROOT/<what made the values>/<key of the tokens>. A file is MAGIC, the BLAKE2b of key and payload, and the payload.
It is read and verified where a sequence needs it, and written by a thread of its own: to a scratch file that is
renamed, so that a process killed at any moment leaves no half block. Any number of processes may share ROOT. Knows
nothing of sequences and KV pools.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias

from numpy.typing import NDArray

from puna.engine.disk_budget import DiskBudget
from puna.engine.prefix_hash import BlockKey
from puna.errors import PunaError

MAGIC = b"PUNAKV1\n"
DIGEST_BYTES = 32
HEADER_BYTES = len(MAGIC) + DIGEST_BYTES
QUEUE_BYTES = 64 << 20  # handed to the thread and not yet written
WAIT_SECONDS = 0.02  # how long `has_room` waits for the thread
BUSY_SECONDS = 0.25  # how long the thread waits, for each piece of its work, for the engine to have none

Pause: TypeAlias = Callable[[], None]
Name: TypeAlias = str | Callable[[Pause], str]

logger = logging.getLogger(__name__)


class CorruptBlock(PunaError):
    """A file of the prefix cache is not what was written; it has been deleted."""


@dataclass(frozen=True, slots=True)
class _Write:
    key: BlockKey
    used: int  # nanoseconds since 1970
    data: NDArray[Any] | None  # None: the file is there, and was used


class PrefixStore:
    """One model's blocks of `block_bytes` each. With all other files below `root` they stay within `budget` bytes."""

    def __init__(self, root: Path, name: Name, *, block_bytes: int, budget: int) -> None:
        """`name` is the model's folder, or finds it out: the thread calls it before it writes the first block, with a
        function to be called between any two pieces of work.

        Until the name is known, nothing is read. If it fails, nothing is ever kept, and a warning says so.
        """
        self._block_bytes = block_bytes
        self._root = root
        self._folder = root / name if isinstance(name, str) else None
        self._name = None if isinstance(name, str) else name
        self._budget = DiskBudget(root, budget)
        self._most = max(2, QUEUE_BYTES // block_bytes)
        self._changed = threading.Condition()  # guards what follows
        self._queue: deque[_Write] = deque()
        self._warnings: dict[str, None] = {}
        self._busy = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="prefix-store", daemon=True)
        self._thread.start()

    def get(self, key: BlockKey) -> memoryview | None:
        """A block's bytes; None if it is not here. Raises CorruptBlock."""
        if self._folder is None:
            return None
        path = self._folder / key.hex()
        try:
            with open(path, "rb", buffering=0) as file:
                content = file.read(HEADER_BYTES + self._block_bytes + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn(f"a block of the prefix cache cannot be read: {error}")
            return None
        payload = memoryview(content)[HEADER_BYTES:]
        if len(payload) == self._block_bytes and content[:HEADER_BYTES] == _header(key, payload):
            return payload
        with contextlib.suppress(OSError):
            path.unlink()
        self._warn(f"a block of the prefix cache was corrupt and has been deleted: {path}")
        raise CorruptBlock(str(path))

    def has(self, key: BlockKey) -> bool:
        """Whether there is a file of that key."""
        return self._folder is not None and (self._folder / key.hex()).exists()

    def has_room(self, *, wait: bool) -> bool:
        """Whether `put` or `touch` may be called. wait: give the thread WAIT_SECONDS to make room."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._queue) < self._most, WAIT_SECONDS if wait else 0)

    def put(self, key: BlockKey, used: int, data: NDArray[Any]) -> None:
        """Have a block written, last used at `used` (nanoseconds since 1970). `data` is the store's from now on."""
        self._enqueue(_Write(key, used, data))

    def touch(self, key: BlockKey, used: int) -> None:
        """Note when a block that is here was used last."""
        self._enqueue(_Write(key, used, None))

    def set_busy(self, busy: bool) -> None:
        """Whether the processor is wanted for something better: the thread then works a little at a time."""
        with self._changed:
            self._busy = busy
            self._changed.notify_all()

    def take_warnings(self) -> tuple[str, ...]:
        """What went wrong since the last call, each once."""
        with self._changed:
            taken, self._warnings = tuple(self._warnings), {}
        return taken

    def close(self, seconds: float) -> None:
        """Write what was handed over, for so long at most, and take no more."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(seconds)

    def _enqueue(self, write: _Write) -> None:
        with self._changed:
            assert not self._closing, "the store is closed"
            self._queue.append(write)
            self._changed.notify_all()

    def _run(self) -> None:
        """Write what is handed over until the store is closed. Runs in its own thread."""
        while (write := self._next()) is not None:
            try:
                self._pause()
                self._write(write)
            except Exception as error:  # whatever it is, answers go on without the disk, and say so
                self._warn(f"the prefix cache on disk cannot be written: {error}")

    def _pause(self) -> None:
        """Wait, but not for ever, until nothing is computed: two threads on one core stall a whole team."""
        with self._changed:
            self._changed.wait_for(lambda: not self._busy or self._closing, BUSY_SECONDS)

    def _next(self) -> _Write | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            if not self._queue:
                return None
            self._changed.notify_all()
            return self._queue.popleft()

    def _write(self, write: _Write) -> None:
        if self._folder is None:
            if self._name is None:
                return
            name, self._name = self._name, None  # asked once: it may take long to fail, too
            self._folder = self._root / name(self._pause)
        path = self._folder / write.key.hex()
        if path.exists():
            _set_used(path, write.used)
        elif write.data is not None:
            if not self._budget.make_room(HEADER_BYTES + self._block_bytes):
                raise PunaError(f"a block of {self._block_bytes} bytes is more than its whole budget")
            _publish(path, _header(write.key, write.data.data), write.data.data, write.used)

    def _warn(self, text: str) -> None:
        logger.warning(text)
        with self._changed:
            self._warnings[text] = None


def _header(key: BlockKey, payload: memoryview) -> bytes:
    digest = blake2b(key, digest_size=DIGEST_BYTES)
    digest.update(payload)
    return MAGIC + digest.digest()


def _publish(path: Path, header: bytes, payload: memoryview, used: int) -> None:
    """The file appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f"{DiskBudget.SCRATCH}{path.name}-{os.getpid()}")
    try:
        with open(scratch, "wb", buffering=0) as file:
            file.write(header)
            file.write(payload)
        _set_used(scratch, used)
        os.replace(scratch, path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _set_used(path: Path, used: int) -> None:
    """The time of a file's last use is its modification time: access times are often not kept."""
    os.utime(path, ns=(used, used))
