"""Kernels that normalise rows of float32 activations, or each of the equal parts that a row is made of (heads).

Rows are split among threads. Parts are `padded` numbers long, a multiple of 16, of which the last ones are zero from
`width` on; so are those of weights and biases, of which there is one row for each part. Knows nothing of what is
normalised.
"""

from __future__ import annotations

import numpy as np

from puna.kernels.kernel import Address, Float, Int, Live, kernel
from puna.simd import fma, keep_below, load_f32, reduce_add, splat_f32, store_f32

f32 = np.float32


@kernel
def rms_norm(
    thread: int, threads: int, x: Address, weight: Address, out: Address, width: Int, padded: Int, parts: Int,
    rows: Live, epsilon: Float,
) -> None:  # fmt: skip
    """out = x / sqrt(mean(x**2) + epsilon) * weight (Zhang & Sennrich 2019); out may be x."""
    for part in range(rows * thread // threads * parts, rows * (thread + 1) // threads * parts):
        source, target, w = x + part * padded * 4, out + part * padded * 4, weight + part % parts * padded * 4
        squares = splat_f32(f32(0))
        for i in range(0, padded * 4, 64):
            v = load_f32(source + i)
            squares = fma(v, v, squares)
        inverse = splat_f32(f32(1) / np.sqrt(reduce_add(squares) / f32(width) + epsilon))
        for i in range(0, padded * 4, 64):
            store_f32(target + i, load_f32(source + i) * inverse * load_f32(w + i))


@kernel
def layer_norm(
    thread: int, threads: int, x: Address, weight: Address, bias: Address, out: Address, width: Int, padded: Int,
    parts: Int, rows: Live, epsilon: Float,
) -> None:  # fmt: skip
    """out = (x - mean(x)) / sqrt(var(x) + epsilon) * weight + bias (Ba et al. 2016); out may be x."""
    for part in range(rows * thread // threads * parts, rows * (thread + 1) // threads * parts):
        source, target, w = x + part * padded * 4, out + part * padded * 4, part % parts * padded * 4
        total = splat_f32(f32(0))
        for i in range(0, padded, 16):
            total = total + load_f32(source + i * 4)
        mean = splat_f32(reduce_add(total) / f32(width))
        squares = splat_f32(f32(0))
        for i in range(0, padded, 16):
            d = keep_below(load_f32(source + i * 4) - mean, width - i, f32(0))
            squares = fma(d, d, squares)
        inverse = splat_f32(f32(1) / np.sqrt(reduce_add(squares) / f32(width) + epsilon))
        for i in range(0, padded * 4, 64):
            d = (load_f32(source + i) - mean) * inverse
            store_f32(target + i, fma(d, load_f32(weight + w + i), load_f32(bias + w + i)))
