"""Blobs: files known by their sha256, written whole or not at all, copied as seldom as can be.

Layout: `blobs/sha256-<64 hex>`, which is Ollama's; beside it `.puna`, with what is on its way there. Knows nothing of
manifests. A blob may be a link to a file elsewhere; that file's size and date tell whether it is still the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from puna.errors import DigestMismatch, InvalidRequest, ModelNotFound, StoreError
from puna.store import files, locking
from puna.store.layers import Layer
from puna.store.progress import Progress, Report, check, ignore

OWN = ".puna"
CHUNK = 4 << 20  # bytes that are read at once, and between two reports

_NAME = re.compile(r"sha256-([0-9a-f]{64})")
_FICLONE = 0x40049409  # linux/fs.h: share the blocks of another file until one of the two is written


class Blobs:
    """The blobs of a store.

    Digests are 64 hex digits. What is added stands under its name once it is whole and on the disk.
    """

    def __init__(self, root: Path, *, pins: locking.Pins | None = None) -> None:
        self.root = root
        self.folder = root / "blobs"
        # Files become blobs by being renamed, which needs one file system: `blobs` may be a link to another.
        beside = self.folder.resolve().parent if self.folder.is_symlink() else root
        self.own = beside / OWN
        self.partials = self.own / "partial"  # of downloads: whoever writes into one holds its lock
        self.temporary = self.own / "temporary"  # the same of what is not kept if its writer dies
        self.damaged = self.own / "damaged"  # what `verify` has found
        self._pins = pins

    @contextlib.contextmanager
    def pinned(self, digests: Iterable[str] = ()) -> Iterator[Blobs]:
        """For an operation that ends in a manifest: inside, nobody removes what it adds or pins.

        Raises:
            StoreError: the store cannot be written.
        """
        pins = locking.Pins(self.own)
        try:
            blobs = Blobs(self.root, pins=pins)
            blobs.pin(digests)
            yield blobs
        finally:
            pins.release()

    def pin(self, digests: Iterable[str]) -> None:
        """Keep these too; pin first, then look whether they are there. Inside `pinned` only."""
        assert self._pins is not None, "only inside `pinned`"
        with self._changing():
            self._pins.add(digests)

    def path(self, digest: str) -> Path:
        """Where the blob is, or would be."""
        return self.folder / f"sha256-{digest}"

    def has(self, digest: str) -> bool:
        """Whether it is there, and is what it was when it was added."""
        return self.path(digest).is_file() and not self._changed(digest)

    def file(self, digest: str) -> Path:
        """The blob's file.

        Raises:
            ModelNotFound: it is not in the store.
            StoreError: it is a link to a file that has changed since.
        """
        path = self.path(digest)
        if not path.is_file():
            where = f"{os.readlink(path)}, which was used in place, is gone" if path.is_symlink() else str(path)
            raise ModelNotFound(f"a part of the model is missing ({where}): pull the model again")
        if self._changed(digest):
            raise StoreError(
                f"{os.readlink(path)} is not what it was when the model was created from it: create the model again, "
                "or let `puna verify` look at what is in it"
            )
        return path

    def size(self, digest: str) -> int:
        """Its bytes. Raises as `file`."""
        return self.file(digest).stat().st_size

    def add_bytes(self, data: bytes, media_type: str) -> Layer:
        """Add what is in memory. Raises StoreError."""
        return Layer(media_type, *self.add_stream([data]))

    def add_stream(self, chunks: Iterable[bytes], expected: str | None = None) -> tuple[str, int]:
        """Add what comes piece by piece; gives its digest and its bytes.

        Raises:
            DigestMismatch: the digest is not the `expected` one.
            StoreError: it cannot be written.
        """
        with self.writer() as writer:
            for chunk in chunks:
                writer.write(chunk)
            return writer.finish(expected)

    def add_file(
        self,
        path: Path,
        media_type: str,
        *,
        reference: bool = False,
        report: Report = ignore,
        cancelled: threading.Event | None = None,
    ) -> Layer:
        """Add a file that stays where it is.

        Args:
            reference: use it in place. Otherwise it is copied while it is hashed, or shares its blocks where the file
                system can do that.

        Raises:
            StoreError: it cannot be read, or there is no room.
            Cancelled.
        """
        with files.storing(f"add {path}"):
            if reference:
                return self._refer(path.resolve(strict=True), media_type, report, cancelled)
            with path.open("rb") as source, self.writer() as writer:
                if writer.clone(source):
                    return self.take(writer.path, media_type, report=report, cancelled=cancelled)
                for chunk in chunks_of(source, f"copying {path.name}", report, cancelled):
                    writer.write(chunk)
                return Layer(media_type, *writer.finish())

    def writer(self) -> Writer:
        """For a blob that is written piece by piece. A context manager."""
        return Writer(self)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A path to write a file at, for `take` or `adopt`; gone at the end, even if this process dies."""
        owner, descriptor = self._locked_file()
        path = owner.with_suffix(".new")  # may be written by way of another file beside it, which has no lock either
        try:
            yield path
        finally:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            owner.unlink(missing_ok=True)

    def take(
        self, path: Path, media_type: str, *, report: Report = ignore, cancelled: threading.Event | None = None
    ) -> Layer:
        """Hash a file of the store's own file system (a `scratch`), and make it a blob; it is moved."""
        with files.storing(f"add {path}"), path.open("rb") as file:
            digest = hashed(file, f"hashing {path.name}", report, cancelled)
            size = os.fstat(file.fileno()).st_size
        self.adopt(path, digest)
        return Layer(media_type, digest, size)

    def adopt(self, path: Path, digest: str) -> Path:
        """Make a file of the store's own file system, whose digest is known to be right, a blob; it is moved."""
        with files.storing(f"write into {self.folder}"):
            with path.open("rb+") as file:
                os.fsync(file.fileno())
            with self._changing():
                self._place(path, digest)
        return self.path(digest)

    def remove(self, digest: str) -> int:
        """Remove a blob; of a link, only the link. Gives the bytes that this frees. Inside `locking.exclusive` only."""
        path = self.path(digest)
        with contextlib.suppress(FileNotFoundError):
            size = path.lstat().st_size
            path.unlink()
            self._record(digest).unlink(missing_ok=True)
            return size
        return 0

    def spend(self, digest: str) -> None:
        """Remove a blob and give its room back at once, though this process still has it open. Of a link, nothing."""
        path = self.path(digest)
        with self._changing(), files.storing(f"remove {path}"):
            if path.is_symlink() or not path.is_file():
                return
            with path.open("rb+") as file:
                self.remove(digest)
                file.truncate()

    def quarantine(self, digest: str) -> Path:
        """Put a blob that is not what its name says aside; of a link, only the link. Gives where it is now."""
        path, aside = self.path(digest), self.damaged / f"sha256-{digest}"
        with self._changing(), files.storing(f"set {path} aside"):
            self._record(digest).unlink(missing_ok=True)
            files.move(path, aside)
        return aside

    def recognise(self, digest: str, status: os.stat_result) -> None:
        """Remember what the file behind a link looked like when its content was found to be what it should be."""
        with self._changing(), files.storing(f"write into {self.own}"):
            self._remember(digest, self.path(digest).readlink(), status)

    def each(self) -> Iterator[tuple[str, os.stat_result]]:
        """Every blob and its status, that of the link where it is one; other files are passed over."""
        if not self.folder.is_dir():
            return
        with os.scandir(self.folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                match = _NAME.fullmatch(entry.name)
                if match is not None and not entry.is_dir(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError):
                        yield match[1], entry.stat(follow_symlinks=False)

    @contextlib.contextmanager
    def folder_of(self, named: Mapping[str, Path]) -> Iterator[Path]:
        """Files under names of their own, as links in a folder that is gone at the end. Raises InvalidRequest."""
        with tempfile.TemporaryDirectory(prefix="puna-") as folder:
            for name, path in named.items():
                link = Path(os.path.normpath(Path(folder, name)))
                if Path(folder) not in link.parents:
                    raise InvalidRequest(f"file path must be relative: {name!r} leads elsewhere")
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path.absolute())
            yield Path(folder)

    def _refer(self, path: Path, media_type: str, report: Report, cancelled: threading.Event | None) -> Layer:
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            digest = hashed(file, f"hashing {path.name}", report, cancelled)
            after = os.fstat(file.fileno())
        if _looks(before) != _looks(after):
            raise StoreError(f"{path} changed while it was read: try again when nobody writes to it")
        with self._changing():
            self._pin(digest)
            if not self.has(digest):
                link = files.new_file(self.temporary)
                link.symlink_to(path)
                self._remember(digest, path, after)
                files.move(link, self.path(digest))
        return Layer(media_type, digest, after.st_size)

    def _place(self, path: Path, digest: str) -> None:
        """Move a file to where it belongs, unless it is there."""
        self._pin(digest)
        if self.has(digest):
            path.unlink()
            if self._pins is None:  # what is pinned may be what a runner reads, to which it would look changed
                with contextlib.suppress(OSError):  # another user's: Ollama may then think it old, no more
                    os.utime(self.path(digest), follow_symlinks=False)
        else:
            self._record(digest).unlink(missing_ok=True)
            files.move(path, self.path(digest))

    def _pin(self, digest: str) -> None:
        if self._pins is not None:
            self._pins.add([digest])

    def _changing(self) -> contextlib.AbstractContextManager[None]:
        return locking.exclusive(self.own)

    def _locked_file(self) -> tuple[Path, int]:
        with self._changing(), files.storing(f"write into {self.own}"):
            return locking.locked_file(self.temporary)

    def _record(self, digest: str) -> Path:
        return self.own / "references" / f"sha256-{digest}"

    def _remember(self, digest: str, target: Path, status: os.stat_result) -> None:
        record = {"target": str(target), "looks": _looks(status)}
        files.write(self._record(digest), json.dumps(record).encode(), temporary=self.temporary)

    def _changed(self, digest: str) -> bool:
        """Whether it is a link of ours, and its file is another than then. Links that others made are trusted."""
        path, record = self.path(digest), self._record(digest)
        if not path.is_symlink() or not record.is_file():
            return False
        try:
            return bool(json.loads(record.read_bytes()) != {"target": os.readlink(path), "looks": _looks(path.stat())})
        except (OSError, ValueError, RecursionError):
            return True


