"""Which blocks of a file are missing, being fetched, or there. Thread-safe; knows nothing of files and networks."""

from __future__ import annotations

import threading
from collections.abc import Iterable


class Blocks:
    """The work list of a download. Runs are given out from the front, so that the file can be hashed behind them.

    Args:
        count: blocks of the file.
        there: those that need not be fetched.
    """

    def __init__(self, count: int, there: Iterable[int]) -> None:
        self._there = bytearray(count)
        for block in there:
            self._there[block] = 1
        self._changed = threading.Condition()
        self._free = _runs(self._there)

    @property
    def missing(self) -> int:
        """How many are not there."""
        return self._there.count(0)

    def take(self, most: int, workers: int) -> tuple[int, int] | None:
        """The first run (from, to), of `most` blocks or fewer; None if there is none now.

        workers: how many share the work; towards the end they take shorter runs, and end together.
        """
        with self._changed:
            return self._cut(most, workers) if self._free else None

    def take_after(self, block: int) -> tuple[int, int] | None:
        """The first run from `block` on, as far as it goes; None if there is none."""
        with self._changed:
            index = next((index for index, (start, _) in enumerate(self._free) if start >= block), None)
            return None if index is None else self._free.pop(index)

    def give_back(self, start: int, end: int) -> None:
        """A run that was taken and not fetched."""
        with self._changed:
            if start < end:
                self._free = sorted([*self._free, (start, end)])

    def arrived(self, block: int) -> None:
        """A block is there."""
        with self._changed:
            self._there[block] = 1
            self._changed.notify_all()

    def lost(self, block: int) -> None:
        """A block that was thought to be there is not."""
        with self._changed:
            self._there[block] = 0
        self.give_back(block, block + 1)

    def wait_for(self, block: int, seconds: float) -> bool:
        """Whether the block is there, at once or after at most so long."""
        if self._there[block]:
            return True
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._there[block]), seconds)

    def _cut(self, most: int, workers: int) -> tuple[int, int]:
        start, end = self._free.pop(0)
        left = sum(end - start for start, end in self._free) + end - start
        cut = min(end, start + max(1, min(most, left // (2 * workers))))
        if cut < end:
            self._free.insert(0, (cut, end))
        return start, cut


def _runs(there: bytearray) -> list[tuple[int, int]]:
    """The stretches of zeros."""
    runs, start = [], there.find(0)
    while start >= 0:
        end = there.find(1, start)
        end = len(there) if end < 0 else end
        runs.append((start, end))
        start = there.find(0, end)
    return runs
