"""Where blobs are sent to: a registry, what is sent, and how its answers are read. Knows nothing of how a blob is cut.

A request bears our rights where it goes to the registry's own host, and nowhere else.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit, urlunsplit

import httpx

from puna.errors import TransferError
from puna.store.progress import Progress
from puna.store.transfer.retrying import failure_of, refusal_of

MAX_ANSWER = 1 << 16  # bytes that are read
MAX_SECONDS = 60.0  # in which an answer's bytes come, once it has begun

_OF_THE_BODY = ("content-encoding", "content-length", "transfer-encoding")


class Denied(TransferError):
    """We may not."""


@dataclass(frozen=True, slots=True)
class Registry:
    """Where blobs go."""

    url: str  # of its root, no slash at its end
    client: httpx.Client
    auth: httpx.Auth | None = None  # for requests to `url`'s host, for no others

    def send(self, method: str, url: str, **options: object) -> httpx.Response:
        """One request, its answer read; redirects are not followed. Raises TransferError, Unavailable."""
        auth = self.auth if urlsplit(url)[:2] == urlsplit(self.url)[:2] else None
        return request(self.client, method, url, auth=auth, **options)

    def find(self, url: str, location: str) -> str:
        """The absolute address of a Location header in the answer to `url`; https stays https.

        Raises:
            TransferError: it is no address, or leads out of TLS.
        """
        old = urlsplit(url)
        try:
            new = urlsplit(urljoin(url, location))
        except ValueError as error:
            raise TransferError(f"{old.netloc} names a place that is no address: {location[:200]!r}") from error
        if old.scheme == "https" and new.scheme == "http" and new.hostname == old.hostname:
            new = new._replace(scheme="https", netloc=old.netloc)  # behind a proxy, it does not know its own address
        if not new.hostname or new.scheme not in ("https", old.scheme):
            raise TransferError(f"{old.netloc} sends to {location[:200]!r}, which is not https")
        return urlunsplit(new)


def request(client: httpx.Client, method: str, url: str, **options: object) -> httpx.Response:
    """One request, and the beginning of its answer: all of an honest one. Raises TransferError, Unavailable."""
    try:
        with client.stream(method, url, **options) as response:  # type: ignore[arg-type]
            data, deadline = b"", time.monotonic() + MAX_SECONDS
            for chunk in response.iter_raw() if method != "HEAD" else ():
                data += chunk
                if len(data) > MAX_ANSWER or time.monotonic() > deadline:
                    break
            plain = [(name, value) for name, value in response.headers.multi_items() if name not in _OF_THE_BODY]
            return httpx.Response(response.status_code, headers=plain, content=data[:MAX_ANSWER])
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        raise failure_of(error, urlsplit(url).netloc) from error


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What is sent, and where to."""

    file: Path
    digest: str  # 64 hex digits
    size: int  # bytes
    repository: str  # namespace/model
    mount_from: str | None = None  # a repository of the same registry that has the blob already

    def progress(self, completed: int) -> Progress:
        """With so many bytes sent."""
        return Progress(f"pushing {self.digest[:12]}", self.digest, self.size, min(completed, self.size))


def has_blob(registry: Registry, outgoing: Outgoing) -> bool:
    """Whether the registry has the blob in that repository. Raises TransferError, Unavailable."""
    url = f"{registry.url}/v2/{outgoing.repository}/blobs/sha256:{outgoing.digest}"
    response = registry.send("HEAD", url)
    if response.status_code == 404:
        return False
    if response.status_code >= 400:
        raise refusal(response, urlsplit(url).netloc)
    return True  # itself, or by a redirect to where it is


def refusal(response: httpx.Response, where: str) -> TransferError:
    """An answer whose status is an error, in our words: Denied, or as `refusal_of`."""
    error = refusal_of(response, where, words_of(response))
    return Denied(str(error)) if response.status_code in (401, 403) else error


def words_of(response: httpx.Response) -> str:
    """What an answer says is wrong, in a registry's JSON or as text; at most 200 characters."""
    try:
        document = response.json()
        error = document["errors"][0]
        words = ": ".join(str(error[name]) for name in ("code", "message") if error.get(name))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        words = response.text
    return " ".join(words.split())[:200]
