"""What the kernels that quantise share: 16 blocks at a time side by side, levels to words, words to blocks.

A lane is a block. Numbers come in as rows of float32 and lie in a tile: vector i holds number i of the 16 blocks.
Levels become words of 4 bytes, those of columns 4j to 4j + 3, as `packing` takes them out of blocks. Knows no
quantised type.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from puna.kernels.kernel import Address, Int, helper, register
from puna.kernels.quantizers import SCRATCH, quantizer
from puna.simd import (
    get_f32,
    load_f32,
    load_i32,
    scatter_f32,
    scatter_i32,
    set_f32,
    shift_left,
    splat_f32,
    square_root,
    store_f32,
    store_i32,
    truncate,
)

f32 = np.float32
LANES, VECTOR = 16, 64  # blocks side by side; bytes of one number of each
ONES, PAIRS, NIBBLES = 0x01010101, 0x03030303, 0x0F0F0F0F

# Scratch memory of a thread, in bytes from its start.
TILE = 0  # 256 vectors: the numbers; then their levels, as int32
COLUMNS = TILE + 256 * VECTOR  # 256: how much their columns count
WORDS = COLUMNS + 256 * VECTOR  # 64: levels, 4 to a word
WEIGHTS = WORDS + 64 * VECTOR  # 32: how much the numbers of one group count
PRODUCTS = WEIGHTS + 32 * VECTOR  # 32: that times the numbers
LEVELS = PRODUCTS + 32 * VECTOR  # 32: levels while they are searched for
MEANS = LEVELS + 32 * VECTOR  # 1: the mean squares of the rows that the blocks are in
SCALES = MEANS + VECTOR  # 8 x 16: what the search leaves behind for each group
assert SCALES + 8 * 16 * VECTOR <= SCRATCH

# Of the K types, for up to 16 groups.
SCALE = SCALES
LOW = SCALE + 16 * VECTOR  # the minimum, its sign changed: it is subtracted
FACTOR = LOW + 16 * VECTOR  # level = factor (x - offset), as it was when the scale was found
OFFSET = FACTOR + 16 * VECTOR
WEIGHT = OFFSET + 16 * VECTOR  # how much the group counts
SCALE_LEVEL = WEIGHT + 16 * VECTOR  # the quantised scales, as floats
LOW_LEVEL = SCALE_LEVEL + 16 * VECTOR
WEIGHTED_SCALE = LOW_LEVEL + 16 * VECTOR


@helper
def _to_tile(source, tile, block, lane):
    for c in range(0, block, LANES):
        scatter_f32(tile + c * VECTOR + lane * 4, VECTOR, load_f32(source + c * 4))


@helper
def put_words(levels, words, count):
    """Levels (int32, 0 to 255), 4 `count` vectors, to words."""
    for j in range(count):
        at = levels + j * 4 * VECTOR
        low = load_i32(at) | shift_left(load_i32(at + VECTOR), 8)
        high = shift_left(load_i32(at + 2 * VECTOR), 16) | shift_left(load_i32(at + 3 * VECTOR), 24)
        store_i32(words + j * VECTOR, low | high)


@helper
def word(words, j):
    """Levels of columns 4j to 4j + 3, a byte each."""
    return load_i32(words + j * VECTOR)


@helper
def put_nibbles(words, target, size):
    """32 levels of 4 bits: two to a byte, 16 columns apart."""
    for j in range(4):
        scatter_i32(target + j * 4, size, word(words, j) | shift_left(word(words, j + 4), 4))


@helper
def total_of(x, n):
    """The sum of n numbers of each lane, added in their order."""
    total = splat_f32(f32(0))
    for i in range(n):
        total = total + load_f32(x + i * VECTOR)
    return total


@helper
def scale_level(vectors, i):
    """A quantised scale as an integer."""
    return truncate(load_f32(vectors + i * VECTOR))


@helper
def put_pairs(words, target, size):
    """256 levels of 2 bits: 4 to a byte, 32 columns apart."""
    for half in range(2):
        for j in range(8):
            at = half * 32 + j
            low = word(words, at) | shift_left(word(words, at + 8), 2)
            high = shift_left(word(words, at + 16), 4) | shift_left(word(words, at + 24), 6)
            scatter_i32(target + half * 32 + j * 4, size, low | high)


@helper
def sum_of_squares(x, n):
    """Of n numbers of each lane, added in their order."""
    total = splat_f32(f32(0))
    for i in range(n):
        total = total + load_f32(x + i * VECTOR) * load_f32(x + i * VECTOR)
    return total


@helper
def mean_square(source, columns):
    """Of a row, added in its order."""
    total = f32(0)
    for i in range(columns):
        total += get_f32(source + i * 4) * get_f32(source + i * 4)
    return total / f32(columns)


@helper
def weigh(x, columns, weights, n, spread):
    """column x sqrt(spread + x**2): how much an error counts, by the column's importance and the number's size."""
    for i in range(n):
        v = load_f32(x + i * VECTOR)
        store_f32(weights + i * VECTOR, load_f32(columns + i * VECTOR) * square_root(spread + v * v))


@helper
def multiply(x, weights, products, n):
    """products = weights x"""
    for i in range(n):
        store_f32(products + i * VECTOR, load_f32(weights + i * VECTOR) * load_f32(x + i * VECTOR))


def register_quantizer(kind: str, block: int, size: int, encode: Any) -> None:
    """Register the kernel that makes blocks of `size` bytes of each `block` numbers.

    `encode(scratch, target)` finds the numbers of 16 blocks in the tile.
    """

    def quantize(thread: int, threads: int, source: Address, target: Address, blocks: Int, scratch: Address) -> None:
        """float32 to blocks; `target` has room for whole tiles, `scratch` is SCRATCH bytes for each thread."""
        own, tiles = scratch + thread * SCRATCH, (blocks + LANES - 1) // LANES
        for t in range(tiles * thread // threads, tiles * (thread + 1) // threads):
            for lane in range(LANES):
                at = min(t * LANES + lane, blocks - 1)
                _to_tile(source + at * block * 4, own + TILE, block, lane)
            encode(own, target + t * LANES * size)

    register(quantize, quantizer(kind), quantizer(kind))


def register_weighted_quantizer(kind: str, block: int, size: int, encode: Any, *, means: bool = False) -> None:
    """The same for columns that count by their importance; means: `encode` needs the mean squares of rows."""

    def quantize(
        thread: int, threads: int, source: Address, columns: Address, target: Address, blocks: Int, row_blocks: Int,
        scratch: Address,
    ) -> None:  # fmt: skip
        """Rows of `row_blocks` blocks; `columns` are float32, the importance of the numbers of a row."""
        own, tiles = scratch + thread * SCRATCH, (blocks + LANES - 1) // LANES
        known, mean = -1, f32(0)
        for t in range(tiles * thread // threads, tiles * (thread + 1) // threads):
            for lane in range(LANES):
                at = min(t * LANES + lane, blocks - 1)
                row = at // row_blocks
                _to_tile(source + at * block * 4, own + TILE, block, lane)
                _to_tile(columns + (at - row * row_blocks) * block * 4, own + COLUMNS, block, lane)
                if means and row != known:
                    known, mean = row, mean_square(source + row * row_blocks * block * 4, row_blocks * block)
                set_f32(own + MEANS + lane * 4, mean)
            encode(own, target + t * LANES * size)

    register(quantize, quantizer(kind, weighted=True), quantizer(kind, weighted=True))
