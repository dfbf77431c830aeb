"""Stop strings in streamed text: the text ends before the first one, and no part of one is ever shown.

Knows nothing of tokens: text comes in pieces of any length.
"""

from __future__ import annotations

from collections.abc import Iterable


class StopStrings:
    """Passes text on until a stop string is complete; text that may turn out to begin one is held back.

    What `push` and `flush` emit is the whole text cut where the stop string begins that is complete first (of two
    that end together, the longer), however the text was cut into pieces. So generation may end at once on a stop.
    """

    def __init__(self, stops: Iterable[str]) -> None:
        """Empty stop strings are left out: they would stop every answer before its start."""
        self._stops = tuple(dict.fromkeys(stop for stop in stops if stop))
        self._longest = max((len(stop) for stop in self._stops), default=0)
        self._held = ""
        self._matched: str | None = None

    @property
    def stopped(self) -> bool:
        """Whether a stop string was found; everything from it on is discarded."""
        return self._matched is not None

    @property
    def matched(self) -> str | None:
        """The stop string that was found."""
        return self._matched

    def push(self, text: str) -> tuple[str, bool]:
        """Takes the next piece; gives the text that may be shown now, and whether a stop string was found."""
        if self.stopped:
            return "", True
        self._held += text
        found = [(start + len(stop), start, stop) for stop in self._stops if (start := self._held.find(stop)) >= 0]
        if found:
            _, cut, self._matched = min(found)
            emit, self._held = self._held[:cut], ""
        else:
            cut = self._open_from()
            emit, self._held = self._held[:cut], self._held[cut:]
        return emit, self.stopped

    def flush(self) -> str:
        """The text still held back, once no more will come ("" after a stop)."""
        held, self._held = self._held, ""
        return held

    def _open_from(self) -> int:
        """The first index from which the held text is a proper prefix of some stop string; its length if none."""
        held = self._held
        for index in range(max(0, len(held) - self._longest + 1), len(held)):
            if any(stop.startswith(held[index:]) for stop in self._stops):
                return index
        return len(held)
