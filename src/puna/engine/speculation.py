"""Speculation: tokens that may come next, to be computed in one step with the token before them.

A step of a few rows takes little longer than one of a single row, since both read all weights. A proposed token
costs its row and is accepted only where the sampler picks it itself, so that answers stay as they are, bit for bit.

Prompt lookup proposes what followed when the last tokens stood in the text before: Saxena, "Prompt Lookup Decoding"
(2023); exact acceptance as in "Fast Inference from Transformers via Speculative Decoding", arXiv:2211.17192, where
the proposing model is a certain one. Knows token ids only, no models and no steps.
"""

from __future__ import annotations

from collections.abc import Sequence

NGRAM = 3  # tokens that must have stood in the text before
MIN_DRAFT = 3  # with its own token a tile of 4 rows, the least that pays
MAX_DRAFT = 15
MAX_ROWS = 16  # of a step with proposals, over all sequences that decode
PAUSES = (16, 256)  # tokens without a proposal after one of which nothing was right: at first, at most


class PromptLookup:
    """Finds what followed the latest occurrence of a sequence's last tokens in the sequence itself."""

    def __init__(self) -> None:
        self._after: dict[tuple[int, ...], int] = {}  # an n-gram -> the position after its latest occurrence
        self._indexed = NGRAM  # positions up to which n-grams are in `_after`
        self._source = 0  # where the last proposal was taken from, ...
        self._length = 0  # ... and the sequence's length then

    def propose(self, token_ids: Sequence[int], count: int) -> list[int]:
        """At most `count` tokens that may follow `token_ids`, which only grows from call to call."""
        source = self._continued(token_ids) or self._found(token_ids)
        if source is None:
            return []
        self._source, self._length = source, len(token_ids)
        period = len(token_ids) - source
        return [token_ids[source + i % period] for i in range(count)]

    def _continued(self, token_ids: Sequence[int]) -> int | None:
        """The place of the last proposal moved on, if all since then came as it stands there."""
        new = len(token_ids) - self._length
        if not self._source or token_ids[self._source : self._source + new] != token_ids[self._length :]:
            return None
        return self._source + new

    def _found(self, token_ids: Sequence[int]) -> int | None:
        for end in range(self._indexed, len(token_ids)):  # without the last n-gram, which would find itself
            self._after[tuple(token_ids[end - NGRAM : end])] = end
        self._indexed = max(self._indexed, len(token_ids))
        return self._after.get(tuple(token_ids[-NGRAM:]))


class Pace:
    """How many tokens to propose: more while all were right, none for a while after none was."""

    def __init__(self, most: int | None = None) -> None:
        self.most = MAX_DRAFT if most is None else min(most, MAX_DRAFT)
        self._count = min(MIN_DRAFT, self.most)
        self._pause = PAUSES[0]
        self._resume = 0  # no proposal before the sequence has so many tokens

    def count(self, length: int) -> int:
        """Tokens to propose after `length` tokens."""
        return self._count if length >= self._resume else 0

    def learn(self, proposed: int, accepted: int, length: int) -> None:
        """What became of the last proposal; the sequence now has `length` tokens."""
        if accepted == proposed:
            self._count = min(2 * self._count + 1, self.most)
            self._pause = PAUSES[0]
        elif accepted:
            whole_tiles = (1 << (accepted + 1).bit_length() - 1) - 1  # 3 of 4 to 7, 7 of 8 to 15
            self._count = min(max(MIN_DRAFT, whole_tiles), self.most)
        else:
            self._count = min(MIN_DRAFT, self.most)
            self._resume = length + self._pause
            self._pause = min(2 * self._pause, PAUSES[1])
