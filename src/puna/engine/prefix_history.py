"""History: the tokens of the latest sequences, to say where a new prompt leaves what was computed before.

Token ids only, a few MB of them. Knows nothing of blocks: what of it is still cached is another question.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_SEQUENCES = 256
MOST_TOKENS = 1 << 20  # 4 MB of them


@dataclass(frozen=True, slots=True)
class Match:
    """How far the earlier sequence that is most alike goes with a prompt."""

    length: int = 0  # tokens from the first on that both have
    differs: bool = False  # whether the earlier one goes on differently, rather than ends there


class History:
    """The latest sequences; the oldest are forgotten first."""

    def __init__(self) -> None:
        self._sequences: deque[NDArray[np.int32]] = deque()
        self._tokens = 0

    def add(self, token_ids: Sequence[int]) -> None:
        """Remember a sequence; one that it continues is forgotten in its favour."""
        added = np.asarray(token_ids, np.int32)
        kept = [one for one in self._sequences if _common(one, added) < len(one)]
        self._sequences = deque([*kept, added])
        self._tokens = sum(map(len, self._sequences))
        while len(self._sequences) > MOST_SEQUENCES or self._tokens > MOST_TOKENS:
            self._tokens -= len(self._sequences.popleft())

    def nearest(self, token_ids: Sequence[int]) -> Match:
        """The earlier sequence with the longest beginning in common."""
        prompt = np.asarray(token_ids, np.int32)
        best = Match()
        for one in self._sequences:
            length = _common(one, prompt)
            if length > best.length or (length == best.length and best.differs and length == len(one)):
                best = Match(length, differs=length < len(one))
        return best


def _common(a: NDArray[np.int32], b: NDArray[np.int32]) -> int:
    """Length of the longest common prefix."""
    shorter = min(len(a), len(b))
    different = a[:shorter] != b[:shorter]
    return int(different.argmax()) if different.any() else shorter
