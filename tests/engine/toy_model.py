"""A language model small enough for numpy, and real: attention over all before, read through the block table.

Every token is stored where the block table says and read back from there for every later token, so a wrong
table, a block handed to two sequences, a wrong position or a chunk left out changes the tokens that come out,
or trips an assertion. It breaks as the real one would, and is as strict about its limits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from puna.models import BLOCK_SIZE, Chunk

WIDTH = 8
EMPTY = -1


class ToyModel:
    """Implements `puna.engine.model.Model`. The logits after a token depend on the whole prefix, in order."""

    def __init__(
        self,
        *,
        vocab_size: int = 50,
        max_tokens: int = 16,
        max_outputs: int = 8,
        num_blocks: int = 8,
        seed: int = 0,
    ) -> None:
        self.vocab_size = vocab_size
        self.max_tokens = max_tokens
        self.max_outputs = max_outputs
        self.num_blocks = num_blocks
        self.causal = True
        self.pooling = "mean"
        self.warnings: tuple[str, ...] = ()
        self.adapters: dict[str, bytes] = {}
        self.steps: list[list[int]] = []  # the chunks' lengths, step by step
        random = np.random.default_rng(seed)  # the weights depend on nothing but seed and vocabulary
        self._embedding = random.normal(size=(vocab_size, WIDTH))
        self._output = random.normal(size=(WIDTH, vocab_size))
        self._position = random.normal(size=(num_blocks * BLOCK_SIZE, WIDTH))
        self._cache = np.full((num_blocks, BLOCK_SIZE), EMPTY)

    def forward(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Store every chunk's tokens, then attend from the positions asked for."""
        self._check_limits(chunks)
        for chunk in chunks:
            for position, token in enumerate(chunk.tokens, chunk.start):
                self._cache[chunk.block_table[position // BLOCK_SIZE], position % BLOCK_SIZE] = token
        self._states = np.array(
            [self._state(c.block_table, c.start + i) for c in chunks for i in c.states], np.float32
        ).reshape(-1, WIDTH)
        rows = [
            self._attend(chunk.block_table, end)
            for chunk in chunks
            for end in range(chunk.start + len(chunk.tokens) - chunk.outputs, chunk.start + len(chunk.tokens))
        ]
        return np.array(rows, np.float32).reshape(len(rows), self.vocab_size)

    def states(self) -> NDArray[np.float32]:
        """Of the rows that the last step's chunks wanted."""
        return self._states

    @property
    def kv_block_bytes(self) -> int:
        """Bytes of a block."""
        return BLOCK_SIZE * self._cache.itemsize

    def read_kv_block(self, index: int) -> NDArray[np.uint8]:
        """A copy of a block."""
        return np.frombuffer(self._cache[index].tobytes(), np.uint8)

    def write_kv_block(self, index: int, data: bytes | memoryview | NDArray[np.uint8]) -> None:
        """Put back what `read_kv_block` gave."""
        self._cache[index] = np.frombuffer(data, self._cache.dtype)

    def _attend(self, block_table: Sequence[int], position: int) -> NDArray[np.float64]:
        logits: NDArray[np.float64] = self._state(block_table, position) @ self._output * 3
        return logits

    def _state(self, block_table: Sequence[int], position: int) -> NDArray[np.float64]:
        stored = self._cache[list(block_table)].reshape(-1)[: position + 1]
        assert (stored != EMPTY).all(), "attention to a position that was never computed"
        states = self._embedding[stored] + self._position[: position + 1]
        scores = states @ states[-1] / WIDTH
        weights = np.exp(scores - scores.max())
        state: NDArray[np.float64] = weights @ states / weights.sum()
        return state

    def _check_limits(self, chunks: Sequence[Chunk]) -> None:
        assert chunks, "an empty step"
        assert sum(len(c.tokens) for c in chunks) <= self.max_tokens, "more rows than the step has"
        assert sum(c.outputs for c in chunks) <= self.max_outputs, "more outputs than the step has"
        assert all(0 <= c.outputs <= len(c.tokens) and c.tokens for c in chunks)
        assert all(0 <= i < len(c.tokens) for c in chunks for i in c.states)
        assert all(0 <= token < self.vocab_size for c in chunks for token in c.tokens)
        used = Counter(block for c in chunks for block in set(c.block_table))
        assert all(len(c.block_table) == len(set(c.block_table)) for c in chunks), "a block twice in a sequence"
        for c in chunks:
            written = c.block_table[c.start // BLOCK_SIZE : -(-(c.start + len(c.tokens)) // BLOCK_SIZE)]
            assert all(used[block] == 1 for block in written), "two sequences share a block that one of them writes to"
        assert all(0 <= block < self.num_blocks for block in used)
        self.steps.append([len(c.tokens) for c in chunks])
