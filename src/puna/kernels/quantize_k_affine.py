"""Quantising to Q2_K, Q4_K and Q5_K, x = d s level - dmin m: groups of 16 or 32 numbers with a scale s and a minimum m.

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
    LEVELS,
    LOW,
    LOW_LEVEL,
    NIBBLES,
    OFFSET,
    ONES,
    SCALE,
    SCALE_LEVEL,
    TILE,
    VECTOR,
    WEIGHT,
    WEIGHTS,
    WORDS,
    put_pairs,
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
    clamped,
    make_affine_search,
    make_positive_search,
    nearest,
)
from puna.simd import (
    absolute,
    field,
    less,
    load_f32,
    maximum,
    scatter_f16,
    scatter_i32,
    select,
    shift_left,
    splat_f32,
    splat_i32,
    square_root,
    store_f32,
    store_i32,
    through_f16,
    truncate,
    unlike,
)

f32 = np.float32
BLOCK = 256


@helper
def _largest(x, n):
    largest = splat_f32(f32(0))
    for i in range(n):
        largest = maximum(load_f32(x + i * VECTOR), largest)
    return largest


@helper
def _weigh_by_magnitude(x, weights, n):
    for i in range(n):
        store_f32(weights + i * VECTOR, absolute(load_f32(x + i * VECTOR)))


@helper
def _weigh_by_typical(x, weights, n):
    """A number's magnitude, and that of a typical one of its group."""
    typical = square_root(sum_of_squares(x, n) / splat_f32(f32(n)))
    for i in range(n):
        store_f32(weights + i * VECTOR, typical + absolute(load_f32(x + i * VECTOR)))


@helper
def _round_scales(values, levels, n, most):
    """Levels 0 to `most` of n positive numbers; gives the unit, of which the largest is `most`."""
    zero, top = splat_f32(f32(0)), splat_f32(most)
    largest = _largest(values, n)
    inverse = select(less(zero, largest), top / largest, zero)
    for i in range(n):
        level = clamped(nearest(inverse * load_f32(values + i * VECTOR)), f32(0), most)
        store_f32(levels + i * VECTOR, level)
    return largest / top


def _make_affine(
    size: int, highest: int, most: int, put: Any, *, weights: Any, search: tuple[float, float, int]
) -> Any:
    """Groups of `size`, levels to `highest`, s and m to `most`; unweighted, as in the _ref functions."""
    groups, mad = BLOCK // size, highest == 3
    find = make_affine_search(size, highest, *search, magnitudes=mad)
    finish = _make_affine_levels(size, highest)

    @helper
    def encode(own, target):
        for g in range(groups):
            x, at = own + TILE + g * size * VECTOR, own + g * VECTOR
            weights(x, own + WEIGHTS, size)
            scale, low, factor, offset = find(x, own + WEIGHTS, own + LEVELS)
            store_f32(at + SCALE, scale)
            store_f32(at + LOW, low)
            store_f32(at + FACTOR, factor)
            store_f32(at + OFFSET, offset)
        d = _round_scales(own + SCALE, own + SCALE_LEVEL, groups, f32(most))
        dmin = _round_scales(own + LOW, own + LOW_LEVEL, groups, f32(most))
        finish(own, d, dmin)
        put(own, target, d, dmin)

    return encode


def _make_affine_weighted(size: int, highest: int, most: int, put: Any, *, spread: float) -> Any:
    """By the columns' importance; `spread` times the mean square is added to each number's."""
    groups = BLOCK // size
    find = make_affine_search(size, highest, -0.9, 0.05, 36, magnitudes=False)
    fit_scales = make_positive_search(groups, most)
    finish = _make_affine_levels(size, highest)

    @helper
    def encode(own, target):
        mean = splat_f32(f32(spread)) * sum_of_squares(own + TILE, BLOCK) / splat_f32(f32(BLOCK))
        for g in range(groups):
            x, at = own + TILE + g * size * VECTOR, own + g * VECTOR
            weigh(x, own + COLUMNS + g * size * VECTOR, own + WEIGHTS, size, mean)
            store_f32(at + WEIGHT, total_of(own + WEIGHTS, size))
            scale, low, factor, offset = find(x, own + WEIGHTS, own + LEVELS)
            store_f32(at + SCALE, scale)
            store_f32(at + LOW, low)
            store_f32(at + FACTOR, factor)
            store_f32(at + OFFSET, offset)
        d = fit_scales(own + SCALE, own + WEIGHT, own + SCALE_LEVEL)
        dmin = fit_scales(own + LOW, own + WEIGHT, own + LOW_LEVEL)
        finish(own, d, dmin)
        put(own, target, d, dmin)

    return encode


