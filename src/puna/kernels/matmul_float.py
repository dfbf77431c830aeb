"""y = W x for weights in float32, float16 and bfloat16, and their packing from GGUF's rows.

Layout: 16 rows interleaved; column k holds the 16 rows' values side by side. Each (row, token) is one chain of
multiply-adds in the order of the columns, whatever the tile, the batch or the number of threads.
"""

from __future__ import annotations

import numpy as np

from puna.kernels.kernel import Address, Int, by_tiles, helper, kernel_of, register
from puna.kernels.sharing import begun, groups_at_once, matmul_work, part_of_rows
from puna.kernels.tiling import AHEAD, PAIRED_FROM, TOKENS
from puna.simd import (
    add_tile,
    f32_tile,
    fma_tile,
    fma_two,
    get_i16,
    get_i32,
    load_bf16,
    load_f16,
    load_f32,
    prefetch,
    set_i16,
    set_i32,
    store_tile,
)

ROWS = 16


def _make_matmul(load, size):
    """A function over all tokens and one thread's row groups."""

    def make(count):
        return make_pair(count) if PAIRED_FROM and count >= PAIRED_FROM else make_single(count)

    def make_pair(count):
        @helper
        def product(token, w, groups, x, y, columns, x_stride, y_stride, accumulate):
            source, stride = x + token * x_stride, columns * ROWS * size
            for g in range(0, groups, 2):
                beside = min(1, groups - 1 - g)  # 0: a last group alone is taken twice
                at, out = w + g * stride, y + token * y_stride + g * 64
                acc, other = f32_tile(count), f32_tile(count)
                for k in range(columns):
                    first, second = load(at + k * ROWS * size), load(at + beside * stride + k * ROWS * size)
                    acc, other = fma_two(acc, other, first, second, source + k * 4, x_stride)
                if accumulate:
                    acc, other = add_tile(acc, out, y_stride), add_tile(other, out + beside * 64, y_stride)
                store_tile(acc, out, y_stride)
                store_tile(other, out + beside * 64, y_stride)

        return product

    def make_single(count):
        @helper
        def product(token, w, groups, x, y, columns, x_stride, y_stride, accumulate):
            source = x + token * x_stride
            for g in range(groups):
                acc, out = f32_tile(count), y + token * y_stride + g * 64
                for k in range(columns):
                    at = w + (g * columns + k) * ROWS * size
                    if count == 1 and AHEAD:
                        prefetch(at + AHEAD)
                    acc = fma_tile(acc, load(at), source + k * 4, x_stride)
                if accumulate:
                    acc = add_tile(acc, out, y_stride)
                store_tile(acc, out, y_stride)

        return product

    products = by_tiles(make, TOKENS)

    @helper
    def matmul(thread, threads, w, x, y, groups, columns, x_stride, y_stride, bounds, parts, accumulate):
        work, start, at_once = matmul_work(bounds, parts, groups), 0, groups_at_once(columns * ROWS * size)
        for part in range(parts):
            first, tokens, weight = part_of_rows(bounds, part)
            if tokens == 0:
                continue
            begin = begun(work, thread, threads, start, weight, groups)
            end = begun(work, thread + 1, threads, start, weight, groups)
            start += weight * groups
            source, target = x + first * x_stride, y + first * y_stride
            for g in range(begin, end, at_once):
                at, count = w + (part * groups + g) * columns * ROWS * size, min(at_once, end - g)
                products(0, tokens, at, count, source, target + g * 64, columns, x_stride, y_stride, accumulate)

    return matmul


_matmul_f32 = _make_matmul(load_f32, 4)
_matmul_f16 = _make_matmul(load_f16, 2)
_matmul_bf16 = _make_matmul(load_bf16, 2)


@kernel_of("f32")
def matmul_f32(
    thread: int, threads: int, w: Address, x: Address, y: Address, groups: Int, columns: Int, x_stride: Int,
    y_stride: Int, bounds: Address, parts: Int, accumulate: Int,
) -> None:  # fmt: skip
    """y[t, 16 groups] (+)= W[16 groups, columns] x[t], each part of the rows by a matrix of its own.

    bounds: int64, the first row of each part, then the number of rows; strides in bytes.
    """
    _matmul_f32(thread, threads, w, x, y, groups, columns, x_stride, y_stride, bounds, parts, accumulate)


@kernel_of("f16")
def matmul_f16(
    thread: int, threads: int, w: Address, x: Address, y: Address, groups: Int, columns: Int, x_stride: Int,
    y_stride: Int, bounds: Address, parts: Int, accumulate: Int,
) -> None:  # fmt: skip
    """As `matmul_f32`, with weights in half the bytes."""
    _matmul_f16(thread, threads, w, x, y, groups, columns, x_stride, y_stride, bounds, parts, accumulate)


@kernel_of("bf16")
def matmul_bf16(
    thread: int, threads: int, w: Address, x: Address, y: Address, groups: Int, columns: Int, x_stride: Int,
    y_stride: Int, bounds: Address, parts: Int, accumulate: Int,
) -> None:  # fmt: skip
    """As `matmul_f32`, with weights in half the bytes."""
    _matmul_bf16(thread, threads, w, x, y, groups, columns, x_stride, y_stride, bounds, parts, accumulate)


# --- packing ----------------------------------------------------------------------------------------


def _pack_32bit(
    thread: int,
    threads: int,
    source: Address,
    order: Address,
    target: Address,
    rows: Int,
    groups: Int,
    columns: Int,
) -> None:
    """Rows of 4-byte values, taken in `order` (int32), interleaved by 16; rows beyond the last are zero."""
    for g in range(groups * thread // threads, groups * (thread + 1) // threads):
        for lane in range(ROWS):
            row, out = g * ROWS + lane, target + (g * columns * ROWS + lane) * 4
            start = source + get_i32(order + min(row, rows - 1) * 4) * columns * 4
            for k in range(columns):
                value = get_i32(start + k * 4) if row < rows else np.int32(0)
                set_i32(out + k * ROWS * 4, value)


def _pack_16bit(
    thread: int,
    threads: int,
    source: Address,
    order: Address,
    target: Address,
    rows: Int,
    groups: Int,
    columns: Int,
) -> None:
    """Rows of 2-byte values, taken in `order` (int32), interleaved by 16; rows beyond the last are zero."""
    for g in range(groups * thread // threads, groups * (thread + 1) // threads):
        for lane in range(ROWS):
            row, out = g * ROWS + lane, target + (g * columns * ROWS + lane) * 2
            start = source + get_i32(order + min(row, rows - 1) * 4) * columns * 2
            for k in range(columns):
                value = get_i16(start + k * 2) if row < rows else np.int16(0)
                set_i16(out + k * ROWS * 2, value)


register(_pack_32bit, "pack_f32", "f32")
register(_pack_16bit, "pack_f16", "f16")
register(_pack_16bit, "pack_bf16", "bf16")
