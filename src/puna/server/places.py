"""Places: the requests that a server holds at once, running or waiting, up to a limit.

Knows clients by name and how long their requests stay; nothing of what they ask for. For the event loop's thread.
"""

from __future__ import annotations

import math
import time
from collections import Counter

from puna.server.errors import ServerBusyError

RESERVED = 8  # the last 1 / RESERVED of the places is for clients that hold none: one client cannot fill the server
LONGEST_RETRY = 60  # seconds; clients of OpenAI's API take no longer Retry-After seriously
WEIGHT = 0.1  # of the newest stay in the average


class Place:
    """One request's place, until `release`."""

    def __init__(self, places: Places, client: str) -> None:
        self.client = client
        self.taken = time.monotonic()
        self._places: Places | None = places

    def release(self) -> None:
        """Give it back; may be called again."""
        if self._places is not None:
            self._places._leave(self)
            self._places = None


class Places:
    """At most `limit` places."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: Counter[str] = Counter()  # places by client
        self._stay = 0.0  # seconds that a request stays, on average

    @property
    def held(self) -> int:
        """How many are taken."""
        return self._held.total()

    def take(self, client: str, count: int = 1) -> list[Place]:
        """Places for so many requests of a client. Raises ServerBusyError, and then takes none."""
        limit = self._limit - self._limit // RESERVED if client in self._held else self._limit
        if self._held.total() + count > limit:
            # Ollama's words
            raise ServerBusyError("server busy, please try again.  maximum pending requests exceeded", self._retry())
        self._held[client] += count
        return [Place(self, client) for _ in range(count)]

    def _leave(self, place: Place) -> None:
        self._held[place.client] -= 1
        if not self._held[place.client]:
            del self._held[place.client]
        self._stay += WEIGHT * (time.monotonic() - place.taken - self._stay)

    def _retry(self) -> int:
        """Whole seconds until a place is free, by Little's law: requests held / their stay = requests that end."""
        seconds = self._stay / max(1, self._held.total())
        return min(max(1, math.ceil(seconds)), LONGEST_RETRY)
