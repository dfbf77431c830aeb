"""Quantising to the types with one scale to a block: Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, MXFP4, TQ1_0 and TQ2_0.

Formulas: ggml-quants.c's reference ones; by importance, its searches. Layouts of blocks: ggml-common.h.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from puna.kernels.kernel import helper
from puna.kernels.quantizing import (
    COLUMNS,
    LEVELS,
    MEANS,
    NIBBLES,
    ONES,
    PRODUCTS,
    TILE,
    VECTOR,
    WEIGHTS,
    WORDS,
    multiply,
    put_nibbles,
    put_pairs,
    put_words,
    register_quantizer,
    register_weighted_quantizer,
    weigh,
    word,
)
from puna.kernels.scale_search import clamped, extreme, inverse_of, make_affine_search, make_signed_search, nearest
from puna.simd import (
    absolute,
    field,
    float_bits,
    from_bits,
    less,
    load_f32,
    maximum,
    minimum,
    scatter_bytes,
    scatter_f16,
    scatter_i32,
    select,
    shift_left,
    splat_f32,
    store_i32,
    to_f32,
    truncate,
)

f32 = np.float32


@helper
def _round_away(v):
    """The nearest integer, halves away from zero (C's roundf)."""
    whole = to_f32(truncate(absolute(v)))
    part = absolute(v) - whole
    rounded = select(less(part, splat_f32(f32(0.5))), whole, whole + splat_f32(f32(1)))
    return select(less(v, splat_f32(f32(0))), splat_f32(f32(0)) - rounded, rounded)


# --- levels to blocks ---------------------------------------------------------------------------------


@helper
def _fifth_bits(words, j):
    """Those of columns 4j to 4j + 3, as 4 bits."""
    v = field(word(words, j), 4, ONES)
    return field(v | field(v, 7, 2) | field(v, 14, 4) | field(v, 21, 8), 0, 15)


@helper
def _put_five(words, target, size):
    """32 fifth bits in the order of columns, then nibbles."""
    bits = _fifth_bits(words, 0)
    for j in range(1, 8):
        bits = bits | shift_left(_fifth_bits(words, j), 4 * j)
    scatter_i32(target, size, bits)
    for j in range(4):
        low, high = field(word(words, j), 0, NIBBLES), field(word(words, j + 4), 0, NIBBLES)
        scatter_i32(target + 4 + j * 4, size, low | shift_left(high, 4))


@helper
def _put_bytes(words, target, size):
    for j in range(8):
        scatter_i32(target + j * 4, size, word(words, j))


# --- blocks of 32 -------------------------------------------------------------------------------------


def _encode_signed(half: int, size: int, put: Any) -> Any:
    """The number of largest magnitude becomes -half."""

    @helper
    def encode(own, target):
        x = own + TILE
        _, number = extreme(x, 32)
        d = number / splat_f32(f32(-half))
        inverse = inverse_of(d)
        for i in range(32):
            level = load_f32(x + i * VECTOR) * inverse + splat_f32(f32(half + 0.5))
            store_i32(x + i * VECTOR, truncate(clamped(level, f32(0), f32(2 * half - 1))))
        put_words(x, own + WORDS, 8)
        scatter_f16(target, size, d)
        put(own + WORDS, target + 2, size)

    return encode


def _encode_affine(highest: int, size: int, put: Any) -> Any:
    """The smallest number becomes 0, the largest `highest`."""

    @helper
    def encode(own, target):
        x = own + TILE
        low = high = load_f32(x)
        for i in range(1, 32):
            v = load_f32(x + i * VECTOR)
            low, high = minimum(v, low), maximum(v, high)
        d = (high - low) / splat_f32(f32(highest))
        inverse = inverse_of(d)
        for i in range(32):
            level = (load_f32(x + i * VECTOR) - low) * inverse + splat_f32(f32(0.5))
            store_i32(x + i * VECTOR, truncate(clamped(level, f32(0), f32(highest))))
        put_words(x, own + WORDS, 8)
        scatter_f16(target, size, d)
        scatter_f16(target + 2, size, low)
        put(own + WORDS, target + 4, size)

    return encode


@helper
def _encode_q8_0(own, target):
    """The largest magnitude becomes 127."""
    x = own + TILE
    largest, _ = extreme(x, 32)
    d = largest / splat_f32(f32(127))
    inverse = inverse_of(d)
    for i in range(32):
        level = clamped(_round_away(load_f32(x + i * VECTOR) * inverse), f32(-127), f32(127))
        store_i32(x + i * VECTOR, field(truncate(level), 0, 255))
    put_words(x, own + WORDS, 8)
    scatter_f16(target, 34, d)
    _put_bytes(own + WORDS, target + 2, 34)


def _encode_signed_weighted(half: int, size: int, put: Any) -> Any:
    search = make_signed_search(32, half)

    @helper
    def encode(own, target):
        x = own + TILE
        weigh(x, own + COLUMNS, own + WEIGHTS, 32, load_f32(own + MEANS))
        multiply(x, own + WEIGHTS, own + PRODUCTS, 32)
        d, factor = search(x, own + WEIGHTS, own + PRODUCTS)
        for i in range(32):
            level = clamped(nearest(factor * load_f32(x + i * VECTOR)), f32(-half), f32(half - 1))
            store_i32(x + i * VECTOR, truncate(level + splat_f32(f32(half))))
        put_words(x, own + WORDS, 8)
        scatter_f16(target, size, d)
        put(own + WORDS, target + 2, size)

    return encode


def _encode_affine_weighted(highest: int, size: int, put: Any) -> Any:
    search = make_affine_search(32, highest, -0.9, 0.05, 36, magnitudes=False)

    @helper
    def encode(own, target):
        x = own + TILE
        weigh(x, own + COLUMNS, own + WEIGHTS, 32, load_f32(own + MEANS))
        d, minimum_, factor, offset = search(x, own + WEIGHTS, own + LEVELS)
        for i in range(32):
            level = clamped(nearest(factor * (load_f32(x + i * VECTOR) - offset)), f32(0), f32(highest))
            store_i32(x + i * VECTOR, truncate(level))
        put_words(x, own + WORDS, 8)
        scatter_f16(target, size, d)
        scatter_f16(target + 2, size, splat_f32(f32(0)) - minimum_)
        put(own + WORDS, target + 4, size)

    return encode


# --- MXFP4: a power of two and 4-bit floats -----------------------------------------------------------

_MXFP4_LEVELS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)  # doubled; the scale is halved in turn


