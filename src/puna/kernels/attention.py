"""Attention over a paged KV cache: rotary embedding and storing of keys and values, then softmax(q k) v.

A block holds 32 positions of one layer: for each KV head, keys as two groups of 16 positions in lanes
([2][key size][16]), values row by row ([32][value size]). Scores go in chunks of 256 positions counted from
position 0, with a running maximum (online softmax, Milakov & Gimelshein 2018), so that a token's result does not
depend on how the prompt was split, on its companions in the batch, or on the number of threads.
"""

from __future__ import annotations

import numpy as np

from puna.kernels.kernel import Address, Float, Int, Live, by_tiles, helper, kernel
from puna.kernels.tiling import ROWS, ROWS_MANY
from puna.simd import (
    exp,
    f32_tile,
    fma,
    fma_tile,
    get_f32,
    get_i64,
    keep_below,
    load_f16,
    load_f32,
    load_tile,
    maximum,
    minimum,
    reduce_add,
    reduce_max,
    scatter_f16,
    scatter_f32,
    set_f32,
    splat_f32,
    store_f16,
    store_f32,
    store_tile,
)

f32 = np.float32
BLOCK = 32  # positions in a block
CHUNK = 256  # positions between two looks at the running maximum
MASKED = f32(-1e30)
LARGEST = f32(1e30)


@helper
def _rotate(x, cos_sin, half):
    """Rotary embedding of one head in place (Su et al. 2021): pairs (i, i + half); cos then sin, `half` each."""
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


