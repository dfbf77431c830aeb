"""y = W x for weights in blocks of 32 int8 or 4-bit quants, and their packing from GGUF's Q8_0 and Q4_0.

Layout: 16 rows are interleaved, so that a lane is a row and no sum runs across lanes. A record holds 16 rows x 32
columns: 64-byte chunks of 16 rows x 4 columns (two such chunks in one, as nibbles, for 4 bits), then 16 float16
scales. Integer sums are exact; floats are added block by block in one order for each (row, token): the result is
the same whatever the tile, the batch or the number of threads.
"""

from __future__ import annotations

import numpy as np

from puna.kernels.kernel import Address, Int, Live, by_tiles, helper, kernel
from puna.kernels.tiling import AHEAD, TOKENS, TOKENS_MANY, TOKENS_SOME
from puna.simd import (
    absolute,
    add_tile,
    dot_i8_tile,
    dot_u4_tile,
    f32_tile,
    get_i32,
    high_nibbles,
    i8_start_tile,
    load_f16,
    load_f32,
    load_i8,
    low_nibbles,
    maximum,
    prefetch,
    reduce_max,
    round_to_i32,
    scale_tile,
    scatter_i8,
    set_f32,
    set_i16,
    set_i32,
    splat_f32,
    store_tile,
    sum_i32,
    u4_start_tile,
)

f32 = np.float32
ROWS = 16
Q8_RECORD = 544  # 16 rows x 32 int8, 16 float16
Q4_RECORD = 288  # 16 rows x 32 nibbles, 16 float16
Q8_BLOCK, Q4_BLOCK = 34, 18  # GGUF's blocks of one row: a float16 scale, then the quants
SMALLEST = f32(1e-30)  # activations this small count as zero


# --- activations ------------------------------------------------------------------------------------
#
# Tokens are taken in panels of TOKENS_MANY, then TOKENS_SOME, then 1, as the tiles take them. A panel of T tokens
# holds for each block of 32 columns: 8 x T words of 4 int8, T float32 scales, T int32 that are -8 times the sum of
# the token's 32 int8 (what a tile of 4-bit quants, stored as q + 8, must start from).

TOKEN_BLOCK = 40  # bytes of a token in a block


@helper
def _panel(row, rows):
    """The panel that holds a row: its first row and its number of rows."""
    many = rows // TOKENS_MANY * TOKENS_MANY
    if row < many:
        return row // TOKENS_MANY * TOKENS_MANY, TOKENS_MANY
    some = many + (rows - many) // TOKENS_SOME * TOKENS_SOME
    if row < some:
        return many + (row - many) // TOKENS_SOME * TOKENS_SOME, TOKENS_SOME
    return row, 1


@helper
def _quantize_block(x, out, width):
    """32 float32 as int8 into a panel of `width` tokens, with their scale and sum."""
    u, v = load_f32(x), load_f32(x + 64)
    largest = reduce_max(maximum(absolute(u), absolute(v)))
    largest = largest if largest > SMALLEST else f32(0)  # below, 127 / largest would overflow
    inverse = splat_f32(f32(127) / largest if largest > f32(0) else f32(0))
    a, b = round_to_i32(u * inverse), round_to_i32(v * inverse)
    scatter_i8(out, width * 4, a)
    scatter_i8(out + width * 16, width * 4, b)
    set_f32(out + width * 32, largest / f32(127))
    set_i32(out + width * 36, np.int32(-8) * sum_i32(a + b))


@kernel
def quantize(thread: int, threads: int, x: Address, panels: Address, width: Int, rows: Live) -> None:
    """float32 rows x width to panels of int8, with a scale and a sum for each 32 columns.

    Symmetric: q = round(x / d), d = max|x| / 127, so q is -127 to 127. One row is split among threads by blocks.
    """
    blocks = width // 32
    total = rows * blocks
    start, end = total * thread // threads, total * (thread + 1) // threads
    while start < end:
        row, block = start // blocks, start % blocks
        first, count = _panel(row, rows)
        panel = panels + first * blocks * TOKEN_BLOCK + (row - first) * 4
        last = min(blocks, block + end - start)
        for b in range(block, last):
            _quantize_block(x + (row * blocks + b) * 128, panel + b * count * TOKEN_BLOCK, count)
        start += last - block


# --- products ---------------------------------------------------------------------------------------


def _make_q8_tile(count):
    @helper
    def tile(w, panel, blocks):
        acc = f32_tile(count)
        for b in range(blocks):
            record, x = w + b * Q8_RECORD, panel + b * count * TOKEN_BLOCK
            _prefetch(record, Q8_RECORD, count)
            ints = i8_start_tile(count, x + count * 36)
            for k in range(8):
                ints = dot_i8_tile(ints, load_i8(record + k * 64), x + k * count * 4)
            acc = scale_tile(acc, ints, load_f16(record + 512), x + count * 32)
        return acc

    return tile


