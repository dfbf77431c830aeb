"""Pooler: the final hidden states of one sequence's tokens to its vector.

States come in order, in any pieces, some perhaps with the tokens of a preempted sequence computed anew. They are added
one after another in float64, so that a vector is the same bits however its text was cut. Knows no models and no steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from puna.errors import InvalidLogits


class Pooler:
    """Takes the states at the positions it wants: of all tokens (mean), the first (cls) or the last one (last).

    A model that ranks (rank) has made scores of the states: of the first token's, or of the last one's where only that
    has seen the whole text.
    """

    def __init__(self, kind: str, length: int, *, causal: bool = True) -> None:
        """kind: of `puna.gguf.config.POOLING_TYPES`; length: tokens of the sequence; causal: the model is.

        'none' is what models say that were made to generate: of those llama.cpp's users, Ollama among them, take
        the last token's state, which alone has seen the whole text.
        """
        positions = {
            "none": range(length - 1, length),
            "last": range(length - 1, length),
            "mean": range(length),
            "cls": range(1),
            "rank": range(length - 1, length) if causal else range(1),
        }
        self._ranks = kind == "rank"
        self._wanted = positions[kind]
        self._count = len(self._wanted)
        self._sum: NDArray[np.float64] | None = None

    def wanted(self, start: int, end: int) -> range:
        """Of the positions `start` to `end - 1` those whose states are to be given to `take`."""
        return range(max(start, self._wanted.start), max(start, min(end, self._wanted.stop)))

    @property
    def skippable(self) -> int:
        """The first so many tokens need not be computed, if their KV is known: their states are not wanted."""
        return self._wanted.start

    def take(self, states: NDArray[np.float32]) -> None:
        """The states (rows, width) at the next positions wanted."""
        self._wanted = self._wanted[len(states) :]
        if self._sum is None:
            self._sum = np.zeros(states.shape[1])
        for state in states:
            self._sum += state

    def vector(self) -> NDArray[np.float32]:
        """The unit vector, float32 (width,), when all states have been taken; or the scores as they are.

        Raises InvalidLogits if there is none.
        """
        assert self._sum is not None
        assert not self._wanted, "states are missing"
        mean = self._sum / self._count
        norm = np.linalg.norm(mean)
        if not np.isfinite(norm) or not (norm or self._ranks):
            raise InvalidLogits(
                f"an embedding has the length {norm}: the model file is damaged, or not run as it should be"
            )
        return (mean if self._ranks else mean / norm).astype(np.float32)