def _make_store(scatter, store, size):
    @helper
    def write(thread, threads, k, v, pool, positions, tables, heads, key, value, k_stride, v_stride, rows):
        head_bytes = BLOCK * (key + value) * size
        for row in range(rows * thread // threads, rows * (thread + 1) // threads):
            position = get_i64(positions + row * 8)
            block = get_i64(get_i64(tables + row * 8) + position // BLOCK * 8)
            slot = position % BLOCK
            for head in range(heads):
                base = pool + (block * heads + head) * head_bytes
                keys = base + ((slot // 16) * key * 16 + slot % 16) * size
                for d in range(0, key, 16):
                    scatter(keys + d * 16 * size, 16 * size, load_f32(k + row * k_stride + (head * key + d) * 4))
                values = base + (BLOCK * key + slot * value) * size
                for d in range(0, value, 16):
                    store(values + d * size, load_f32(v + row * v_stride + (head * value + d) * 4))

    return write


_store_f16 = _make_store(scatter_f16, store_f16, 2)


@helper
def _finite(v):
    """NaN and infinities to finite numbers: 0 times what a freed block holds must be 0 for its next owner."""
    return minimum(maximum(v, splat_f32(-LARGEST)), splat_f32(LARGEST))


@helper
def _scatter_finite(p, stride, v):
    scatter_f32(p, stride, _finite(v))


@helper
def _store_finite(p, v):
    store_f32(p, _finite(v))


_store_f32 = _make_store(_scatter_finite, _store_finite, 4)


@kernel
def store_kv_f16(
    thread: int, threads: int, k: Address, v: Address, pool: Address, positions: Address, tables: Address, heads: Int,
    key: Int, value: Int, k_stride: Int, v_stride: Int, rows: Live,
) -> None:  # fmt: skip
    """Keys and values of each row into the block of its position; tables: the address of each row's block table."""
    _store_f16(thread, threads, k, v, pool, positions, tables, heads, key, value, k_stride, v_stride, rows)


@kernel
def store_kv_f32(
    thread: int, threads: int, k: Address, v: Address, pool: Address, positions: Address, tables: Address, heads: Int,
    key: Int, value: Int, k_stride: Int, v_stride: Int, rows: Live,
) -> None:  # fmt: skip
    """As `store_kv_f16`, without rounding."""
    _store_f32(thread, threads, k, v, pool, positions, tables, heads, key, value, k_stride, v_stride, rows)


def _make_scores(load, size):
    """Scores of query rows against the 16 keys of half a block."""

    def make(count):
        @helper
        def scores(row, q, keys, key, out):
            acc, at = f32_tile(count), q + row * key * 4
            for d in range(key):
                acc = fma_tile(acc, load(keys + d * 16 * size), at + d * 4, key * 4)
            store_tile(acc, out + row * CHUNK * 4, CHUNK * 4)

        return scores

    return by_tiles(make, ROWS)


def _make_weigh(load, size):
    """Add to 16 columns of output rows the values weighed by the rows' probabilities, block by block."""

    def make(count):
        @helper
        def weigh(row, p, base, table, first, last, head_bytes, heads, value, column, out):
            at, weights = out + row * value * 4 + column * 4, p + row * CHUNK * 4
            acc = load_tile(count, at, value * 4)
            for b in range(first, last):
                values = base + get_i64(table + b * 8) * heads * head_bytes + column * size
                for slot in range(BLOCK):
                    weight = weights + ((b - first) * BLOCK + slot) * 4
                    acc = fma_tile(acc, load(values + slot * value * size), weight, CHUNK * 4)
            store_tile(acc, at, value * 4)

        return weigh

    return by_tiles(make, ROWS)


@helper
def _soften(scores, maxima, sums, out, rows, keys, from_position, group, position, value):
    """Scores of a chunk to probabilities under the new running maximum; earlier sums and outputs scaled to it."""
    for r in range(rows):
        visible = position + r // group + 1 - from_position
        s = scores + r * CHUNK * 4
        top = splat_f32(MASKED)
        for j in range(0, keys, 16):
            v = load_f32(s + j * 4)
            if j + 16 > visible:
                v = keep_below(v, visible - j, MASKED)
                store_f32(s + j * 4, v)
            top = maximum(top, v)
        old = get_f32(maxima + r * 4)
        new = max(old, reduce_max(top))
        set_f32(maxima + r * 4, new)
        shift, decay = splat_f32(new), exp(splat_f32(old - new))
        total = load_f32(sums + r * 64) * decay
        for j in range(0, keys, 16):
            p = exp(load_f32(s + j * 4) - shift)
            store_f32(s + j * 4, p)
            total = total + p
        store_f32(sums + r * 64, total)
        for d in range(0, value * 4, 64):
            store_f32(out + r * value * 4 + d, load_f32(out + r * value * 4 + d) * decay)


def _make_attention(load, size):
    all_scores, weigh = _make_scores(load, size), _make_weigh(load, size)

    @helper
    def tile(q, pool, table, scratch, rows, group, position, head, heads, key, value):
        """One KV head's query rows (token by token, `group` heads each) from `position` on; output in scratch."""
        head_bytes = BLOCK * (key + value) * size
        base = pool + head * head_bytes
        out, maxima = scratch, scratch + rows * value * 4
        sums = maxima + rows * 4
        scores = sums + rows * 64
        for i in range(0, rows * value * 4, 64):
            store_f32(out + i, splat_f32(f32(0)))
        for r in range(rows):
            set_f32(maxima + r * 4, MASKED)
            store_f32(sums + r * 64, splat_f32(f32(0)))
        last_position = position + (rows - 1) // group
        for start in range(0, last_position + 1, CHUNK):
            first, last = start // BLOCK, min(start + CHUNK, last_position + BLOCK) // BLOCK
            for b in range(first, last):
                keys = base + get_i64(table + b * 8) * heads * head_bytes
                for half in range(2):
                    at = scores + ((b - first) * BLOCK + half * 16) * 4
                    all_scores(0, rows, q, keys + half * key * 16 * size, key, at)
            _soften(scores, maxima, sums, out, rows, (last - first) * BLOCK, start, group, position, value)
            values = base + BLOCK * key * size
            for column in range(0, value, 16):
                weigh(0, rows, scores, values, table, first, last, head_bytes, heads, value, column, out)
        for r in range(rows):
            inverse = splat_f32(f32(1) / reduce_add(load_f32(sums + r * 64)))
            for d in range(0, value * 4, 64):
                store_f32(out + r * value * 4 + d, load_f32(out + r * value * 4 + d) * inverse)

    @helper
    def attention(
        thread, threads, q, out, pool, segments, scratch, scratch_bytes, q_heads, heads, key, value, q_stride,
        out_stride, scale, count,
    ):  # fmt: skip
        group = q_heads // heads
        tokens = max(1, ROWS_MANY // group)
        mine = scratch + thread * scratch_bytes
        factor = splat_f32(scale)
        item = 0
        for s in range(count):
            segment = segments + s * 32
            row, length, position = get_i64(segment), get_i64(segment + 8), get_i64(segment + 16)
            table = get_i64(segment + 24)
            for t in range(0, length, tokens):
                n = min(tokens, length - t)
                for head in range(heads):
                    item += 1
                    if item % threads != thread:
                        continue
                    for i in range(n):
                        source = q + (row + t + i) * q_stride + head * group * key * 4
                        for d in range(0, group * key * 4, 64):
                            store_f32(mine + i * group * key * 4 + d, load_f32(source + d) * factor)
                    made = mine + n * group * key * 4
                    tile(mine, pool, table, made, n * group, group, position + t, head, heads, key, value)
                    for i in range(n):
                        target = out + (row + t + i) * out_stride + head * group * value * 4
                        for d in range(0, group * value * 4, 64):
                            store_f32(target + d, load_f32(made + i * group * value * 4 + d))

    return attention


_attention_f16 = _make_attention(load_f16, 2)
_attention_f32 = _make_attention(load_f32, 4)


@kernel
def attention_f16(
    thread: int, threads: int, q: Address, out: Address, pool: Address, segments: Address, scratch: Address,
    scratch_bytes: Int, q_heads: Int, heads: Int, key: Int, value: Int, q_stride: Int, out_stride: Int, scale: Float,
    count: Live,
) -> None:  # fmt: skip
    """Causal attention of every row to its own sequence.

    segments: `count` quadruples of int64 (first row, rows, position of the first, address of the block table);
    scratch: for each thread `scratch_bytes`, at least 4 n (key + value + 273) for the n query rows of a tile,
    max(ROWS_MANY, q_heads / heads). Sizes in elements, strides in bytes.
    """
    _attention_f16(
        thread, threads, q, out, pool, segments, scratch, scratch_bytes, q_heads, heads, key, value, q_stride,
        out_stride, scale, count,
    )  # fmt: skip


@kernel
def attention_f32(
    thread: int, threads: int, q: Address, out: Address, pool: Address, segments: Address, scratch: Address,
    scratch_bytes: Int, q_heads: Int, heads: Int, key: Int, value: Int, q_stride: Int, out_stride: Int, scale: Float,
    count: Live,
) -> None:  # fmt: skip
    """As `attention_f16` over a float32 cache."""
    _attention_f32(
        thread, threads, q, out, pool, segments, scratch, scratch_bytes, q_heads, heads, key, value, q_stride,
        out_stride, scale, count,
    )  # fmt: skip