def _make_q4_tile(count):
    @helper
    def tile(w, panel, blocks):
        acc = f32_tile(count)
        for b in range(blocks):
            record, x = w + b * Q4_RECORD, panel + b * count * TOKEN_BLOCK
            _prefetch(record, Q4_RECORD, count)
            ints = u4_start_tile(count, x + count * 36)
            for k in range(4):
                quants = load_i8(record + k * 64)
                ints = dot_u4_tile(ints, low_nibbles(quants), x + k * count * 4)
                ints = dot_u4_tile(ints, high_nibbles(quants), x + (k + 4) * count * 4)
            acc = scale_tile(acc, ints, load_f16(record + 256), x + count * 32)
        return acc

    return tile


@helper
def _prefetch(record, size, count):
    """Ask for what comes next, where it comes from memory: a single token's weights are read once."""
    if count == 1 and AHEAD:
        for line in range(0, size, 64):
            prefetch(record + AHEAD + line)


def _make_matmul(make_tile, record):
    """A function over all tokens and one thread's row groups, from a maker of tiles."""

    def make(count):
        tile = make_tile(count)

        @helper
        def product(token, w, panels, y, blocks, y_stride, accumulate):
            out = y + token * y_stride
            acc = tile(w, panels + token * blocks * TOKEN_BLOCK, blocks)
            if accumulate:
                acc = add_tile(acc, out, y_stride)
            store_tile(acc, out, y_stride)

        return product

    products = by_tiles(make, TOKENS)

    @helper
    def matmul(thread, threads, w, panels, y, groups, blocks, y_stride, tokens, accumulate):
        for g in range(groups * thread // threads, groups * (thread + 1) // threads):
            products(0, tokens, w + g * blocks * record, panels, y + g * 64, blocks, y_stride, accumulate)

    return matmul


_matmul_q8 = _make_matmul(_make_q8_tile, Q8_RECORD)
_matmul_q4 = _make_matmul(_make_q4_tile, Q4_RECORD)


@kernel
def matmul_q8_0(
    thread: int, threads: int, w: Address, panels: Address, y: Address, groups: Int, blocks: Int, y_stride: Int,
    tokens: Live, accumulate: Int,
) -> None:  # fmt: skip
    """y[t, 16 groups] (+)= W[16 groups, 32 blocks] x[t]; x as `quantize` leaves it; y_stride in bytes."""
    _matmul_q8(thread, threads, w, panels, y, groups, blocks, y_stride, tokens, accumulate)


@kernel
def matmul_q4_0(
    thread: int, threads: int, w: Address, panels: Address, y: Address, groups: Int, blocks: Int, y_stride: Int,
    tokens: Live, accumulate: Int,
) -> None:  # fmt: skip
    """y[t, 16 groups] (+)= W[16 groups, 32 blocks] x[t]; x as `quantize` leaves it; y_stride in bytes."""
    _matmul_q4(thread, threads, w, panels, y, groups, blocks, y_stride, tokens, accumulate)


# --- packing ----------------------------------------------------------------------------------------


@helper
def _pack(thread, threads, source, order, target, rows, groups, blocks, block_bytes, words):
    """Interleave 16 rows: their 4-byte words side by side, then their scales. Rows beyond the last are zero."""
    record = words * 64 + 32
    for i in range(groups * thread // threads, groups * (thread + 1) // threads):
        for lane in range(ROWS):
            row = i * ROWS + lane
            if row < rows:
                start = source + get_i32(order + row * 4) * blocks * block_bytes
            for b in range(blocks):
                out = target + (i * blocks + b) * record + lane * 4
                scale = target + (i * blocks + b) * record + words * 64 + lane * 2
                if row >= rows:
                    for k in range(words):
                        set_i32(out + k * 64, np.int32(0))
                    set_i16(scale, np.int16(0))
                    continue
                block = start + b * block_bytes
                set_i16(scale, np.int16(get_i32(block)))
                for k in range(words):
                    set_i32(out + k * 64, get_i32(block + 2 + k * 4))


@kernel
def pack_q8_0(
    thread: int,
    threads: int,
    source: Address,
    order: Address,
    target: Address,
    rows: Int,
    groups: Int,
    blocks: Int,
) -> None:
    """GGUF's Q8_0 rows, taken in `order` (int32), to records."""
    _pack(thread, threads, source, order, target, rows, groups, blocks, Q8_BLOCK, 8)


@kernel
def pack_q4_0(
    thread: int,
    threads: int,
    source: Address,
    order: Address,
    target: Address,
    rows: Int,
    groups: Int,
    blocks: Int,
) -> None:
    """GGUF's Q4_0 rows, taken in `order` (int32), to records: a nibble's column stays where GGUF has it."""
    _pack(thread, threads, source, order, target, rows, groups, blocks, Q4_BLOCK, 4)
