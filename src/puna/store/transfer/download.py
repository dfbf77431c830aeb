"""A blob fetched in parallel ranges, resumed where it ended, from as many places as there are, and verified.

The file is hashed in order behind the ranges, while they come. Several processes (or threads) may want one blob: the
first fetches it, the others wait and follow, and take over if it stops.
"""

from __future__ import annotations

import hashlib
import shutil
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from puna.errors import DigestMismatch, StoreError, TransferError
from puna.store.blobs import Blobs
from puna.store.progress import Progress, Report, check
from puna.store.transfer import http, journal
from puna.store.transfer.blocks import Blocks
from puna.store.transfer.fetching import Fetching
from puna.store.transfer.journal import BLOCK, Partial
from puna.store.transfer.retrying import Patience, retried
from puna.store.transfer.source import Remote, Source, probe

__all__ = ["CONNECTIONS", "Source", "arrived", "check_room", "download"]

CONNECTIONS = 16  # at most
WORTH_A_CONNECTION = 4  # blocks
INTERVAL = 0.1  # seconds between two reports
FOLLOW = 0.2  # seconds between two looks at what another process does


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a download is to bring."""

    key: str  # its file's name while it is a part
    size: int  # bytes
    digest: str | None
    identity: str  # what tells that it is the same file as the last time
    status: str


def download(
    digest: str | None,
    size: int | None,
    sources: Sequence[Source],
    blobs: Blobs,
    report: Report,
    cancelled: threading.Event,
    *,
    connections: int = CONNECTIONS,
    patience: Patience | None = None,
) -> Path:
    """Fetch a blob into the store; gives its file.

    Sources are asked in their order: one that fails is left alone for a while, and for good when it fails too often.

    Args:
        digest: 64 hex digits. None where it is not known: what comes is believed, and the blob's name tells it.
        size: bytes. None where it is not known: the first source is asked.
        patience: with servers that fail.

    Raises:
        TransferError: no source gives it; what has come stays for the next time.
        DigestMismatch: every source gives other bytes than the digest's.
        StoreError: there is no room for it, or it cannot be written.
        Cancelled: what has come stays for the next time.
    """
    if digest is not None and blobs.has(digest):
        return blobs.path(digest)
    patience = patience or Patience()
    with http.bulk_client(stall=patience.stall, connections=connections) as client:
        wanted = _wanted(digest, size, sources, client, patience, cancelled)
        return _Job(wanted, client, blobs, report, cancelled, patience, connections).run(sources)


def _wanted(
    digest: str | None,
    size: int | None,
    sources: Sequence[Source],
    client: httpx.Client,
    patience: Patience,
    cancelled: threading.Event,
) -> _Wanted:
    first, identity = sources[0], digest or sources[0].url
    if size is None:
        size, identity = retried(lambda: probe(first, client), patience.at_first, cancelled)
    if digest is None:
        return _Wanted(
            f"url-{hashlib.sha256(first.url.encode()).hexdigest()}", size, None, identity, f"pulling {first.host}"
        )
    return _Wanted(f"sha256-{digest}", size, digest, digest, f"pulling {digest[:12]}")


class _Job:
    """One call of `download`."""

    def __init__(
        self,
        wanted: _Wanted,
        client: httpx.Client,
        blobs: Blobs,
        report: Report,
        cancelled: threading.Event,
        patience: Patience,
        connections: int,
    ) -> None:
        self._wanted = wanted
        self._client = client
        self._blobs = blobs
        self._report = report
        self._cancelled = cancelled
        self._patience = patience
        self._connections = connections
        self._next_report = 0.0

    def run(self, sources: Sequence[Source]) -> Path:
        """Until the blob is there, by this thread's work or another's."""
        wanted, path = self._wanted, self._blobs.partials / self._wanted.key
        while wanted.digest is None or not self._blobs.has(wanted.digest):
            partial = journal.try_open(path, wanted.size, wanted.identity)
            if partial is None:
                check(self._cancelled)
                self._tell(journal.arrived(path, wanted.size))
                self._cancelled.wait(FOLLOW)
                continue
            with partial:
                if wanted.digest is not None and self._blobs.has(wanted.digest):
                    partial.discard()
                    break
                self._check_room(partial)
                digest = self._fetch(partial, sources)
                partial.finish()
                return self._blobs.adopt(path, digest)
        return self._blobs.path(wanted.digest)

    def _fetch(self, partial: Partial, sources: Sequence[Source]) -> str:
        """From all sources; when the bytes are wrong, from each alone, for nobody knows which one was to blame."""
        resumed = bool(partial.blocks)
        remotes = self._remotes(sources)
        actual = self._attempt(partial, remotes)
        if self._is_right(actual):
            return actual
        served = [remote.source for remote in remotes if remote.served]
        guilty = served[0] if len(served) == 1 and not resumed else None
        reasons = [f"{guilty.host} sends other bytes, of sha256:{actual}"] if guilty else []
        for source in sources:
            partial.clear()
            if source is guilty:
                continue
            try:
                actual = self._attempt(partial, self._remotes([source]))
            except TransferError as error:
                reasons.append(str(error))
                continue
            if self._is_right(actual):
                return actual
            reasons.append(f"{source.host} sends other bytes, of sha256:{actual}")
        partial.discard()
        told = "; ".join(reasons)
        raise DigestMismatch(
            f"digest mismatch, file must be downloaded again: want sha256:{self._wanted.digest}; {told}"
        )

    def _attempt(self, partial: Partial, remotes: Sequence[Remote]) -> str:
        """Fetch what is missing, and hash all; gives the digest."""
        old = frozenset(partial.blocks)
        missing = partial.block_count - len(old)
        connections = max(1, min(self._connections, -(-missing // WORTH_A_CONNECTION)))
        blocks = Blocks(partial.block_count, old)
        digest = hashlib.sha256()
        with Fetching(partial, blocks, remotes, self._patience, connections) as fetching:
            for block in range(partial.block_count):
                while (data := self._block(partial, blocks, block, old)) is None:
                    self._tick(fetching)
                digest.update(data)
                self._tick(fetching)
        return digest.hexdigest()

    def _block(self, partial: Partial, blocks: Blocks, block: int, old: frozenset[int]) -> memoryview | None:
        """A block's bytes; None while it is not there. What an earlier process wrote is checked when it is read."""
        if not blocks.wait_for(block, INTERVAL):
            return None
        data = partial.read(block)
        if block not in old or partial.is_intact(block, data):
            return data
        blocks.lost(block)
        return None

    def _tick(self, fetching: Fetching) -> None:
        """What is to be done now and then."""
        now = time.monotonic()
        if now >= self._next_report:
            check(self._cancelled)
            fetching.check()
            self._next_report = now + INTERVAL
            self._tell(fetching.arrived)

    def _tell(self, arrived: int) -> None:
        self._report(Progress(self._wanted.status, self._wanted.digest, self._wanted.size, arrived))

    def _is_right(self, digest: str) -> bool:
        return self._wanted.digest in (None, digest)

    def _remotes(self, sources: Sequence[Source]) -> list[Remote]:
        size = self._wanted.size
        return [Remote(source, self._client, size, self._patience, self._connections) for source in sources]

    def _check_room(self, partial: Partial) -> None:
        needed = (partial.block_count - len(partial.blocks)) * BLOCK
        check_room(partial.path.parent, min(needed, partial.size))


def arrived(blobs: Blobs, digest: str, size: int) -> int:
    """Bytes of a blob that an unfinished download has, about."""
    return journal.arrived(blobs.partials / f"sha256-{digest}", size)


def check_room(folder: Path, needed: int) -> None:
    """Raises StoreError unless the folder's file system has room for so many bytes."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise StoreError(
            f"not enough room in {folder}: {needed / 1e6:.1f} MB are to come, {free / 1e6:.1f} MB are free; "
            "`puna prune` removes what no model uses, PUNA_MODELS names another folder"
        )
