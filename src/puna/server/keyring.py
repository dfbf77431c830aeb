"""Whose request is it: the server's own key and those of the file, as the event loop may ask for them.

The file is read at most once a second, by a thread, however many requests come and whatever keys they have; so a
revoked key opens nothing after a second, and a wrong one costs a hash. Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import hmac
import sqlite3
import time
from collections.abc import Iterable, Mapping

from puna.errors import PunaError
from puna.server.accounts import Accounts
from puna.server.keys import OPERATOR, Key, hash_of

SECONDS = 1.0  # that what was read stays good


class KeyRing:
    """The keys that open this server.

    Args:
        api_key: the server's own key, which may do everything; None: there is none.
        required: None: keys are asked for once there is one, and then until the server ends; True: always;
            False: never.
    """

    def __init__(self, accounts: Accounts, *, api_key: str | None, required: bool | None) -> None:
        self._accounts = accounts
        self._own = None if api_key is None else hash_of(api_key)
        self._required = required
        self._known: Mapping[bytes, Key] = {}
        self._good_until = 0.0  # time.monotonic()
        self._reading: asyncio.Future[None] | None = None

    async def find(self, tokens: Iterable[str]) -> Key | None:
        """Who has one of these tokens; None: nobody, and a key is asked for. Raises PunaError: keys cannot be read."""
        if self._required is False:
            return OPERATOR
        await self._refresh()
        for token in tokens:
            digest = hash_of(token)
            # In constant time: how long it takes must not tell how much of a guess was right.
            if self._own is not None and hmac.compare_digest(digest, self._own):
                return OPERATOR
            key = self._known.get(digest)
            if key is not None and key.revoked is None:
                return key
        return None if self._required or self._own is not None or self._known else OPERATOR

    async def _refresh(self) -> None:
        if time.monotonic() < self._good_until:
            return
        if self._reading is None:
            self._reading = asyncio.get_running_loop().run_in_executor(None, self._read)
        reading = self._reading
        try:
            await asyncio.shield(reading)
        finally:
            if reading.done():
                self._reading = None

    def _read(self) -> None:
        started = time.monotonic()
        try:
            self._known = self._accounts.keys.by_hash()
            self._accounts.ledger.sync()  # what other servers have counted
        except sqlite3.Error as error:
            raise PunaError(f"the file of API keys cannot be read: {error}") from error
        self._good_until = started + SECONDS
