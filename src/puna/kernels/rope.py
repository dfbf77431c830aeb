"""Rotary position embedding (Su et al. 2021) of queries and keys, in place. Knows nothing of attention."""

from __future__ import annotations

from puna.kernels.kernel import Address, Int, Live, helper, kernel
from puna.simd import fma, get_f32, get_i64, load_f32, set_f32, store_f32


@helper
def _rotate(x, cos_sin, half):
    """One head: pairs (i, i + half); cos then sin, `half` each."""
    i = 0
    while i + 16 <= half:
        at = i * 4
        a, b = load_f32(x + at), load_f32(x + half * 4 + at)
        c, s = load_f32(cos_sin + at), load_f32(cos_sin + half * 4 + at)
        store_f32(x + at, a * c - b * s)
        store_f32(x + half * 4 + at, fma(a, s, b * c))
        i += 16
    while i < half:
        at = i * 4
        u, v = get_f32(x + at), get_f32(x + half * 4 + at)
        p, q = get_f32(cos_sin + at), get_f32(cos_sin + half * 4 + at)
        set_f32(x + at, u * p - v * q)
        set_f32(x + half * 4 + at, u * q + v * p)
        i += 1


@kernel
def rope(
    thread: int, threads: int, x: Address, cos_sin: Address, positions: Address, heads: Int, size: Int, stride: Int,
    rotated: Int, rows: Live,
) -> None:  # fmt: skip
    """Rotate the first `rotated` of `size` float32 of each head; cos_sin: `rotated` float32 a position."""
    for row in range(rows * thread // threads, rows * (thread + 1) // threads):
        table = cos_sin + get_i64(positions + row * 8) * rotated * 4
        for head in range(heads):
            _rotate(x + row * stride + head * size * 4, table, rotated // 2)
