"""The search for scales with which numbers, rounded to a few levels, come nearest to what they were; 16 at a time.

A lane is a block: vector i of a group holds number i of 16 blocks. Every sum goes in the order of i, every product in
the order in which ggml-quants.c writes it, unfused: the results are llama.cpp's, bit for bit. Levels stay floats.
Knows no quantised type.
"""

from __future__ import annotations

import numpy as np

from puna.kernels.kernel import helper
from puna.simd import (
    absolute,
    less,
    load_f32,
    maximum,
    minimum,
    nearest_modulo,
    select,
    splat_f32,
    store_f32,
    unlike,
)

f32 = np.float32
ROUNDER = f32(12582912.0)  # 1.5 * 2**23: adding it rounds to whole numbers, ties to even
EMPTY = f32(1e-15)  # a group without a number as large as this is taken for zero


@helper
def nearest(v):
    """The nearest whole number, ties to even; |v| < 2**22."""
    return (v + splat_f32(ROUNDER)) - splat_f32(ROUNDER)


@helper
def clamped(v, low, high):
    """v within bounds; `low` for NaN."""
    return minimum(maximum(v, splat_f32(low)), splat_f32(high))


@helper
def inverse_of(scale):
    """1 / scale, and 0 where it is 0."""
    return select(unlike(scale, splat_f32(f32(0))), splat_f32(f32(1)) / scale, splat_f32(f32(0)))


@helper
def extreme(x, n):
    """The largest magnitude of n numbers, and the first number that has it."""
    largest, number = splat_f32(f32(0)), splat_f32(f32(0))
    for i in range(n):
        v = load_f32(x + i * 64)
        is_larger = less(largest, absolute(v))
        largest, number = select(is_larger, absolute(v), largest), select(is_larger, v, number)
    return largest, number


def make_signed_search(n, half):
    """make_qx_quants: levels -half to half - 1, n numbers; tried are scales around the one that fits the extreme.

    The helper takes the addresses of x, w and w x, and gives the scale and what x was multiplied by for its levels: NaN
    where the group is empty.
    """
    low, high = f32(-half), f32(half - 1)

    @helper
    def sums(x, w, wx, inverse):
        products, squares = splat_f32(f32(0)), splat_f32(f32(0))
        for i in range(n):
            level = clamped(nearest(inverse * load_f32(x + i * 64)), low, high)
            products = products + load_f32(wx + i * 64) * level
            squares = squares + load_f32(w + i * 64) * level * level
        return products, squares

    @helper
    def search(x, w, wx):
        zero = splat_f32(f32(0))
        largest, number = extreme(x, n)
        kept = splat_f32(low) / number
        products, squares = sums(x, w, wx, kept)
        scale = select(unlike(squares, zero), products / squares, zero)
        best = scale * products
        for step in range(-9, 10):
            if step != 0:
                inverse = splat_f32(-(f32(half) + f32(0.1) * f32(step))) / number
                products, squares = sums(x, w, wx, inverse)
                is_better = less(zero, squares) & less(best * squares, products * products)
                scale = select(is_better, products / squares, scale)
                best = select(is_better, scale * products, best)
                kept = select(is_better, inverse, kept)
        is_empty = less(largest, splat_f32(EMPTY))
        return select(is_empty, zero, scale), select(is_empty, splat_f32(f32(np.nan)), kept)

    return search


def make_descent(n, half):
    """make_q3_quants: as `make_signed_search`, but the levels are moved one by one, to the better, five times over.

    The helper takes the addresses of x and of n vectors for the levels, which it leaves there less `half`, and gives
    the scale. Where the group is empty, levels are -half and the scale 0.
    """
    low, high = f32(-half), f32(half - 1)

    @helper
    def start(x, levels, inverse):
        products, squares = splat_f32(f32(0)), splat_f32(f32(0))
        for i in range(n):
            v = load_f32(x + i * 64)
            level = clamped(nearest(inverse * v), low, high)
            store_f32(levels + i * 64, level)
            products = products + v * v * v * level
            squares = squares + v * v * level * level
        return products, squares

    @helper
    def search(x, levels):
        zero = splat_f32(f32(0))
        largest, number = extreme(x, n)
        products, squares = start(x, levels, splat_f32(low) / number)
        for _ in range(5):
            for i in range(n):
                v, level = load_f32(x + i * 64), load_f32(levels + i * 64)
                w = v * v
                less_products, less_squares = products - w * v * level, squares - w * level * level
                moved = clamped(nearest_modulo(v * less_squares / less_products), low, high)
                new_products, new_squares = less_products + w * v * moved, less_squares + w * moved * moved
                is_better = less(products * products * new_squares, new_products * new_products * squares) & less(
                    zero, new_squares
                )
                is_moved = is_better & less(zero, less_products) & unlike(moved, level)
                store_f32(levels + i * 64, select(is_moved, moved, level))
                products = select(is_moved, new_products, products)
                squares = select(is_moved, new_squares, squares)
        is_empty = less(largest, splat_f32(EMPTY))
        for i in range(n):
            store_f32(levels + i * 64, select(is_empty, splat_f32(low), load_f32(levels + i * 64)))
        return select(is_empty, zero, select(less(zero, squares), products / squares, zero))

    return search


