"""What the engine needs of a model.

`puna.models.Model` is one, and so is the small one in the engine's tests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from puna.models import Chunk


class ImageEncoder(Protocol):
    """Makes of an image the vectors that take tokens' places; one image at a time, a layer at each call."""

    @property
    def rows(self) -> int:
        """Vectors that an image becomes."""

    @property
    def pixel_bytes(self) -> int:
        """Bytes of an image."""

    @property
    def busy(self) -> bool:
        """Whether an image was begun and is not done."""

    def begin(self, pixels: bytes) -> None:
        """Take an image; one that is not done is given up."""

    def advance(self) -> None:
        """Compute one layer more."""

    def vectors(self) -> NDArray[np.float32]:
        """Of the image that is done: (rows, width), a copy."""


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
    def causal(self) -> bool:
        """Whether a token sees those before it only. If not, a chunk is a whole text, and there are no logits."""

    @property
    def pooling(self) -> str:
        """How the tokens' final states become one vector: of `puna.gguf.config.POOLING_TYPES`."""

    @property
    def adapters(self) -> Mapping[str, bytes]:
        """Those that chunks may choose, number 1 first: their names, and digests of what they add."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know of how it was loaded."""

    def forward(self, chunks: Sequence[Chunk]) -> NDArray[np.float32]:
        """Logits (sum of the chunks' outputs, vocab_size), in their order; valid until the next call."""

    def states(self) -> NDArray[np.float32]:
        """Final hidden states that the last step's chunks wanted, (rows, width), in their order."""

    def read_kv_block(self, index: int) -> NDArray[np.uint8]:
        """A copy of a block's `kv_block_bytes` bytes."""

    def write_kv_block(self, index: int, data: bytes | memoryview | NDArray[np.uint8]) -> None:
        """Put back what `read_kv_block` gave, in any block."""
