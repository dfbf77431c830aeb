"""ChunkSize: how many rows of prompts a step may have while answers are being written.

All answers wait for the whole step. How long a row takes depends on model, machine and depth, so it is measured.
The bits of the logits do not depend on the chunks, so any choice is right. Knows rows and seconds, no sequences.
"""

from __future__ import annotations

MIN_ROWS = 24  # two panels of the kernels' activations: with 12 a row takes half as long again
MEMORY = 0.7  # share of what was known before that a new measurement leaves


class ChunkSize:
    """Learns the time of a row from the steps that had rows of prompts."""

    def __init__(self) -> None:
        self._rows = 0.0
        self._seconds = 0.0

    def rows(self, seconds: float) -> int:
        """Rows that take about so many seconds, at least MIN_ROWS; MIN_ROWS while nothing is known."""
        if not self._seconds:
            return MIN_ROWS
        return max(MIN_ROWS, int(seconds * self._rows / self._seconds))

    def learn(self, rows: int, seconds: float) -> None:
        """A step of so many rows took so long."""
        self._rows = MEMORY * self._rows + rows
        self._seconds = MEMORY * self._seconds + seconds