def make_affine_search(n, highest, first, delta, steps, magnitudes):
    """make_qkx2_quants and make_qkx3_quants: levels 0 to `highest`, x = scale level + low, low <= 0; n numbers.

    Tried are the scales at which the span of x would be highest + first + delta i levels, i from 0 to `steps`. Errors
    are magnitudes, or squares. The helper takes the addresses of x, w and of n vectors of its own, and gives the scale,
    -low, and the factor and the offset under which the levels were found: levels = factor (x - offset).
    """
    top, first, delta = f32(highest), f32(first), f32(delta)

    @helper
    def error(x, w, levels, scale, low):
        total = splat_f32(f32(0))
        for i in range(n):
            difference = scale * load_f32(levels + i * 64) + low - load_f32(x + i * 64)
            harm = absolute(difference) if magnitudes else difference * difference
            total = total + load_f32(w + i * 64) * harm
        return total

    @helper
    def sums(x, w, levels, factor, low):
        ones, squares, products = splat_f32(f32(0)), splat_f32(f32(0)), splat_f32(f32(0))
        for i in range(n):
            v, weight = load_f32(x + i * 64), load_f32(w + i * 64)
            level = clamped(nearest(factor * (v - low)), f32(0), top)
            store_f32(levels + i * 64, level)
            weighted = weight * level
            ones, squares, products = ones + weighted, squares + weighted * level, products + weighted * v
        return ones, squares, products

    @helper
    def bounds(x, w):
        low = high = load_f32(x)
        sum_w = load_f32(w)
        sum_x = sum_w * low
        for i in range(1, n):
            v, weight = load_f32(x + i * 64), load_f32(w + i * 64)
            low, high = minimum(v, low), maximum(v, high)
            sum_w, sum_x = sum_w + weight, sum_x + weight * v
        return minimum(low, splat_f32(f32(0))), high, sum_w, sum_x

    @helper
    def search(x, w, levels):
        zero, one = splat_f32(f32(0)), splat_f32(f32(1))
        low, high, sum_w, sum_x = bounds(x, w)
        is_spread, kept_low = less(low, high), low
        kept = splat_f32(top) / (high - low)
        scale = one / kept
        sums(x, w, levels, kept, low)
        least = error(x, w, levels, scale, low)
        for step in range(steps + 1):
            factor = splat_f32(first + delta * f32(step) + top) / (high - low)
            ones, squares, products = sums(x, w, levels, factor, low)
            determinant = sum_w * squares - ones * ones
            new_scale = (sum_w * products - sum_x * ones) / determinant
            new_low = (squares * sum_x - ones * products) / determinant
            is_positive = less(zero, new_low)
            new_low = select(is_positive, zero, new_low)
            new_scale = select(is_positive, products / squares, new_scale)
            harm = error(x, w, levels, new_scale, new_low)
            is_better = less(zero, determinant) & less(harm, least)
            kept, kept_low = select(is_better, factor, kept), select(is_better, low, kept_low)
            scale, least = select(is_better, new_scale, scale), select(is_better, harm, least)
            low = select(is_better, new_low, low)
        return select(is_spread, scale, zero), zero - low, select(is_spread, kept, zero), kept_low

    return search


def make_positive_search(n, highest):
    """make_qp_quants: levels 0 to `highest` for n numbers that are not negative, then moved one by one as in a descent.

    The helper takes the addresses of x, w and of n vectors for the levels, and gives the scale.
    """
    top = f32(highest)

    @helper
    def error(x, w, inverse, scale):
        total = splat_f32(f32(0))
        for i in range(n):
            v = load_f32(x + i * 64)
            difference = v - scale * minimum(nearest(inverse * v), splat_f32(top))
            total = total + load_f32(w + i * 64) * difference * difference
        return total

    @helper
    def choose(x, w, largest):
        one = splat_f32(f32(1))
        kept = splat_f32(top) / largest
        least = error(x, w, kept, one / kept)
        for step in range(-4, 5):
            if step != 0:
                inverse = splat_f32(f32(0.1) * f32(step) + top) / largest
                harm = error(x, w, inverse, one / inverse)
                is_better = less(harm, least)
                least, kept = select(is_better, harm, least), select(is_better, inverse, kept)
        return kept

    @helper
    def search(x, w, levels):
        zero = splat_f32(f32(0))
        largest = zero
        for i in range(n):
            largest = maximum(largest, load_f32(x + i * 64))
        is_empty = less(largest, splat_f32(EMPTY))
        kept = select(is_empty, zero, choose(x, w, largest))
        products, squares = zero, zero
        for i in range(n):
            v, weight = load_f32(x + i * 64), load_f32(w + i * 64)
            level = minimum(nearest(kept * v), splat_f32(top))
            store_f32(levels + i * 64, level)
            products = products + weight * v * level
            squares = squares + weight * level * level
        for _ in range(5):
            for i in range(n):
                v, w_i, level = load_f32(x + i * 64), load_f32(w + i * 64), load_f32(levels + i * 64)
                less_products, less_squares = products - w_i * v * level, squares - w_i * level * level
                moved = minimum(nearest_modulo(v * less_squares / less_products), splat_f32(top))
                new_products, new_squares = less_products + w_i * v * moved, less_squares + w_i * moved * moved
                is_better = less(products * products * new_squares, new_products * new_products * squares)
                is_moved = is_better & less(zero, less_products) & less(zero, less_squares) & unlike(moved, level)
                store_f32(levels + i * 64, select(is_moved, moved, level))
                products = select(is_moved, new_products, products)
                squares = select(is_moved, new_squares, squares)
        scale = select(less(zero, squares), products / squares, zero)
        return select(is_empty, zero, scale)

    return search
