"""One blob sent to a registry: in parts, taken up again where the registry says that it stands.

Speaks the upload routes of Docker's registry and of OCI's distribution (POST, PATCH with Content-Range, GET for the
offset, PUT with the digest; https://github.com/opencontainers/distribution-spec, "Pushing blobs"), and Ollama's
addition: a part may be answered with 307, and its bytes then go to the storage that the answer names. Knows nothing of
manifests and of tokens.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit, urlunsplit

import httpx

from puna.errors import StoreError, TransferError
from puna.store import files
from puna.store.progress import Report, check
from puna.store.transfer.destination import Outgoing, Registry, has_blob, refusal, request
from puna.store.transfer.retrying import Patience, Unavailable, retried

PARTS = 16  # Ollama's, and the two bounds below
SMALLEST, LARGEST = 100_000_000, 1_000_000_000  # bytes of a part
LEAST = 1 << 20  # bytes: parts get no smaller than this where a proxy says that they are too large
CHUNK = 1 << 18  # bytes read from the file and written to the wire at once
STREAMS = 4  # parts on their way to the storage behind the registry at once
RESTARTS = 3  # uploads of one blob that may be given up and begun anew
COMMIT_SECONDS = 900.0  # a registry may read the whole blob again before it answers

_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,18})")


class Restart(TransferError):
    """The upload is of no use any more: begin another."""


@dataclass(slots=True)
class _Session:
    """An upload that the registry knows."""

    url: str
    offset: int  # bytes that the registry has, or that are on their way to its storage
    sent: int  # the most that it can have


class Upload:
    """One blob on its way.

    Args:
        storage: a client without anybody's rights, for parts that the registry sends elsewhere.
        notes: folder in which the address of an unfinished upload is kept for the next time.
    """

    def __init__(
        self,
        registry: Registry,
        storage: httpx.Client,
        outgoing: Outgoing,
        notes: Path,
        report: Report,
        cancelled: threading.Event,
        patience: Patience,
    ) -> None:
        self._registry = registry
        self._storage = storage
        self._outgoing = outgoing
        self._report = report
        self._cancelled = cancelled
        self._patience = patience
        key = f"{registry.url}/{outgoing.repository}@{outgoing.digest}"
        self._notes = notes
        self._note = notes / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
        self._part = min(max(outgoing.size // PARTS, SMALLEST), LARGEST)
        self._stopped = threading.Event()
        self._counting = threading.Lock()
        self._counts: dict[int, int] = {}  # bytes sent of each part, by its first byte
        self._sums: dict[int, tuple[int, bytes]] = {}  # length and md5 of each part that went whole
        self._moved: list[Future[None]] = []  # parts that go to the storage

    def run(self) -> None:
        """Until the registry has the blob.

        Raises:
            TransferError: it does not take it.
            StoreError: the file cannot be read.
            Cancelled.
        """
        last: Restart | None = None
        for _ in range(RESTARTS):
            check(self._cancelled)
            try:
                return self._send()
            except Restart as error:
                last = error
                self._note.unlink(missing_ok=True)
        raise TransferError(f"{last} (gave up after {RESTARTS} uploads)") from last

    def _send(self) -> None:
        session = self._resumed() or self._begun()
        if session is None:
            return
        self._counts, self._sums, self._moved = {0: session.offset}, {}, []
        self._stopped.clear()
        pool = ThreadPoolExecutor(STREAMS)
        try:
            self._send_parts(session, pool)
            while self._moved_parts_are_under_way():
                wait(self._moved, timeout=0.2, return_when=FIRST_EXCEPTION)
        finally:
            self._stopped.set()
            pool.shutdown(cancel_futures=True)
        self._finish(session)
        self._note.unlink(missing_ok=True)

    def _moved_parts_are_under_way(self) -> bool:
        """Raises what a part raised, and Cancelled."""
        check(self._cancelled)
        ended = [part for part in self._moved if part.done()]
        for part in ended:
            part.result()
        return len(ended) < len(self._moved)

    def _begun(self) -> _Session | None:
        """A new upload; None where the registry has the blob in another repository, and uses it."""
        out = self._outgoing
        url = f"{self._registry.url}/v2/{out.repository}/blobs/uploads/"
        if out.mount_from is not None:
            mount = urlencode({"mount": f"sha256:{out.digest}", "from": out.mount_from})
            response = self._registry.send("POST", f"{url}?{mount}")
            if response.status_code == 201:
                return None
            if response.status_code == 202:
                return self._opened(url, response)  # it was not mounted, and may be sent
        return self._opened(url, retried(lambda: self._post(url), self._patience, self._cancelled))

    def _post(self, url: str) -> httpx.Response:
        response = self._registry.send("POST", url)
        if response.status_code != 202:
            raise refusal(response, self._where)
        return response

    def _opened(self, url: str, response: httpx.Response) -> _Session:
        session = _Session(url, 0, 0)
        self._move_on(session, response)
        if session.url == url:
            raise TransferError(f"{self._where} does not say where to send the blob to")
        return session

    def _resumed(self) -> _Session | None:
        """The upload that an earlier process could not end, if the registry still knows it."""
        try:
            url = json.loads(self._note.read_bytes())["url"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            url = None
        if not isinstance(url, str):
            return None
        session = _Session(url, 0, self._outgoing.size)
        try:
            self._catch_up(session)
        except TransferError:
            return None
        return session if session.offset else None

    def _send_parts(self, session: _Session, pool: ThreadPoolExecutor) -> None:
        failures = 0
        while session.offset < self._outgoing.size:
            self._moved_parts_are_under_way()
            start = session.offset
            try:
                self._send_part(session, min(self._part, self._outgoing.size - start), pool)
            except Unavailable as error:
                failures += 1
                self._cancelled.wait(self._patience.wait(failures, error))
                if not self._moved:
                    self._catch_up_if_possible(session)
            if session.offset > start:
                failures = 0

    def _send_part(self, session: _Session, length: int, pool: ThreadPoolExecutor) -> None:
        start = session.offset
        session.sent = max(session.sent, start + length)
        part = _Part(self, start, length)
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(length),
            "Content-Range": f"{start}-{start + length - 1}",
            "X-Redirect-Uploads": "1",
        }
        response = self._registry.send("PATCH", session.url, headers=headers, content=part)
        if response.status_code in (307, 308) and "Location" in response.headers:
            target = self._registry.find(session.url, response.headers["Location"])
            self._moved.append(pool.submit(self._put, target, part))
            session.offset = start + length
            self._move_on(session, response, "Docker-Upload-Location")
        elif response.status_code in (200, 201, 202, 204):
            self._accepted(session, response, start, length)
        elif response.status_code == 413 and length > LEAST:
            self._part = max(LEAST, length // 2)
            self._count(start, 0)
        elif response.status_code in (404, 410):
            raise Restart(f"{self._where} has forgotten the upload")
        elif response.status_code == 416:
            raise Unavailable(f"{self._where} wants another part than the one at byte {start}")
        else:
            raise refusal(response, self._where)

    def _accepted(self, session: _Session, response: httpx.Response, start: int, length: int) -> None:
        told = _offset(response)
        end = start + length if told is None else told
        if not start <= end <= start + length:
            raise Restart(f"{self._where} says that it has {end} bytes, after {start + length} were sent")
        session.offset = end
        self._move_on(session, response)
        self._count(start, end - start)
        if end < start + length:
            self._sums.pop(start, None)
        if end == start:
            raise Unavailable(f"{self._where} takes no bytes")

    def _catch_up_if_possible(self, session: _Session) -> None:
        try:
            self._catch_up(session)
        except Unavailable:
            return  # asked again after the next failure
        with self._counting:
            self._counts = {0: session.offset}
            self._sums.clear()

    def _catch_up(self, session: _Session) -> None:
        """Ask how much the registry has.

        Raises:
            Restart: it does not know the upload, or says what cannot be.
            Unavailable: it cannot be asked now.
        """
        response = self._registry.send("GET", session.url)
        if response.status_code not in (200, 202, 204):
            error = refusal(response, self._where)
            raise error if isinstance(error, Unavailable) else Restart(str(error))
        told = _offset(response)
        if told is None or told > session.sent:
            raise Restart(f"{self._where} says that it has {told} bytes of {session.sent}")
        session.offset = told
        self._move_on(session, response)

    def _put(self, url: str, part: _Part) -> None:
        """Send a part to the storage behind the registry, which needs no other right than the address."""

        def attempt() -> None:
            headers = {"Content-Type": "application/octet-stream", "Content-Length": str(part.length)}
            response = request(self._storage, "PUT", url, headers=headers, content=part)
            if response.status_code not in (200, 201, 202, 204):
                raise refusal(response, urlsplit(url).netloc)

        retried(attempt, self._patience, self._stopped)

    def _finish(self, session: _Session) -> None:
        """Tell the registry that this is all."""
        out = self._outgoing
        query = {"digest": f"sha256:{out.digest}"} | ({"etag": etag} if (etag := self._etag()) else {})
        parts = urlsplit(session.url)
        url = urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, urlencode(query))))))

        def commit() -> None:
            response = self._registry.send("PUT", url, timeout=httpx.Timeout(COMMIT_SECONDS, connect=30.0))
            if response.status_code in (200, 201, 202, 204):
                return
            error = refusal(response, self._where)
            # Its answer to an earlier attempt may have been lost.
            if has_blob(self._registry, out):
                return
            raise Restart(str(error)) if response.status_code in (400, 404, 410, 416) else error

        retried(commit, self._patience, self._cancelled)

    def _etag(self) -> str | None:
        """As S3 makes it of an upload in parts: the md5 of their md5s, their number. None where one went in pieces."""
        position, sums = 0, []
        while position < self._outgoing.size:
            if position not in self._sums:
                return None
            length, md5 = self._sums[position]
            position += length
            sums.append(md5)
        return f"{hashlib.md5(b''.join(sums), usedforsecurity=False).hexdigest()}-{len(sums)}"

    def _move_on(self, session: _Session, response: httpx.Response, *names: str) -> None:
        """The answer says where the next request goes; it is written down for the next process."""
        for name in names or ("Docker-Upload-Location", "Location"):
            if name in response.headers:
                session.url = self._registry.find(session.url, response.headers[name])
                break
        if not self._moved:  # what the storage has, the registry cannot tell
            note = json.dumps({"url": session.url}).encode()
            with files.storing(f"write into {self._notes}"):
                files.write(self._note, note, temporary=self._notes)

    def _count(self, start: int, done: int) -> None:
        with self._counting:
            self._counts[start] = done
            completed = sum(self._counts.values())
        self._report(self._outgoing.progress(completed))

    @property
    def _where(self) -> str:
        return urlsplit(self._registry.url).netloc


class _Part:
    """Bytes of the file, as the body of a request; it may be sent again."""

    def __init__(self, upload: Upload, start: int, length: int) -> None:
        self._upload = upload
        self._start = start
        self.length = length

    def __iter__(self) -> Iterator[bytes]:
        upload, left, md5 = self._upload, self.length, hashlib.md5(usedforsecurity=False)
        with files.storing(f"read {upload._outgoing.file}"), upload._outgoing.file.open("rb") as file:
            file.seek(self._start)
            while left:
                check(upload._cancelled)
                check(upload._stopped)
                chunk = file.read(min(CHUNK, left))
                if not chunk:
                    raise StoreError(f"{upload._outgoing.file} has become shorter: `puna verify` tells what is damaged")
                md5.update(chunk)
                left -= len(chunk)
                yield chunk
                upload._count(self._start, self.length - left)
        upload._sums[self._start] = self.length, md5.digest()


def _offset(response: httpx.Response) -> int | None:
    """How many bytes the registry has: `Range: 0-41` are 42. `0-0` is what Docker's says where it has none."""
    match = _RANGE.fullmatch(response.headers.get("Range", ""))
    if match is None:
        return None
    return int(match[1]) + 1 if int(match[1]) else 0
