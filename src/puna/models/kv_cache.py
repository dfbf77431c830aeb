"""The KV cache: for each layer, blocks of 32 positions of keys and values, their memory taken as they are used.

A model that sees whole texts keeps nothing from step to step: there all layers share one pool, one after another.

A block of one layer is one run of bytes, laid out as the attention kernels want it (`puna.kernels.attention_blocks`).
Knows neither which sequence a block belongs to nor what is in it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from puna.models.memory import zeros

BLOCK_SIZE = 32  # positions in a block

# Bytes of a number: q8_0 has int8, and a float32 scale for 32 of them.
KV_TYPES = {"f16": Fraction(2), "q8_0": Fraction(36, 32), "f32": Fraction(4)}

# A pool of fewer bytes goes on small pages: a short chat needs a little of each layer's, a huge page is taken whole.
_HUGE = 1 << 24


class KVCache:
    """`num_blocks` blocks of every layer that is added; with `kept` false, of the layer that runs."""

    def __init__(self, num_blocks: int, kv_type: str, *, kept: bool = True) -> None:
        self.num_blocks, self.kv_type, self.kept = num_blocks, kv_type, kept
        self._layers: list[NDArray[Any]] = []

    def add_layer(self, heads: int, key: int, value: int) -> NDArray[Any]:
        """A new layer's pool: uint8 (num_blocks, bytes of a block)."""
        size = int(heads * BLOCK_SIZE * (key + value) * KV_TYPES[self.kv_type])
        if not self.kept and self._layers:
            assert self._layers[0].shape[1] == size, "layers that share a pool have heads of the same size"
            return self._layers[0]
        self._layers.append(zeros((self.num_blocks, size), np.uint8, huge=self.num_blocks * size >= _HUGE))
        return self._layers[-1]

    @property
    def block_bytes(self) -> int:
        """Bytes of a block, all layers together."""
        return sum(pool.shape[1] for pool in self._layers)

    def read_block(self, index: int) -> NDArray[np.uint8]:
        """A copy of a block: its layers, one after another."""
        return np.concatenate([pool[index] for pool in self._layers])

    def write_block(self, index: int, data: bytes | memoryview | NDArray[np.uint8]) -> None:
        """Put back what `read_block` has given, in the same or another block. Raises ValueError for another size."""
        source = np.frombuffer(data, np.uint8)
        if len(source) != self.block_bytes:
            raise ValueError(f"{len(source)} bytes are not a KV block of this model, which has {self.block_bytes}")
        start = 0
        for pool in self._layers:
            pool[index] = source[start : start + pool.shape[1]]
            start += pool.shape[1]
