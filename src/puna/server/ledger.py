"""What each key has used, by day and model: counted in memory, written by a thread of its own.

Knows nothing of requests: it is told what one has cost (`Use`).
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import Counter
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta

from puna.server.database import Database

WRITE_SECONDS = 0.5  # between what is used and what the file says: what a killed server loses at most

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Use:
    """What was used; of one request, or of several together."""

    requests: int = 0
    prompt_tokens: int = 0  # cached ones included
    cached_tokens: int = 0
    generated_tokens: int = 0

    @property
    def tokens(self) -> int:
        """What counts against a budget."""
        return self.prompt_tokens + self.generated_tokens

    def __add__(self, other: Use) -> Use:
        return Use(*map(sum, zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class Entry:
    """Whose use of what, and when."""

    day: str  # 2026-11-24, UTC
    key: str  # its name; "" for the operator
    model: str
    use: Use


_Slot = tuple[str, str, str]  # day, key, model


class Ledger:
    """The usage in the file, and what is not written yet. Thread-safe; nothing blocks but `entries` and `close`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()  # for the three that follow
        self._unsaved: dict[_Slot, Use] = {}
        self._saving: dict[_Slot, Use] = {}
        self._saved: Counter[tuple[str, str]] = Counter()  # (day, key) -> tokens of the current day
        self._writing = threading.Lock()
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self.sync()
        self._thread.start()

    def add(self, key: str, model: str, use: Use) -> None:
        """Count it."""
        slot = (today(), key, model)
        with self._lock:
            self._unsaved[slot] = self._unsaved.get(slot, Use()) + use
        self._wake.set()

    def used_today(self, key: str) -> int:
        """Tokens. What other servers on the same file have counted is there since the last `sync`."""
        day = today()
        with self._lock:
            open_slots = [*self._unsaved.items(), *self._saving.items()]
            saved = self._saved[day, key]
        return saved + sum(use.tokens for slot, use in open_slots if slot[:2] == (day, key))

    def entries(self, *, days: int, key: str | None = None) -> list[Entry]:
        """The usage of the last `days` days, today included; of all keys unless one is named. Oldest first."""
        self.sync()
        first = (datetime.now(UTC) - timedelta(days=days - 1)).date().isoformat()
        sql = """SELECT day, key, model, requests, prompt_tokens, cached_tokens, generated_tokens FROM usage
            WHERE day >= ? AND (? IS NULL OR key = ?) ORDER BY day, key, model"""
        with self._database.reading() as connection:
            rows = connection.execute(sql, (first, key, key))
            return [Entry(day, name, model, Use(*numbers)) for day, name, model, *numbers in rows]

    def sync(self) -> None:
        """Write what is not written; learn what others have. Blocks. Raises sqlite3.Error, and then loses nothing."""
        with self._writing:
            with self._lock:
                self._saving, self._unsaved = self._unsaved, {}
            saved = None
            try:
                saved = self._exchange(self._saving)
            finally:
                with self._lock:
                    if saved is None:  # the next time
                        for slot, use in self._saving.items():
                            self._unsaved[slot] = self._unsaved.get(slot, Use()) + use
                    else:
                        self._saved = saved
                    self._saving = {}

    def close(self) -> None:
        """Write the rest."""
        self._closed.set()
        self._wake.set()
        self._thread.join()

    def _exchange(self, uses: dict[_Slot, Use]) -> Counter[tuple[str, str]]:
        """Add to the file; the current day's tokens by key."""
        totals = "SELECT day, key, SUM(prompt_tokens + generated_tokens) FROM usage WHERE day = ? GROUP BY key"
        if not uses:
            with self._database.reading() as connection:
                return Counter({(day, key): tokens for day, key, tokens in connection.execute(totals, (today(),))})
        add = """INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (day, key, model) DO UPDATE SET
            requests = requests + excluded.requests, prompt_tokens = prompt_tokens + excluded.prompt_tokens,
            cached_tokens = cached_tokens + excluded.cached_tokens,
            generated_tokens = generated_tokens + excluded.generated_tokens"""
        with self._database.transaction() as connection:
            connection.executemany(add, [(*slot, *astuple(use)) for slot, use in uses.items()])
            return Counter({(day, key): tokens for day, key, tokens in connection.execute(totals, (today(),))})

    def _run(self) -> None:
        while not self._closed.is_set():
            self._wake.wait()
            self._closed.wait(WRITE_SECONDS)  # for what else comes
            self._wake.clear()
            try:
                self.sync()
            except sqlite3.Error as error:  # another process holds the file, or the disk is full: the next time
                _log.warning("usage could not be written yet: %s", error)
                self._wake.set()


def today() -> str:
    """The current day, UTC."""
    return datetime.now(UTC).date().isoformat()


def seconds_left_today() -> int:
    """Until the next day begins, at least 1."""
    now = datetime.now(UTC)
    midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return max(1, round((midnight - now).total_seconds()))
