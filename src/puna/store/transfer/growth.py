"""How many connections a download uses: doubled as long as that makes it faster. Knows only speeds."""

from __future__ import annotations

WINDOW = 0.5  # seconds over which a speed is measured
GAIN = 1.5  # what doubling must bring, to be kept
REST = 60  # windows until the next trial, after one that brought nothing


class Growth:
    """One connection may be held up by its sender or its way; where the machine or the link is full, more only cost.

    Args:
        first, most: connections at the beginning, and at most.
    """

    def __init__(self, first: int, most: int) -> None:
        self.count = min(first, most)
        self._most = most
        self._before: tuple[int, float] | None = None  # connections and bytes per second before they were doubled
        self._rest = 1

    def see(self, rate: float) -> None:
        """The speed of the last window, in bytes per second."""
        if self._before is not None and rate < GAIN * self._before[1]:
            self.count = self._before[0]
            self._before, self._rest = None, REST
        elif self._rest > 0:
            self._rest -= 1
        elif self.count < self._most:
            self._before = self.count, rate
            self.count = min(2 * self.count, self._most)
