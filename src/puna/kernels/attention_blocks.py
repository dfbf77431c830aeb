"""Blocks of the KV cache: how keys and values are stored in them, and read back as float32.

A block holds 32 positions of one layer: for each KV head, keys as two groups of 16 positions in lanes
([2][key][16]), then values row by row ([32][value]). A q8_0 block has a float32 scale for each 32 int8: for keys
[2][key / 32] groups of 16 scales and [32][16] int8, for values [32][value / 32] groups of a scale and 32 int8.
Knows nothing of sequences but the address of each row's block table.
"""

from __future__ import annotations

import numpy as np

from puna.kernels.attention_sizes import BLOCK
from puna.kernels.kernel import Address, Int, Live, helper, kernel_of
from puna.simd import (
    absolute,
    get_f32,
    get_i64,
    load_bytes,
    load_f16,
    load_f32,
    maximum,
    minimum,
    reduce_max,
    round_to_i32,
    scatter_bytes,
    scatter_f16,
    scatter_f32,
    set_f32,
    splat_f32,
    store_bytes,
    store_f16,
    store_f32,
)

f32 = np.float32
LARGEST = f32(1e30)


@helper
def _finite(v):
    """NaN and infinities to finite numbers: 0 times what a freed block holds must be 0 for its next owner."""
    return minimum(maximum(v, splat_f32(-LARGEST)), splat_f32(LARGEST))


# --- bytes of a block's keys of one head, and of its values: by type ---------------------------------


@helper
def bytes_f16(numbers):
    """Of so many numbers."""
    return numbers * 2


@helper
def bytes_q8_0(numbers):
    """Of so many numbers: 36 for 32."""
    return numbers // 32 * 36


@helper
def bytes_f32(numbers):
    """Of so many numbers."""
    return numbers * 4


# --- storing one position of one head ----------------------------------------------------------------


@helper
def _keys_f16(k, keys, slot, key):
    for d in range(0, key, 16):
        scatter_f16(keys + (slot // 16 * key + d) * 32 + slot % 16 * 2, 32, load_f32(k + d * 4))


@helper
def _values_f16(v, values, slot, value):
    for d in range(0, value, 16):
        store_f16(values + (slot * value + d) * 2, load_f32(v + d * 4))


@helper
def _keys_f32(k, keys, slot, key):
    for d in range(0, key, 16):
        scatter_f32(keys + (slot // 16 * key + d) * 64 + slot % 16 * 4, 64, _finite(load_f32(k + d * 4)))


@helper
def _values_f32(v, values, slot, value):
    for d in range(0, value, 16):
        store_f32(values + (slot * value + d) * 4, _finite(load_f32(v + d * 4)))


@helper
def _scale_q8_0(low, high):
    """What 127 stands for, divided by 127; and its inverse, 0 for zeros."""
    largest = reduce_max(maximum(absolute(low), absolute(high)))
    return largest / f32(127), f32(127) / largest if largest > f32(1e-30) else f32(0)


@helper
def _keys_q8_0(k, keys, slot, key):
    for d in range(0, key, 32):
        low, high = _finite(load_f32(k + d * 4)), _finite(load_f32(k + d * 4 + 64))
        scale, inverse = _scale_q8_0(low, high)
        group = keys + (slot // 16 * (key // 32) + d // 32) * 576 + slot % 16 * 4
        set_f32(group, scale)
        ints = group - slot % 16 * 4 + 64 + slot % 16
        scatter_bytes(ints, 16, round_to_i32(low * splat_f32(inverse)))
        scatter_bytes(ints + 256, 16, round_to_i32(high * splat_f32(inverse)))


@helper
def _values_q8_0(v, values, slot, value):
    for d in range(0, value, 32):
        low, high = _finite(load_f32(v + d * 4)), _finite(load_f32(v + d * 4 + 64))
        scale, inverse = _scale_q8_0(low, high)
        group = values + (slot * value + d) // 32 * 36
        set_f32(group, scale)
        store_bytes(group + 4, round_to_i32(low * splat_f32(inverse)))
        store_bytes(group + 20, round_to_i32(high * splat_f32(inverse)))


def _make_store(store_keys, store_values, size):
    @helper
    def write(thread, threads, k, v, pool, positions, tables, heads, key, value, k_stride, v_stride, rows):
        key_bytes, value_bytes = size(BLOCK * key), size(BLOCK * value)
        for row in range(rows * thread // threads, rows * (thread + 1) // threads):
            position = get_i64(positions + row * 8)
            block = get_i64(get_i64(tables + row * 8) + position // BLOCK * 8)
            slot = position % BLOCK
            for head in range(heads):
                keys = pool + (block * heads + head) * (key_bytes + value_bytes)
                store_keys(k + row * k_stride + head * key * 4, keys, slot, key)
                store_values(v + row * v_stride + head * value * 4, keys + key_bytes, slot, value)

    return write


_store_f16 = _make_store(_keys_f16, _values_f16, bytes_f16)
_store_q8_0 = _make_store(_keys_q8_0, _values_q8_0, bytes_q8_0)
_store_f32 = _make_store(_keys_f32, _values_f32, bytes_f32)


# --- reading the block of one head as float32, in the order of an f32 block --------------------------


@helper
def unpack_f16(source, target, key, value):
    """Widened."""
    for i in range(0, BLOCK * (key + value), 16):
        store_f32(target + i * 4, load_f16(source + i * 2))


@helper
def unpack_q8_0(source, target, key, value):
    """Integers times their scales."""
    for group in range(2 * (key // 32)):
        at = source + group * 576
        scales = load_f32(at)
        for d in range(32):
            store_f32(target + (group * 32 + d) * 64, load_bytes(at + 64 + d * 16) * scales)
    source, target = source + bytes_q8_0(BLOCK * key), target + BLOCK * key * 4
    for group in range(value):
        at = source + group * 36
        scale = splat_f32(get_f32(at))
        store_f32(target + group * 128, load_bytes(at + 4) * scale)
        store_f32(target + group * 128 + 64, load_bytes(at + 20) * scale)


@kernel_of("attention_f16")
def store_kv_f16(
    thread: int, threads: int, k: Address, v: Address, pool: Address, positions: Address, tables: Address, heads: Int,
    key: Int, value: Int, k_stride: Int, v_stride: Int, rows: Live,
) -> None:  # fmt: skip
    """Keys and values of each row into the block of its position; tables: the address of each row's block table."""
    _store_f16(thread, threads, k, v, pool, positions, tables, heads, key, value, k_stride, v_stride, rows)


@kernel_of("attention_q8_0")
def store_kv_q8_0(
    thread: int, threads: int, k: Address, v: Address, pool: Address, positions: Address, tables: Address, heads: Int,
    key: Int, value: Int, k_stride: Int, v_stride: Int, rows: Live,
) -> None:  # fmt: skip
    """As `store_kv_f16`, rounded to 127 steps of the largest of 32 neighbours; key and value multiples of 32."""
    _store_q8_0(thread, threads, k, v, pool, positions, tables, heads, key, value, k_stride, v_stride, rows)


@kernel_of("attention_f32")
def store_kv_f32(
    thread: int, threads: int, k: Address, v: Address, pool: Address, positions: Address, tables: Address, heads: Int,
    key: Int, value: Int, k_stride: Int, v_stride: Int, rows: Live,
) -> None:  # fmt: skip
    """As `store_kv_f16`, without rounding."""
    _store_f32(thread, threads, k, v, pool, positions, tables, heads, key, value, k_stride, v_stride, rows)
