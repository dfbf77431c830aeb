"""Activations as products with quantised weights take them: int8 in panels of tokens.

The rows of each part (of an expert, say; most have one) are taken in panels of as many as TOKENS says, the largest
first, as the tiles take them. A panel of T tokens is
first, for each block of 32 columns: 8 x T words of 4 int8, T float32 scales, T int32 of -8 times the sum of the
token's 32 int8 (what a tile of 4-bit quants stored as q + 8 must start from). Then, for each block, what only some
layouts read: T float32 of scale times sum; T int32 of -32 times the sum of the first 16 columns, T of the other 16;
T float32 of scale times sum of the first 16, T of the other 16.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from puna.kernels.kernel import Address, Int, helper, kernel
from puna.kernels.tiling import EXTRA_BLOCK, PANEL_BLOCK, TOKENS
from puna.simd import (
    absolute,
    get_i64,
    load_f32,
    maximum,
    reduce_max,
    round_to_i32,
    scatter_i8,
    set_f32,
    set_i32,
    splat_f32,
    sum_i32,
)

f32 = np.float32
SMALLEST = f32(1e-30)  # activations this small count as zero


def _find_panel(sizes: tuple[int, ...]) -> Any:
    """A helper of (row, start, rows): the panel that holds a row, its first row and its number of rows.

    Panels of the first size begin at `start`, as many as there is room for, then those of the next size.
    """
    size, rest = sizes[0], _find_panel(sizes[1:]) if len(sizes) > 1 else _single

    @helper
    def find(row, start, rows):
        end = start + (rows - start) // size * size
        if row < end:
            return start + (row - start) // size * size, size
        return rest(row, end, rows)

    return find


@helper
def _single(row, _start, _rows):
    """A panel of its own."""
    return row, 1


_panel = _find_panel(TOKENS)


@helper
def _quantize_block(x, out, extra, width):
    """32 float32 as int8 into a panel of `width` tokens, with their scale and sums."""
    u, v = load_f32(x), load_f32(x + 64)
    largest = reduce_max(maximum(absolute(u), absolute(v)))
    largest = largest if largest > SMALLEST else f32(0)  # below, 127 / largest would overflow
    inverse = splat_f32(f32(127) / largest if largest > f32(0) else f32(0))
    a, b = round_to_i32(u * inverse), round_to_i32(v * inverse)
    scatter_i8(out, width * 4, a)
    scatter_i8(out + width * 16, width * 4, b)
    scale, first, second = largest / f32(127), sum_i32(a), sum_i32(b)
    set_f32(out + width * 32, scale)
    set_i32(out + width * 36, np.int32(-8 * (first + second)))
    set_f32(extra, scale * f32(first + second))
    set_i32(extra + width * 4, np.int32(-32 * first))
    set_i32(extra + width * 8, np.int32(-32 * second))
    set_f32(extra + width * 12, scale * f32(first))
    set_f32(extra + width * 16, scale * f32(second))


@kernel
def quantize(thread: int, threads: int, x: Address, panels: Address, width: Int, bounds: Address, parts: Int) -> None:
    """float32 rows x width to panels of int8, with a scale and sums for each 32 columns.

    Symmetric: q = round(x / d), d = max|x| / 127, so q is -127 to 127. One row is split among threads by blocks.
    bounds: int64, the first row of each part, then the number of rows; no panel holds rows of two parts.
    """
    blocks, part = width // 32, 0
    total = get_i64(bounds + parts * 8) * blocks
    start, end = total * thread // threads, total * (thread + 1) // threads
    while start < end:
        row, block = start // blocks, start % blocks
        while get_i64(bounds + part * 8 + 8) <= row:
            part += 1
        first, count = _panel(row, get_i64(bounds + part * 8), get_i64(bounds + part * 8 + 8))
        panel = panels + first * blocks * (PANEL_BLOCK + EXTRA_BLOCK)
        out, extra = panel + (row - first) * 4, panel + count * blocks * PANEL_BLOCK + (row - first) * 4
        last = min(blocks, block + end - start)
        for b in range(block, last):
            at = x + (row * blocks + b) * 128
            _quantize_block(at, out + b * count * PANEL_BLOCK, extra + b * count * EXTRA_BLOCK, count)
        start += last - block
