"""Kernels on rows of float32 activations: normalisation, gating, bias, choosing rows.

Rows are split among threads. Widths are multiples of 16 (padded with zeros). Knows nothing of weights' layouts.
"""

from __future__ import annotations

import numpy as np

from puna.kernels.kernel import Address, Float, Int, Live, kernel
from puna.simd import (
    exp,
    fma,
    get_i64,
    load_f32,
    reduce_add,
    splat_f32,
    store_f32,
)

f32 = np.float32


@kernel
def rms_norm(
    thread: int, threads: int, x: Address, weight: Address, out: Address, width: Int, padded: Int, rows: Live,
    epsilon: Float,
) -> None:  # fmt: skip
    """out = x / sqrt(mean(x**2) + epsilon) * weight; rows x padded float32 (Zhang & Sennrich 2019)."""
    for row in range(rows * thread // threads, rows * (thread + 1) // threads):
        source, target = x + row * padded * 4, out + row * padded * 4
        squares = splat_f32(f32(0))
        for i in range(0, padded * 4, 64):
            v = load_f32(source + i)
            squares = fma(v, v, squares)
        inverse = splat_f32(f32(1) / np.sqrt(reduce_add(squares) / f32(width) + epsilon))
        for i in range(0, padded * 4, 64):
            store_f32(target + i, load_f32(source + i) * inverse * load_f32(weight + i))


@kernel
def silu_gate(thread: int, threads: int, gate: Address, up: Address, out: Address, width: Int, rows: Live) -> None:
    """out = gate / (1 + e**-gate) * up (SwiGLU, Shazeer 2020); rows x width float32; out may be gate."""
    vectors = rows * width // 16
    one, zero = splat_f32(f32(1)), splat_f32(f32(0))
    for i in range(vectors * thread // threads, vectors * (thread + 1) // threads):
        g = load_f32(gate + i * 64)
        store_f32(out + i * 64, g / (one + exp(zero - g)) * load_f32(up + i * 64))


@kernel
def add_bias(thread: int, threads: int, x: Address, bias: Address, width: Int, rows: Live) -> None:
    """x += bias, rows x width float32."""
    for row in range(rows * thread // threads, rows * (thread + 1) // threads):
        for i in range(0, width * 4, 64):
            at = x + row * width * 4 + i
            store_f32(at, load_f32(at) + load_f32(bias + i))


@kernel
def gather_rows(thread: int, threads: int, x: Address, indices: Address, out: Address, width: Int, rows: Live) -> None:
    """out[i] = x[indices[i]]; indices int64; width float32 a row."""
    from_thread, to_thread = rows * thread // threads, rows * (thread + 1) // threads
    for row in range(from_thread, to_thread):
        source = x + get_i64(indices + row * 8) * width * 4
        for i in range(0, width * 4, 64):
            store_f32(out + row * width * 4 + i, load_f32(source + i))
