"""What the engine needs of a model.

`puna.models.Model` is one, and so is the small one in the engine's tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from puna.models import Chunk


class Model(Protocol):
    """Computes logits for chunks of sequences; keeps keys and values in blocks that the engine hands out."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens in the vocabulary."""

    @property
    def max_tokens(self) -> int:
        """Most tokens of one step, over all chunks."""

    @property
    def max_outputs(self) -> int:
        """Most rows of logits of one step."""

    @property
    def num_blocks(self) -> int:
        """KV blocks there are, each of BLOCK_SIZE tokens."""

    @property
    def kv_block_bytes(self) -> int:
        """Bytes of a KV block, all layers together."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know of how it was loaded."""

    def forward(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Logits (sum of the chunks' outputs, vocab_size), in their order; valid until the next call."""

    def read_kv_block(self, index: int) -> NDArray[np.uint8]:
        """A copy of a block's `kv_block_bytes` bytes."""

    def write_kv_block(self, index: int, data: bytes | memoryview | NDArray[np.uint8]) -> None:
        """Put back what `read_kv_block` gave, in any block."""
