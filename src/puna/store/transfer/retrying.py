"""When a request that failed is worth another try, and how long to wait before it: bounded, longer each time.

Waits grow by two and are drawn at random below that ("full jitter", so that many clients do not return at once); what a
server asks for in Retry-After is kept.
"""

from __future__ import annotations

import random
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import httpx

from puna.errors import TransferError
from puna.store.progress import check
from puna.store.transfer.http import STALL_SECONDS, TRUST_HINT

T = TypeVar("T")

_TRANSIENT = {408, 425, 429}  # and all from 500, but for those that no repetition changes
_LASTING = {501, 505, 511}


class Unavailable(TransferError):
    """Not now, perhaps later; `wait` is what the server asks for, in seconds."""

    def __init__(self, message: str, wait: float | None = None, *, crowded: bool = False) -> None:
        super().__init__(message)
        self.wait = wait
        self.crowded = crowded  # fewer requests at once might help


class Unreachable(Unavailable):
    """Nobody answers there."""


class GaveUp(TransferError):
    """It was unavailable each time."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to bear with a server."""

    attempts: int = 6  # failures in a row
    unanswered: int = 6  # the same, where nobody answers at all
    first: float = 1.0  # seconds, before the second attempt at most
    longest: float = 30.0  # seconds between two attempts
    longest_asked: float = 300.0  # the same, where the server asks for it
    stall: float = STALL_SECONDS  # seconds in which nearly nothing comes

    @property
    def at_first(self) -> Patience:
        """With a server that has not answered yet: where there is none, that is soon known."""
        return replace(self, unanswered=3)

    def wait(self, failures: int, error: Unavailable) -> float:
        """Seconds until the next attempt, after so many failures in a row. Raises the error when it was the last."""
        if failures >= (min(self.unanswered, self.attempts) if isinstance(error, Unreachable) else self.attempts):
            raise GaveUp(f"{error} (gave up after {failures} attempts)") from error
        if error.wait is not None and error.wait > self.longest_asked:
            raise GaveUp(f"{error}: the server asks to come back in {error.wait:.0f} seconds") from error
        most = min(self.longest, self.first * 2.0 ** (failures - 1))
        return max(error.wait or 0.0, random.uniform(most / 2, most))


def retried(action: Callable[[], T], patience: Patience, cancelled: threading.Event) -> T:
    """What `action` gives, tried again while it raises `Unavailable`.

    Raises:
        TransferError: the patience is spent.
        Cancelled.
    """
    failures = 0
    while True:
        check(cancelled)
        try:
            return action()
        except Unavailable as error:
            failures += 1
            cancelled.wait(patience.wait(failures, error))


def failure_of(error: httpx.HTTPError | httpx.InvalidURL | httpx.StreamError, where: str) -> TransferError:
    """What httpx raised, in our words; `Unavailable` where another try may help."""
    if _certificate_error(error) is not None:
        return TransferError(f"{where} is not trusted: {_certificate_error(error)}; {TRUST_HINT}")
    if isinstance(error, httpx.TooManyRedirects):
        return TransferError(f"{where} redirects in circles")
    if isinstance(error, httpx.ReadTimeout):
        return Unavailable(f"{where} stalled: no byte came for a long time")
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return Unreachable(f"{where}: {str(error) or type(error).__name__}")
    if isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol):
        return Unavailable(f"{where}: {str(error) or type(error).__name__}")
    return TransferError(f"{where}: {error}")


def refusal_of(response: httpx.Response, where: str, words: str = "") -> TransferError:
    """An answer whose status is an error, in our words; `Unavailable` where another try may help."""
    status = response.status_code
    message = f"{where} answers {status} {response.reason_phrase}{f': {words}' if words else ''}".strip()
    if status in _TRANSIENT or (status >= 500 and status not in _LASTING):
        return Unavailable(message, retry_after(response), crowded=status in (429, 503))
    return TransferError(message)


def retry_after(response: httpx.Response) -> float | None:
    """The header's seconds, or those until its date (RFC 9110, 10.2.3)."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())


def _certificate_error(error: BaseException | None) -> ssl.SSLCertVerificationError | str | None:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return str(error)
        error = error.__cause__ or error.__context__
    return None
