"""The file of keys and usage: SQLite, shared by servers and the command line, on any thread.

Knows its tables and how a connection is opened; what is in them is `keys`' and `ledger`'s.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from puna.errors import PunaError

VERSION = 1  # of the tables
WAIT_SECONDS = 10.0  # for another process's transaction

_TABLES = """
CREATE TABLE IF NOT EXISTS keys (
    name TEXT PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    models TEXT NOT NULL,  -- patterns, one a line
    routes TEXT NOT NULL,
    budget INTEGER,        -- tokens a day
    created REAL NOT NULL, -- Unix seconds
    revoked REAL
);
CREATE TABLE IF NOT EXISTS usage (
    day TEXT NOT NULL,     -- 2026-11-24, UTC
    key TEXT NOT NULL,     -- '' for the server's own key, or none
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    generated_tokens INTEGER NOT NULL,
    PRIMARY KEY (day, key, model)
) WITHOUT ROWID;
"""


class Database:
    """One connection to the file, for one transaction at a time.

    Args:
        path: made where it is not there, readable by its owner only; None: in memory, gone with the process.

    Raises:
        PunaError: it cannot be opened.
    """

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._name = "memory" if path is None else str(path)
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                path.touch(mode=0o600)
            self._connection = sqlite3.connect(
                ":memory:" if path is None else path,
                timeout=WAIT_SECONDS,
                isolation_level=None,  # BEGIN is ours to say
                check_same_thread=False,
            )
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise PunaError(f"cannot open {self._name}: {error}; PUNA_DATA says in which folder it is") from error

    def _prepare(self) -> None:
        # A reader is never waited for; what a killed process has committed is there.
        self._connection.execute("PRAGMA journal_mode = WAL")
        # A key revoked stays so even after a power cut.
        self._connection.execute("PRAGMA synchronous = FULL")
        with self.transaction() as connection:
            [version] = connection.execute("PRAGMA user_version").fetchone()
            if version > VERSION:
                raise sqlite3.DatabaseError("a newer version of Puna made it")
            for statement in filter(str.strip, _TABLES.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One state of the file, that no writer waits for."""
        with self._lock:
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