class Writer:
    """A blob that is being written. A context manager: what is not finished leaves nothing behind."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._hash = hashlib.sha256()
        self._size = 0
        self.path, descriptor = blobs._locked_file()
        self._file = os.fdopen(descriptor, "wb", buffering=0)

    def clone(self, source: BinaryIO) -> bool:
        """Share the blocks of a whole file, where the file system can do that; there is nothing to write then."""
        if sys.platform != "linux":
            return False
        import fcntl

        try:
            fcntl.ioctl(self._file, _FICLONE, source.fileno())
        except OSError:
            return False
        return True

    def write(self, data: bytes) -> None:
        """The next bytes. Raises StoreError."""
        self._hash.update(data)
        self._size += len(data)
        with files.storing(f"write into {self._blobs.folder}"):
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]

    def finish(self, expected: str | None = None) -> tuple[str, int]:
        """Make it a blob; gives its digest and its bytes. Raises DigestMismatch, StoreError."""
        digest = self._hash.hexdigest()
        if expected is not None and digest != expected:
            raise DigestMismatch(f'digest mismatch, expected "sha256:{expected}", got "sha256:{digest}"')
        self._blobs.adopt(self.path, digest)
        return digest, self._size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


def chunks_of(file: BinaryIO, status: str, report: Report, cancelled: threading.Event | None) -> Iterator[bytes]:
    """A file's bytes; tells how far it is. Raises Cancelled."""
    total, completed = os.fstat(file.fileno()).st_size, 0
    while chunk := file.read(CHUNK):
        check(cancelled)
        yield chunk
        completed += len(chunk)
        report(Progress(status, total=total, completed=completed))


def hashed(file: BinaryIO, status: str, report: Report = ignore, cancelled: threading.Event | None = None) -> str:
    """The sha256 of a file, 64 hex digits; tells how far it is. Raises Cancelled."""
    digest = hashlib.sha256()
    for chunk in chunks_of(file, status, report, cancelled):
        digest.update(chunk)
    return digest.hexdigest()


def _looks(status: os.stat_result) -> list[int]:
    """What differs once a file was written to: size in bytes, time in nanoseconds."""
    return [status.st_size, status.st_mtime_ns]
