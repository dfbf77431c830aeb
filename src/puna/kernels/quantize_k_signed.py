"""Quantising to Q3_K and Q6_K, x = d s level: 16 groups of 16 numbers with a scale s, and levels of both signs.

After ggml-quants.c: quantize_row_*_ref, and quantize_row_*_impl for columns that count by their importance. Layouts of
blocks: ggml-common.h.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from puna.kernels.kernel import helper
from puna.kernels.quantizing import (
    COLUMNS,
    FACTOR,
    NIBBLES,
    ONES,
    PAIRS,
    PRODUCTS,
    SCALE,
    SCALE_LEVEL,
    TILE,
    VECTOR,
    WEIGHT,
    WEIGHTED_SCALE,
    WEIGHTS,
    WORDS,
    multiply,
    put_words,
    register_quantizer,
    register_weighted_quantizer,
    scale_level,
    sum_of_squares,
    total_of,
    weigh,
    word,
)
from puna.kernels.scale_search import (
    EMPTY,
    clamped,
    extreme,
    make_descent,
    make_signed_search,
    nearest,
)
from puna.simd import (
    field,
    less,
    load_f32,
    minimum,
    scatter_f16,
    scatter_i32,
    select,
    shift_left,
    splat_f32,
    splat_i32,
    store_f32,
    store_i32,
    through_f16,
    truncate,
    unlike,
)

f32 = np.float32
BLOCK = 256


def _make_signed_levels(half: int) -> Any:
    """Levels + half under the stored d and the scales' levels; those of the search where the product is 0.

    The search's: of factor x; where it is NaN, 0.
    """

    @helper
    def finish(own, d):
        zero = splat_f32(f32(0))
        for g in range(16):
            at, x = own + g * VECTOR, own + TILE + g * 16 * VECTOR
            scale, factor = through_f16(d) * load_f32(at + SCALE_LEVEL), load_f32(at + FACTOR)
            for i in range(16):
                v = load_f32(x + i * VECTOR)
                units = select(unlike(scale, zero), v / scale, factor * v)
                level = clamped(nearest(units), f32(-half), f32(half - 1)) + splat_f32(f32(half))
                store_i32(x + i * VECTOR, truncate(level))
        put_words(own + TILE, own + WORDS, BLOCK // 4)

    return finish


@helper
def _put_q3_k(own, target, d):
    """Scale levels are -32 to 31."""
    for j in range(8):
        bits = field(word(own + WORDS, j), 2, ONES)
        for k in range(1, 8):
            bits = bits | shift_left(field(word(own + WORDS, 8 * k + j), 2, ONES), k)
        scatter_i32(target + j * 4, 110, bits)
    for half in range(2):
        for j in range(8):
            at = half * 32 + j
            pairs = field(word(own + WORDS, at), 0, PAIRS)
            for k in range(1, 4):
                pairs = pairs | shift_left(field(word(own + WORDS, at + 8 * k), 0, PAIRS), 2 * k)
            scatter_i32(target + 32 + half * 32 + j * 4, 110, pairs)
    _put_six_bits(own, target + 96)
    scatter_f16(target + 108, 110, d)


@helper
def _six_bits(own, i):
    return truncate(load_f32(own + SCALE_LEVEL + i * VECTOR) + splat_f32(f32(32)))


@helper
def _put_six_bits(own, target):
    """16 scales: 8 bytes of low nibbles, i and i + 8 together, then 4 of the upper pairs of bits, 4 apart."""
    for j in range(2):
        packed = splat_i32(0)
        for i in range(4):
            low, high = _six_bits(own, 4 * j + i), _six_bits(own, 8 + 4 * j + i)
            packed = packed | shift_left(field(low, 0, 15) | shift_left(field(high, 0, 15), 4), 8 * i)
        scatter_i32(target + j * 4, 110, packed)
    packed = splat_i32(0)
    for i in range(4):
        for k in range(4):
            packed = packed | shift_left(field(_six_bits(own, 4 * k + i), 4, 3), 8 * i + 2 * k)
    scatter_i32(target + 8, 110, packed)


def _make_q3_k() -> Any:
    search = make_descent(16, 4)

    @helper
    def encode(own, target):
        zero = splat_f32(f32(0))
        for g in range(16):
            x = own + TILE + g * 16 * VECTOR
            store_f32(own + SCALE + g * VECTOR, search(x, own + COLUMNS + g * 16 * VECTOR))
        _, scale = extreme(own + SCALE, 16)
        is_set = unlike(scale, zero)
        inverse = splat_f32(f32(-32)) / scale
        d = select(is_set, splat_f32(f32(1)) / inverse, zero)
        for g in range(16):
            level = clamped(nearest(inverse * load_f32(own + SCALE + g * VECTOR)), f32(-32), f32(31))
            store_f32(own + SCALE_LEVEL + g * VECTOR, select(is_set, level, splat_f32(f32(-32))))
        _finish_q3_k(own, d)
        _put_q3_k(own, target, d)

    return encode


@helper
def _finish_q3_k(own, d):
    """Where a scale is 0 the levels are those that the descent has left in place of the columns' importance."""
    zero, half = splat_f32(f32(0)), splat_f32(f32(4))
    for g in range(16):
        scale = through_f16(d) * load_f32(own + SCALE_LEVEL + g * VECTOR)
        for i in range(g * 16, (g + 1) * 16):
            at = own + TILE + i * VECTOR
            level = clamped(nearest(load_f32(at) / scale), f32(-4), f32(3))
            level = select(unlike(scale, zero), level, load_f32(own + COLUMNS + i * VECTOR))
            store_i32(at, truncate(level + half))
    put_words(own + TILE, own + WORDS, BLOCK // 4)


def _make_q3_k_weighted() -> Any:
    search, fit_scales, finish = make_signed_search(16, 4), make_signed_search(16, 32), _make_signed_levels(4)

    @helper
    def encode(own, target):
        mean = splat_f32(f32(2)) * sum_of_squares(own + TILE, BLOCK) / splat_f32(f32(BLOCK))
        for g in range(16):
            x, at = own + TILE + g * 16 * VECTOR, own + g * VECTOR
            weigh(x, own + COLUMNS + g * 16 * VECTOR, own + WEIGHTS, 16, mean)
            store_f32(at + WEIGHT, total_of(own + WEIGHTS, 16))
            multiply(x, own + WEIGHTS, own + PRODUCTS, 16)
            scale, factor = search(x, own + WEIGHTS, own + PRODUCTS)
            store_f32(at + SCALE, scale)
            store_f32(at + FACTOR, factor)
        multiply(own + SCALE, own + WEIGHT, own + WEIGHTED_SCALE, 16)
        d, factor = fit_scales(own + SCALE, own + WEIGHT, own + WEIGHTED_SCALE)
        for g in range(16):
            level = clamped(nearest(factor * load_f32(own + SCALE + g * VECTOR)), f32(-32), f32(31))
            store_f32(own + SCALE_LEVEL + g * VECTOR, level)
        finish(own, d)
        _put_q3_k(own, target, d)

    return encode


@helper
def _put_q6_k(own, target, d):
    for half in range(2):
        for j in range(16):
            low, high = word(own + WORDS, 32 * half + j), word(own + WORDS, 32 * half + 16 + j)
            nibbles = field(low, 0, NIBBLES) | shift_left(field(high, 0, NIBBLES), 4)
            scatter_i32(target + half * 64 + j * 4, 210, nibbles)
        for j in range(8):
            pairs = field(word(own + WORDS, 32 * half + j), 4, PAIRS)
            for k in range(1, 4):
                pairs = pairs | shift_left(field(word(own + WORDS, 32 * half + 8 * k + j), 4, PAIRS), 2 * k)
            scatter_i32(target + 128 + half * 32 + j * 4, 210, pairs)
    for j in range(4):
        packed = field(scale_level(own + SCALE_LEVEL, 4 * j), 0, 255)
        for i in range(1, 4):
            packed = packed | shift_left(field(scale_level(own + SCALE_LEVEL, 4 * j + i), 0, 255), 8 * i)
        scatter_i32(target + 192 + j * 4, 210, packed)
    scatter_f16(target + 208, 210, d)


def _make_q6_k(*, weighted: bool) -> Any:
    search, finish = make_signed_search(16, 32), _make_signed_levels(32)

    @helper
    def find(own, x, columns):
        if weighted:
            multiply(x, columns, own + PRODUCTS, 16)
            return search(x, columns, own + PRODUCTS)
        multiply(x, x, own + WEIGHTS, 16)
        multiply(x, own + WEIGHTS, own + PRODUCTS, 16)
        return search(x, own + WEIGHTS, own + PRODUCTS)

    @helper
    def encode(own, target):
        zero = splat_f32(f32(0))
        for g in range(16):
            scale, factor = find(own, own + TILE + g * 16 * VECTOR, own + COLUMNS + g * 16 * VECTOR)
            store_f32(own + SCALE + g * VECTOR, scale)
            store_f32(own + FACTOR + g * VECTOR, factor)
        largest, top = extreme(own + SCALE, 16)
        is_empty = less(largest, splat_f32(EMPTY))
        inverse = splat_f32(f32(-128)) / top
        d = select(is_empty, zero, splat_f32(f32(1)) / inverse)
        for g in range(16):
            at = own + g * VECTOR
            level = minimum(nearest(inverse * load_f32(at + SCALE)), splat_f32(f32(127)))
            store_f32(at + SCALE_LEVEL, select(is_empty, zero, level))
            store_f32(at + FACTOR, select(is_empty, splat_f32(f32(np.nan)), load_f32(at + FACTOR)))
        finish(own, d)
        _put_q6_k(own, target, d)

    return encode


register_quantizer("q3_k", BLOCK, 110, _make_q3_k())
register_quantizer("q6_k", BLOCK, 210, _make_q6_k(weighted=False))
register_weighted_quantizer("q3_k", BLOCK, 110, _make_q3_k_weighted())
register_weighted_quantizer("q6_k", BLOCK, 210, _make_q6_k(weighted=True))
