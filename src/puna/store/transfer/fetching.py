"""The threads of one download: each takes a run of blocks, asks a source for it, and writes what comes.

Knows nothing of digests: the caller waits for the blocks in order and hashes them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import BinaryIO, Self

from puna.errors import StoreError, TransferError
from puna.store import files
from puna.store.transfer.blocks import Blocks
from puna.store.transfer.bulk import INTERRUPT
from puna.store.transfer.growth import WINDOW, Growth
from puna.store.transfer.journal import BLOCK, Partial, checksum
from puna.store.transfer.retrying import Patience, Unavailable
from puna.store.transfer.source import PROGRESS, Body, Remote

SHORTEST_RUN, LONGEST_RUN = 32, 64  # blocks that are asked for in one request
WORTH_WAITING = 8.0  # a request should take so many times as long as the wait for its answer
FIRST = 2  # connections to begin with
POLL = 0.05  # seconds between two looks for a source that may be asked
FLUSH = 0.05  # seconds between two looks at whether the disk should be given what has come:
FLUSH_BYTES, FLUSH_SECONDS = 4 * BLOCK, 1.0  # so much, or what came in so long
LEAVE = 2.0  # seconds that a thread is waited for at the end; one that is connecting ends by itself

_write_out = getattr(os, "fdatasync", os.fsync)  # not all systems have the cheaper one


class Run:
    """A stretch of the file that one thread fetches; it goes on at the byte where it was interrupted."""

    def __init__(self, partial: Partial, blocks: Blocks, file: BinaryIO, start: int, end: int) -> None:
        self.position = start * BLOCK
        self.end = min(end * BLOCK, partial.size)
        self._end_block = end
        self._partial = partial
        self._blocks = blocks
        self._file = file
        self._checksum = 0
        self._writing = f"write into {partial.path.parent}"

    @property
    def block(self) -> int:
        """The one that is being fetched."""
        return self.position // BLOCK if not self.finished else self._end_block

    @property
    def begun(self) -> int:
        """Bytes of the block that is being fetched."""
        return self.position % BLOCK if not self.finished else 0

    @property
    def finished(self) -> bool:
        """Whether all of it is there."""
        return self.position == self.end

    def write(self, data: memoryview) -> int:
        """Write what comes next, up to the end of the block; gives how many bytes were taken."""
        block = self.position // BLOCK
        last = min((block + 1) * BLOCK, self.end)
        data = data[: last - self.position]
        with files.storing(self._writing):
            self._file.seek(self.position)
            taken = self._file.write(data)
        self._checksum = (self._checksum + checksum(data[:taken], self.begun)) % 2**64
        self.position += taken
        if self.position == last:
            self._partial.record(block, self._checksum)
            self._checksum = 0
            self._blocks.arrived(block)
        return taken

    def go_on(self) -> bool:
        """Take the next stretch of the file that nobody fetches; whether there is one."""
        taken = self._blocks.take_after(self._end_block)
        if taken is None:
            return False
        self.position, self.end = taken[0] * BLOCK, min(taken[1] * BLOCK, self._partial.size)
        self._end_block = taken[1]
        return True

    def give_back(self) -> None:
        """Leave the rest to others; of a block that has begun, all."""
        self._blocks.give_back(self.block, self._end_block)


class Reader:
    """One thread, and what it is reading."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.run: Run | None = None
        self.body: Body | None = None
        self.total = 0  # bytes, of all requests
        self.reset()

    def reset(self) -> None:
        """A request begins."""
        self.stalled = False
        self.received = self._received_then = 0  # bytes
        self.began = self._since = time.monotonic()  # and when it was last seen to advance

    def interrupt(self) -> None:
        """End the request in progress, whatever it waits for. From any thread."""
        body = self.body
        if body is not None:
            body.response.extensions[INTERRUPT]()

    def watch(self, stall: float) -> None:
        """Interrupt a request that has brought nearly nothing for so many seconds."""
        now = time.monotonic()
        if self.body is None or now - self._since < stall:
            return
        if self.received - self._received_then < PROGRESS:
            self.stalled = True
            self.interrupt()
        self._since, self._received_then = now, self.received


