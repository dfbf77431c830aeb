"""Kernels that do nothing but reach a limit of the machine: reading memory, integer dot products.

What they measure is what the others are compared with. Knows no model.
"""

from __future__ import annotations

import numpy as np

from puna.kernels.kernel import Address, Int, kernel
from puna.simd import dot_u4_tile, f32_tile, fma_column, load_f32, load_i8, splat_f32, store_tile, u4_start_tile
from puna.simd import scale_tile as to_floats

f32 = np.float32
CHAINS = 12  # independent accumulators: more than any machine's latency needs


@kernel
def stream_read(thread: int, threads: int, source: Address, lines: Int, out: Address) -> None:
    """Read `lines` x 256 bytes once; out: 256 bytes a thread, so that nothing is optimised away."""
    sums, one = f32_tile(4), splat_f32(f32(1))
    for i in range(lines * thread // threads, lines * (thread + 1) // threads):
        sums = fma_column(sums, one, source + i * 256, 64)
    store_tile(sums, out + thread * 256, 64)


@kernel
def dot_peak(thread: int, threads: int, source: Address, rounds: Int, out: Address) -> None:
    """`rounds` x 12 dot products of 64 bytes (128 operations each); out: 768 bytes a thread."""
    ints, weights = u4_start_tile(CHAINS, source), load_i8(source + 64)
    for _ in range(rounds * thread // threads, rounds * (thread + 1) // threads):
        ints = dot_u4_tile(ints, weights, source + 128)
    store_tile(to_floats(f32_tile(CHAINS), ints, load_f32(source), source), out + thread * 768, 64)