@helper
def _floor_log2(v):
    """C's floorf(log2f(v)) of positive numbers; -127 for 0.

    Just below a power of two, 2**k, log2f rounds to k: as many steps of v below it as half the distance from k to the
    float below it in magnitude takes, times ln 2.
    """
    bits, half = float_bits(v), splat_f32(f32(0.5))
    above = to_f32(field(bits, 23, 255)) - splat_f32(f32(126))
    steps = splat_f32(f32(1 << 23)) - to_f32(field(bits, 0, 0x7FFFFF))
    apart = select(less(splat_f32(f32(0)), above), above - half, absolute(above))
    power = from_bits(shift_left(field(float_bits(apart), 23, 255), 23))
    rounds_up = less(steps, power * splat_f32(f32(0.6931472)))
    return select(rounds_up, above, above - splat_f32(f32(1)))


@helper
def _encode_mxfp4(own, target):
    """The scale puts the largest magnitude between 4 and 8; every number goes to the nearest level."""
    x, zero = own + TILE, splat_f32(f32(0))
    largest, _ = extreme(x, 32)
    exponent = maximum(_floor_log2(largest) + splat_f32(f32(125)), zero)
    unit = from_bits(shift_left(truncate(exponent), 23)) * splat_f32(f32(0.5))
    for i in range(32):
        v = load_f32(x + i * VECTOR)
        least, index = absolute(v), zero
        for level in range(1, 8):
            distance = absolute(splat_f32(f32(_MXFP4_LEVELS[level])) * unit - absolute(v))
            is_nearer = less(distance, least)
            least = select(is_nearer, distance, least)
            index = select(is_nearer, splat_f32(f32(level)), index)
        is_negative = less(v, zero) & less(zero, index)
        store_i32(x + i * VECTOR, truncate(select(is_negative, index + splat_f32(f32(8)), index)))
    put_words(x, own + WORDS, 8)
    scatter_bytes(target, 17, truncate(exponent))
    put_nibbles(own + WORDS, target + 1, 17)


# --- blocks of 256: three values ----------------------------------------------------------------------


@helper
def _ternary(x):
    """The scale, which is the largest magnitude; the numbers become 0, 1 and 2, as floats, for -1, 0 and 1 times it."""
    largest, _ = extreme(x, 256)
    inverse = inverse_of(largest)
    for i in range(256):
        v = clamped(_round_away(load_f32(x + i * VECTOR) * inverse), f32(-1), f32(1))
        store_i32(x + i * VECTOR, truncate(v + splat_f32(f32(1))))
    return largest


@helper
def _encode_tq2_0(own, target):
    d = _ternary(own + TILE)
    put_words(own + TILE, own + WORDS, 64)
    put_pairs(own + WORDS, target, 66)
    scatter_f16(target + 64, 66, d)


@helper
def _base_three(x, step, digits):
    """`digits` levels, `step` columns apart, as the fraction 0.abcde in base 3, times 256 and rounded up."""
    number = to_f32(word(x, 0))
    for k in range(1, 5):
        number = number * splat_f32(f32(3))
        if k < digits:
            number = number + to_f32(word(x, k * step))
    return truncate((number * splat_f32(f32(256)) + splat_f32(f32(242))) / splat_f32(f32(243)))


@helper
def _encode_tq1_0(own, target):
    x = own + TILE
    d = _ternary(x)
    for m in range(32):
        scatter_bytes(target + m, 54, _base_three(x + m * VECTOR, 32, 5))
    for m in range(16):
        scatter_bytes(target + 32 + m, 54, _base_three(x + (160 + m) * VECTOR, 16, 5))
    for m in range(4):
        scatter_bytes(target + 48 + m, 54, _base_three(x + (240 + m) * VECTOR, 4, 4))
    scatter_f16(target + 52, 54, d)


register_quantizer("q4_0", 32, 18, _encode_signed(8, 18, put_nibbles))
register_quantizer("q5_0", 32, 22, _encode_signed(16, 22, _put_five))
register_quantizer("q4_1", 32, 20, _encode_affine(15, 20, put_nibbles))
register_quantizer("q5_1", 32, 24, _encode_affine(31, 24, _put_five))
register_quantizer("q8_0", 32, 34, _encode_q8_0)
register_quantizer("mxfp4", 32, 17, _encode_mxfp4)
register_quantizer("tq1_0", 256, 54, _encode_tq1_0)
register_quantizer("tq2_0", 256, 66, _encode_tq2_0)
register_weighted_quantizer("q4_0", 32, 18, _encode_signed_weighted(8, 18, put_nibbles), means=True)
register_weighted_quantizer("q5_0", 32, 22, _encode_signed_weighted(16, 22, _put_five), means=True)
register_weighted_quantizer("q4_1", 32, 20, _encode_affine_weighted(15, 20, put_nibbles), means=True)
register_weighted_quantizer("q5_1", 32, 24, _encode_affine_weighted(31, 24, _put_five), means=True)
