"""Quantising to IQ4_NL and IQ4_XS: 16 levels that are not evenly spaced, and a scale to 32 numbers, searched for.

After quantize_row_iq4_nl_impl of ggml-quants.c. Layouts of blocks: ggml-common.h.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from puna.kernels.kernel import helper
from puna.kernels.layouts import IQ4_LEVELS
from puna.kernels.quantizing import (
    COLUMNS,
    SCALES,
    TILE,
    VECTOR,
    WEIGHTS,
    WORDS,
    multiply,
    put_nibbles,
    put_words,
    register_quantizer,
    register_weighted_quantizer,
    sum_of_squares,
    weigh,
)
from puna.kernels.scale_search import EMPTY, clamped, extreme, inverse_of, nearest
from puna.simd import (
    field,
    less,
    load_f32,
    scatter_f16,
    scatter_i16,
    scatter_i32,
    select,
    shift_left,
    splat_f32,
    store_f32,
    store_i32,
    truncate,
)

f32 = np.float32
GROUP, TRIES = 32, 7
STEP = SCALES + 8 * VECTOR  # the scales, quantised, as floats from -32 to 31

_LEVELS = tuple(f32(level) for level in IQ4_LEVELS)
_BORDERS = tuple(f32((low + high) / 2) for low, high in pairwise(IQ4_LEVELS))


@helper
def _nearest_level(v):
    level = splat_f32(_LEVELS[0])
    for i in range(15):
        level = select(less(v, splat_f32(_BORDERS[i])), level, splat_f32(_LEVELS[i + 1]))
    return level


@helper
def _nearest_index(v):
    index = splat_f32(f32(0))
    for i in range(15):
        index = select(less(v, splat_f32(_BORDERS[i])), index, splat_f32(f32(i + 1)))
    return index


@helper
def _sums(x, weights, inverse):
    zero = splat_f32(f32(0))
    xs, squares = zero, zero
    for i in range(GROUP):
        level, weight = _nearest_level(inverse * load_f32(x + i * VECTOR)), load_f32(weights + i * VECTOR)
        xs = xs + weight * level * load_f32(x + i * VECTOR)
        squares = squares + weight * level * level
    return xs, squares


@helper
def _search(x, weights):
    """The scale of 32 numbers; 0 where there are none."""
    zero = splat_f32(f32(0))
    largest, number = extreme(x, GROUP)
    start = splat_f32(f32(1)) / ((zero - number) / splat_f32(_LEVELS[0]))
    xs, squares = _sums(x, weights, start)
    scale = select(less(zero, squares), xs / squares, zero)
    best = scale * xs
    for step in range(-TRIES, TRIES + 1):
        inverse = splat_f32(f32(step) + _LEVELS[0]) / number
        xs, squares = _sums(x, weights, inverse)
        is_better = less(zero, squares) & less(best * squares, xs * xs)
        scale = select(is_better, xs / squares, scale)
        best = select(is_better, scale * xs, best)
    return select(less(largest, splat_f32(EMPTY)), zero, scale)


def _make_search(groups: int, *, weighted: bool) -> Any:
    @helper
    def search(own):
        size = groups * GROUP
        mean = sum_of_squares(own + TILE, size) * splat_f32(f32(2.0 / size))
        for g in range(groups):
            x = own + TILE + g * GROUP * VECTOR
            if weighted:
                weigh(x, own + COLUMNS + g * GROUP * VECTOR, own + WEIGHTS, GROUP, mean)
            else:
                multiply(x, x, own + WEIGHTS, GROUP)
            store_f32(own + SCALES + g * VECTOR, _search(x, own + WEIGHTS))

    return search


@helper
def _put_levels(x, inverse, n):
    """The indices of the levels nearest to numbers times `inverse`, in the numbers' place."""
    for i in range(n):
        store_i32(x + i * VECTOR, truncate(_nearest_index(inverse * load_f32(x + i * VECTOR))))


def _make_iq4_nl(*, weighted: bool) -> Any:
    search = _make_search(1, weighted=weighted)

    @helper
    def encode(own, target):
        search(own)
        scale = load_f32(own + SCALES)
        _put_levels(own + TILE, inverse_of(scale), GROUP)
        put_words(own + TILE, own + WORDS, 8)
        scatter_f16(target, 18, scale)
        put_nibbles(own + WORDS, target + 2, 18)

    return encode


@helper
def _round_scales(own):
    """Leaves steps from -32 to 31 and gives their unit, under which (not under its f16) the levels are found."""
    _, scale = extreme(own + SCALES, 8)
    d = scale / splat_f32(f32(-32))
    inverse = inverse_of(d)
    for g in range(8):
        step = clamped(nearest(inverse * load_f32(own + SCALES + g * VECTOR)), f32(-32), f32(31))
        store_f32(own + STEP + g * VECTOR, step)
    return d


@helper
def _put_iq4_xs(own, target, d):
    scatter_f16(target, 136, d)
    six_bits = truncate(load_f32(own + STEP) + splat_f32(f32(32)))
    upper, lower = field(six_bits, 4, 3), field(six_bits, 0, 15)
    for g in range(1, 8):
        six_bits = truncate(load_f32(own + STEP + g * VECTOR) + splat_f32(f32(32)))
        upper = upper | shift_left(field(six_bits, 4, 3), 2 * g)
        lower = lower | shift_left(field(six_bits, 0, 15), 4 * g)
    scatter_i16(target + 2, 136, upper)
    scatter_i32(target + 4, 136, lower)
    for g in range(8):
        put_nibbles(own + WORDS + g * 8 * VECTOR, target + 8 + g * 16, 136)


def _make_iq4_xs(*, weighted: bool) -> Any:
    search = _make_search(8, weighted=weighted)

    @helper
    def encode(own, target):
        search(own)
        d = _round_scales(own)
        for g in range(8):
            inverse = inverse_of(d * load_f32(own + STEP + g * VECTOR))
            _put_levels(own + TILE + g * GROUP * VECTOR, inverse, GROUP)
        put_words(own + TILE, own + WORDS, 64)
        _put_iq4_xs(own, target, d)

    return encode


register_quantizer("iq4_nl", 32, 18, _make_iq4_nl(weighted=False))
register_quantizer("iq4_xs", 256, 136, _make_iq4_xs(weighted=False))
register_weighted_quantizer("iq4_nl", 32, 18, _make_iq4_nl(weighted=True))
register_weighted_quantizer("iq4_xs", 256, 136, _make_iq4_xs(weighted=True))
