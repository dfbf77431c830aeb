"""Kernels on rows of float32 activations: sums, factors, bias, soft caps, choosing rows, sums of squares.

Rows are split among threads. Widths are multiples of 16 (padded with zeros). Knows nothing of weights' layouts.
"""

from __future__ import annotations

import numpy as np

from puna.kernels.kernel import Address, Float, Int, Live, kernel, kernel_of
from puna.simd import (
    exp,
    fma,
    get_i64,
    load_f32,
    splat_f32,
    store_f32,
)

f32 = np.float32


@kernel
def add_bias(thread: int, threads: int, x: Address, bias: Address, width: Int, rows: Live) -> None:
    """x += bias, rows x width float32."""
    for row in range(rows * thread // threads, rows * (thread + 1) // threads):
        for i in range(0, width * 4, 64):
            at = x + row * width * 4 + i
            store_f32(at, load_f32(at) + load_f32(bias + i))


@kernel
def add_rows(thread: int, threads: int, x: Address, table: Address, indices: Address, width: Int, rows: Live) -> None:
    """x[i] += table[indices[i]]; indices int64; width float32 a row."""
    for row in range(rows * thread // threads, rows * (thread + 1) // threads):
        source = table + get_i64(indices + row * 8) * width * 4
        for i in range(0, width * 4, 64):
            at = x + row * width * 4 + i
            store_f32(at, load_f32(at) + load_f32(source + i))


@kernel
def add_scaled(thread: int, threads: int, x: Address, y: Address, factor: Float, width: Int, rows: Live) -> None:
    """x += factor y, rows x width float32."""
    vectors, f = rows * width // 16, splat_f32(factor)
    for i in range(vectors * thread // threads, vectors * (thread + 1) // threads):
        store_f32(x + i * 64, fma(load_f32(y + i * 64), f, load_f32(x + i * 64)))


@kernel
def scale(thread: int, threads: int, x: Address, factor: Float, width: Int, rows: Live) -> None:
    """x *= factor, rows x width float32."""
    vectors, f = rows * width // 16, splat_f32(factor)
    for i in range(vectors * thread // threads, vectors * (thread + 1) // threads):
        store_f32(x + i * 64, load_f32(x + i * 64) * f)


@kernel
def soft_cap(thread: int, threads: int, x: Address, cap: Float, width: Int, rows: Live) -> None:
    """x = cap tanh(x / cap), rows x width float32 (Gemma 2); tanh x = 1 - 2 / (1 + e**2x)."""
    vectors, twice = rows * width // 16, splat_f32(f32(2) / cap)
    c, one, two = splat_f32(cap), splat_f32(f32(1)), splat_f32(f32(2))
    for i in range(vectors * thread // threads, vectors * (thread + 1) // threads):
        store_f32(x + i * 64, c * (one - two / (one + exp(load_f32(x + i * 64) * twice))))


@kernel
def gather_rows(thread: int, threads: int, x: Address, indices: Address, out: Address, width: Int, rows: Live) -> None:
    """out[i] = x[indices[i]]; indices int64; width float32 a row."""
    from_thread, to_thread = rows * thread // threads, rows * (thread + 1) // threads
    for row in range(from_thread, to_thread):
        source = x + get_i64(indices + row * 8) * width * 4
        for i in range(0, width * 4, 64):
            store_f32(out + row * width * 4 + i, load_f32(source + i))


@kernel_of("importance")
def add_squares(thread: int, threads: int, x: Address, sums: Address, width: Int, stride: Int, rows: Live) -> None:
    """sums += x**2 over all rows, column by column; width float32, a multiple of 16; stride in bytes."""
    vectors = width // 16
    for i in range(vectors * thread // threads, vectors * (thread + 1) // threads):
        total = load_f32(sums + i * 64)
        for row in range(rows):
            v = load_f32(x + row * stride + i * 64)
            total = fma(v, v, total)
        store_f32(sums + i * 64, total)
