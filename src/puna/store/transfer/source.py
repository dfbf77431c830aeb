"""One place that a file can be had from, and how it has behaved: a range, checked, or a reason why not.

Knows nothing of digests and disks.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from puna.errors import TransferError
from puna.store.transfer.retrying import Patience, Unavailable, failure_of, refusal_of

MAX_WORDS = 200  # characters of a refusal that are told
PROGRESS = 1 << 16  # bytes: a request that brought so many was worth it
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


@dataclass(frozen=True, slots=True)
class Source:
    """An address of a file's bytes."""

    url: str
    headers: Callable[[], Mapping[str, str]] = dict  # asked before each request; not sent to where it redirects
    auth: httpx.Auth | None = field(default=None, repr=False)  # answers a 401

    @property
    def host(self) -> str:
        """As people know it: host and port."""
        return urlsplit(self.url).netloc.rpartition("@")[2]


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of a file from `start` on, as they come."""

    start: int
    response: httpx.Response
    is_whole: bool  # the source was asked for a range and sends all

    def chunks(self) -> Iterator[bytes]:
        """Pieces of some 64 KB."""
        return self.response.iter_raw()


class Remote:
    """A source in use by several threads."""

    def __init__(self, source: Source, client: httpx.Client, size: int, patience: Patience, connections: int) -> None:
        self.source = source
        self.served = False  # whether any of its bytes were used
        self.lost: TransferError | None = None  # why it is not asked again
        self._active = 0
        self._limit = 1  # requests at once; more once it has shown that it gives ranges
        self._connections = connections
        self._not_before = 0.0  # time.monotonic()
        self._client = client
        self._size = size
        self._patience = patience
        self._failures = 0  # in a row
        self._target: str | None = None  # where it redirects to
        self._waits: deque[float] = deque(maxlen=16)  # seconds
        self._lock = threading.Lock()

    @property
    def wait(self) -> float:
        """Seconds from a request to its answer, when nothing else keeps either side busy."""
        return min(self._waits, default=0.0)

    @contextlib.contextmanager
    def open(self, start: int, end: int) -> Iterator[Body]:
        """The bytes from `start` to `end`, or all of the file where the source cannot give ranges.

        Raises:
            Unavailable: another try may help.
            TransferError: it will not give them.
        """
        try:
            with self._answer(start, end) as response:
                yield self._checked(response, start, end)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise failure_of(error, self.source.host) from error

    def take_place(self) -> bool:
        """Whether it may be asked now; if so, `leave_place` must follow."""
        with self._lock:
            free = self.lost is None and self._active < self._limit and time.monotonic() >= self._not_before
            self._active += free
            return free

    def leave_place(self) -> None:
        """A request has ended."""
        with self._lock:
            self._active -= 1

    def failed(self, error: TransferError, began: float, received: int) -> None:
        """A request that began at `began` failed after so many bytes. What fails together counts as one failure."""
        with self._lock:
            self._target = None
            if self.lost is not None:
                return
            if not isinstance(error, Unavailable):
                self.lost = error
                return
            if error.crowded:
                self._connections = self._limit = max(1, self._limit // 2)
            if began < self._not_before:
                return
            self._failures = 1 if received >= PROGRESS else self._failures + 1
            try:
                self._not_before = time.monotonic() + self._patience.wait(self._failures, error)
            except TransferError as last:
                self.lost = last

    def succeeded(self) -> None:
        """A block came from it."""
        self.served = True
        self._failures = 0

    def answered(self, wait: float) -> None:
        """A request was answered after so many seconds."""
        self._waits.append(wait)

    @contextlib.contextmanager
    def _answer(self, start: int, end: int) -> Iterator[httpx.Response]:
        """From where it last redirected to; from its own address again once that refuses (signed addresses expire)."""
        target = self._target
        if target is not None:
            with self._get(target, start, end) as response:
                if response.status_code in (200, 206):
                    yield response
                    return
            self._target = None
        with self._get(self.source.url, start, end) as response:
            yield response

    @contextlib.contextmanager
    def _get(self, url: str, start: int, end: int) -> Iterator[httpx.Response]:
        own = url == self.source.url
        headers = {"Accept-Encoding": "identity", "Range": f"bytes={start}-{end - 1}"}
        request = self._client.build_request("GET", url, headers=headers | (dict(self.source.headers()) if own else {}))
        response = self._client.send(
            request, stream=True, follow_redirects=True, auth=self.source.auth if own else None
        )
        try:
            if own and response.history and response.status_code in (200, 206):
                self._target = str(response.url)
            yield response
        finally:
            response.close()

    def _checked(self, response: httpx.Response, start: int, end: int) -> Body:
        where = self.source.host
        if response.status_code not in (200, 206):
            raise refusal_of(response, where, _words(response) if not response.history else f"at {response.url.host}")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise TransferError(f"{where} sends the file encoded as {response.headers['Content-Encoding']!r}")
        if response.status_code == 200:
            self._check_size(response.headers.get("Content-Length"))
            self._limit = 1
            return Body(0, response, is_whole=True)
        match = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if match is None or int(match[1]) != start:
            told = response.headers.get("Content-Range", "no Content-Range")
            raise TransferError(f"{where} was asked for bytes {start}-{end - 1} and answers {told[:MAX_WORDS]!r}")
        self._check_size(match[3])
        self._limit = self._connections
        return Body(start, response, is_whole=False)

    def _check_size(self, told: str | None) -> None:
        if told is not None and told.isdigit() and int(told) != self._size:
            raise TransferError(f"{self.source.host} has a file of {told} bytes, where {self._size} were expected")


def probe(source: Source, client: httpx.Client) -> tuple[int, str]:
    """The file's size in bytes, and what tells whether it is the same the next time (its ETag, or its date).

    Raises:
        Unavailable, TransferError: it does not tell.
    """
    headers = {"Accept-Encoding": "identity", "Range": "bytes=0-0"} | dict(source.headers())
    request = client.build_request("GET", source.url, headers=headers)
    try:
        response = client.send(request, stream=True, follow_redirects=True, auth=source.auth)
        with contextlib.closing(response):
            if response.status_code not in (200, 206):
                raise refusal_of(response, source.host)
            match = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            size = match[3] if match else response.headers.get("Content-Length", "")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise failure_of(error, source.host) from error
    if not size.isdigit():
        raise TransferError(f"{source.host} does not tell how large the file is")
    identity = response.headers.get("ETag") or response.headers.get("Last-Modified") or uuid.uuid4().hex
    return int(size), f"{source.url} {identity}"


def _words(response: httpx.Response) -> str:
    """What an error's body says, in one line."""
    data = b""
    with contextlib.suppress(httpx.HTTPError):
        for chunk in response.iter_raw():
            data += chunk
            if len(data) > 4 * MAX_WORDS:
                break
    return " ".join(data[:MAX_WORDS].decode("utf-8", errors="replace").split())