def _make_affine_levels(size: int, highest: int) -> Any:
    """The levels under the scales as they are stored; those of the search where a scale has become 0."""
    groups = BLOCK // size

    @helper
    def finish(own, d, dmin):
        zero = splat_f32(f32(0))
        for g in range(groups):
            at, x = own + g * VECTOR, own + TILE + g * size * VECTOR
            scale = through_f16(d) * load_f32(at + SCALE_LEVEL)
            low = through_f16(dmin) * load_f32(at + LOW_LEVEL)
            factor, offset = load_f32(at + FACTOR), load_f32(at + OFFSET)
            for i in range(size):
                v = load_f32(x + i * VECTOR)
                units = select(unlike(scale, zero), (v + low) / scale, factor * (v - offset))
                store_i32(x + i * VECTOR, truncate(clamped(nearest(units), f32(0), f32(highest))))
        put_words(own + TILE, own + WORDS, BLOCK // 4)

    return finish


@helper
def _put_q2_k(own, target, d, dmin):
    for j in range(4):
        packed = splat_i32(0)
        for i in range(4):
            s, m = scale_level(own + SCALE_LEVEL, 4 * j + i), scale_level(own + LOW_LEVEL, 4 * j + i)
            packed = packed | shift_left(s | shift_left(m, 4), 8 * i)
        scatter_i32(target + j * 4, 84, packed)
    put_pairs(own + WORDS, target + 16, 84)
    scatter_f16(target + 80, 84, d)
    scatter_f16(target + 82, 84, dmin)


@helper
def _put_scales_and_minima(own, target, size):
    """6 bits of 8 s and m: s[0:4], then m[0:4], above them the upper two of the others, whose nibbles are last."""
    first = second = third = splat_i32(0)
    for i in range(4):
        s, m = scale_level(own + SCALE_LEVEL, i), scale_level(own + LOW_LEVEL, i)
        other_s, other_m = scale_level(own + SCALE_LEVEL, 4 + i), scale_level(own + LOW_LEVEL, 4 + i)
        first = first | shift_left(s | shift_left(field(other_s, 4, 3), 6), 8 * i)
        second = second | shift_left(m | shift_left(field(other_m, 4, 3), 6), 8 * i)
        nibbles = field(other_s, 0, 15) | shift_left(field(other_m, 0, 15), 4)
        third = third | shift_left(nibbles, 8 * i)
    scatter_i32(target, size, first)
    scatter_i32(target + 4, size, second)
    scatter_i32(target + 8, size, third)


@helper
def _put_q4_k(own, target, d, dmin):
    scatter_f16(target, 144, d)
    scatter_f16(target + 2, 144, dmin)
    _put_scales_and_minima(own, target + 4, 144)
    for k in range(4):
        for j in range(8):
            low, high = word(own + WORDS, 16 * k + j), word(own + WORDS, 16 * k + 8 + j)
            scatter_i32(target + 16 + k * 32 + j * 4, 144, low | shift_left(high, 4))


@helper
def _put_q5_k(own, target, d, dmin):
    scatter_f16(target, 176, d)
    scatter_f16(target + 2, 176, dmin)
    _put_scales_and_minima(own, target + 4, 176)
    for j in range(8):
        bits = field(word(own + WORDS, j), 4, ONES)
        for k in range(1, 8):
            bits = bits | shift_left(field(word(own + WORDS, 8 * k + j), 4, ONES), k)
        scatter_i32(target + 16 + j * 4, 176, bits)
    for k in range(4):
        for j in range(8):
            low, high = word(own + WORDS, 16 * k + j), word(own + WORDS, 16 * k + 8 + j)
            nibbles = field(low, 0, NIBBLES) | shift_left(field(high, 0, NIBBLES), 4)
            scatter_i32(target + 48 + k * 32 + j * 4, 176, nibbles)


register_quantizer(
    "q2_k", BLOCK, 84,
    _make_affine(16, 3, 15, _put_q2_k, weights=_weigh_by_magnitude, search=(-0.5, 0.1, 15)),
)  # fmt: skip
register_quantizer(
    "q4_k", BLOCK, 144,
    _make_affine(32, 15, 63, _put_q4_k, weights=_weigh_by_typical, search=(-1.0, 0.1, 20)),
)  # fmt: skip
register_quantizer(
    "q5_k", BLOCK, 176,
    _make_affine(32, 31, 63, _put_q5_k, weights=_weigh_by_typical, search=(-0.5, 0.1, 15)),
)  # fmt: skip
register_weighted_quantizer("q2_k", BLOCK, 84, _make_affine_weighted(16, 3, 15, _put_q2_k, spread=1))
register_weighted_quantizer("q4_k", BLOCK, 144, _make_affine_weighted(32, 15, 63, _put_q4_k, spread=2))
register_weighted_quantizer("q5_k", BLOCK, 176, _make_affine_weighted(32, 31, 63, _put_q5_k, spread=2))