class Fetching:
    """The threads. A context manager: at its end they have stopped.

    Raises, from `check`:
        TransferError: no source is left; it tells why each was given up.
        StoreError: the file cannot be written.
    """

    def __init__(
        self, partial: Partial, blocks: Blocks, remotes: Sequence[Remote], patience: Patience, connections: int
    ) -> None:
        self._partial = partial
        self._blocks = blocks
        self._remotes = remotes
        self._patience = patience
        self._growth = Growth(FIRST, connections)
        self._window = (time.monotonic(), 0)  # when it began, and the bytes received until then
        self._share = 0.0  # bytes per second of one connection
        self._readers: list[Reader] = []
        self._threads: list[threading.Thread] = []
        self._stopped = threading.Event()
        self._failure: Exception | None = None

    def check(self) -> None:
        """Raise what has ended the threads; interrupt requests that stall."""
        if self._failure is not None:
            raise self._failure
        if self._blocks.missing and all(remote.lost for remote in self._remotes):
            raise TransferError("; ".join(str(remote.lost) for remote in self._remotes))
        for reader in self._readers:
            reader.watch(self._patience.stall)
        self._grow()

    @property
    def arrived(self) -> int:
        """Bytes of the file that are there."""
        whole = (self._partial.block_count - self._blocks.missing) * BLOCK
        return min(self._partial.size, whole + sum(reader.run.begun for reader in self._readers if reader.run))

    def __enter__(self) -> Self:
        self._begin(self._flush)
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        for reader in self._readers:
            reader.interrupt()
        deadline = time.monotonic() + LEAVE
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _grow(self) -> None:
        """Try more connections where that is worth it."""
        now, received = time.monotonic(), sum(reader.total for reader in self._readers)
        since, before = self._window
        if now - since >= WINDOW:
            rate = (received - before) / (now - since)
            self._share = rate / len(self._readers)
            self._growth.see(rate)
            self._window = now, received
            self._start()

    def _start(self) -> None:
        while len(self._readers) < self._growth.count:
            self._readers.append(Reader(len(self._readers)))
            self._begin(self._work, self._readers[-1])

    def _begin(self, work: Callable[..., None], *arguments: object) -> None:
        self._threads.append(threading.Thread(target=work, args=arguments, name="download", daemon=True))
        self._threads[-1].start()

    def _flush(self) -> None:
        """Put on the disk what has come while more is coming: at the end there is little to be waited for."""
        try:
            with files.storing(f"write into {self._partial.path.parent}"), self._partial.path.open("r+b") as file:
                given, when = 0, time.monotonic()
                while not self._stopped.wait(FLUSH):
                    received = sum(reader.total for reader in self._readers)
                    if received - given >= FLUSH_BYTES or time.monotonic() - when >= FLUSH_SECONDS:
                        given, when = received, time.monotonic()
                        _write_out(file.fileno())
        except StoreError as error:
            self._failure = error

    def _work(self, reader: Reader) -> None:
        try:
            with self._partial.path.open("r+b", buffering=0) as file:
                while (remote := self._remote(reader)) is not None:
                    self._ask(reader, remote, file)
        except Exception as error:  # whatever it is, the caller waits for these threads
            self._failure = error
        finally:
            if reader.run is not None:
                reader.run.give_back()

    def _ask(self, reader: Reader, remote: Remote, file: BinaryIO) -> None:
        """One request: for what the last one left, or for the next run, if there is one."""
        try:
            if reader.run is None and (taken := self._taken(remote)) is not None:
                reader.run = Run(self._partial, self._blocks, file, *taken)
            reader.reset()
            if reader.run is not None:
                self._read(reader, remote, reader.run)
        except TransferError as error:
            if not self._stopped.is_set():
                remote.failed(self._stalled(remote) if reader.stalled else error, reader.began, reader.received)
        finally:
            reader.body = None
            remote.leave_place()
        if reader.run is None:
            self._stopped.wait(POLL)
        elif reader.run.finished:
            reader.run = None

    def _taken(self, remote: Remote) -> tuple[int, int] | None:
        return self._blocks.take(self._worthwhile(remote), len(self._readers))

    def _worthwhile(self, remote: Remote) -> int:
        """Blocks to ask for in one request: just so many that waiting for its answer is cheap.

        What is on its way when this process is killed must come again; and the last request is soon done.
        """
        return max(SHORTEST_RUN, min(LONGEST_RUN, int(self._share * remote.wait * WORTH_WAITING) // BLOCK))

    def _stalled(self, remote: Remote) -> Unavailable:
        return Unavailable(f"{remote.source.host} stalled: nearly nothing came for {self._patience.stall:.0f} s")

    def _remote(self, reader: Reader) -> Remote | None:
        """Wait for the first source that may be asked; None when there is none, or the threads shall stop."""
        while not self._stopped.is_set() and not all(remote.lost for remote in self._remotes):
            for remote in self._remotes if self._may_ask(reader) else ():
                if remote.take_place():
                    return remote
            self._stopped.wait(POLL)
        return None

    def _may_ask(self, reader: Reader) -> bool:
        """Whether the thread is one of those that are of use; one that has begun something may end it."""
        return reader.index < self._growth.count or reader.run is not None

    def _read(self, reader: Reader, remote: Remote, run: Run) -> None:
        """Write what one request brings: the run, or also all that is missing behind it where the whole file comes."""
        with remote.open(run.position, run.end) as body:
            remote.answered(time.monotonic() - reader.began)
            reader.body, at = body, body.start
            for chunk in body.chunks():
                reader.received += len(chunk)
                reader.total += len(chunk)
                data = memoryview(chunk)
                while data:
                    if self._stopped.is_set() or (run.finished and not (body.is_whole and run.go_on())):
                        return
                    taken = min(run.position - at, len(data)) or self._write(remote, run, data)
                    at += taken
                    data = data[taken:]
        if not run.finished:
            raise Unavailable(f"{remote.source.host} ended before all of the file had come")

    def _write(self, remote: Remote, run: Run, data: memoryview) -> int:
        block = run.block
        taken = run.write(data)
        if run.block != block:
            remote.succeeded()
        return taken
