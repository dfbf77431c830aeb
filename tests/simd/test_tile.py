"""Tiles: the integer dot products of quants, and the float accumulators, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from puna.simd import (
    add_bytes,
    add_narrow,
    add_tile,
    close_bytes,
    close_narrow,
    dot_i8_tile,
    dot_u4_tile,
    f32_tile,
    fma_column,
    fma_tile,
    fma_two,
    high_nibbles,
    load_f32,
    load_i8,
    load_tile,
    low_nibbles,
    open_bytes,
    open_narrow,
    scale_tile,
    signed_offset,
    start_tile,
    store_f32,
    store_tile,
    tile_lane_vector,
    to_f32,
    u4_start_tile,
)
from tests.simd.lanes import compiled

Int8s = NDArray[np.int8]

_signed_start = start_tile(signed_offset(), 8)


@compiled
def _dot_i8(weights: int, words: int, sums: int, out: int) -> None:
    tile = dot_i8_tile(_signed_start(2, sums), load_i8(weights), words)
    store_f32(out, to_f32(tile_lane_vector(tile, 0)))
    store_f32(out + 64, to_f32(tile_lane_vector(tile, 1)))


@compiled
def _dot_u4(weights: int, words: int, sums: int, out: int) -> None:
    low = dot_u4_tile(u4_start_tile(2, sums), low_nibbles(load_i8(weights)), words)
    high = dot_u4_tile(u4_start_tile(2, sums), high_nibbles(load_i8(weights)), words)
    store_f32(out, to_f32(tile_lane_vector(low, 0)))
    store_f32(out + 64, to_f32(tile_lane_vector(low, 1)))
    store_f32(out + 128, to_f32(tile_lane_vector(high, 0)))
    store_f32(out + 192, to_f32(tile_lane_vector(high, 1)))


def run_dot(dot: Any, weights: NDArray[Any], x: Int8s, count: int) -> NDArray[np.float32]:
    """`count` vectors of 16 rows from 16 rows x 4 columns of weights and 2 tokens x 4 activations."""
    out, sums = np.zeros((count, 16), np.float32), -8 * x.sum(1, dtype=np.int32)
    dot(weights.ctypes.data, x.ctypes.data, sums.ctypes.data, out.ctypes.data)
    return out


def stored(weights: NDArray[Any]) -> NDArray[np.uint8]:
    """Signed bytes as dot products take them."""
    return (weights.astype(int) + signed_offset()).astype(np.uint8)


def activations() -> list[Int8s]:
    """Two tokens each: every column by itself, the ends of the range, and some at random."""
    one_hot = [np.roll(np.array([[1, 0, 0, 0], [0, -1, 0, 0]], np.int8), k, axis=1) for k in range(4)]
    ends = [np.array([[a, b, a, b], [b, a, a, b]], np.int8) for a in (-127, 127) for b in (-127, 127)]
    return [*one_hot, *ends, *np.random.default_rng(1).integers(-127, 128, (20, 2, 4)).astype(np.int8)]


@pytest.mark.parametrize("x", activations(), ids=lambda x: " ".join(map(str, x.reshape(-1))))
def test_signed_dot_products_are_exact_for_every_byte(x: Int8s) -> None:
    random = np.random.default_rng(2)
    every_byte = random.permutation(np.arange(-128, 128)).reshape(4, 16, 4)
    for weights in (*every_byte, np.full((16, 4), -128), np.full((16, 4), 127)):
        got = run_dot(_dot_i8, stored(weights), x, 2)
        assert np.array_equal(got, x.astype(int) @ weights.T)


@pytest.mark.parametrize("x", activations(), ids=lambda x: " ".join(map(str, x.reshape(-1))))
def test_dot_products_of_nibbles_are_exact_for_every_byte(x: Int8s) -> None:
    random = np.random.default_rng(3)
    every_byte = random.permutation(np.arange(256)).reshape(4, 16, 4)
    for packed in (*every_byte, np.full((16, 4), 0), np.full((16, 4), 255)):
        got = run_dot(_dot_u4, packed.astype(np.uint8), x, 4)
        low, high = (packed & 15) - 8, (packed >> 4) - 8
        assert np.array_equal(got, np.concatenate([x.astype(int) @ low.T, x.astype(int) @ high.T]))


@compiled
def _float_tile(w: int, x: int, base: int, out: int) -> None:
    tile = fma_tile(f32_tile(3), load_f32(w), x, 8)
    store_tile(tile, out, 80)
    store_tile(add_tile(tile, base, 64), out + 240, 80)
    store_tile(fma_column(load_tile(3, base, 64), load_f32(w), base, 64), out + 480, 80)


def test_float_tiles_take_each_vector_at_its_stride() -> None:
    random = np.random.default_rng(4)
    w, x, base = (random.integers(-9, 10, shape).astype(np.float32) for shape in ((16,), (3, 2), (3, 16)))
    out = np.zeros((9, 20), np.float32)
    _float_tile(w.ctypes.data, x.ctypes.data, base.ctypes.data, out.ctypes.data)
    products = x[:, :1] * w
    assert np.array_equal(out[:, :16], np.concatenate([products, products + base, base + w * base]))
    assert not out[:, 16:].any(), "written between the vectors"


@compiled
def _two_tiles(w: int, v: int, x: int, out: int) -> None:
    one, other = fma_two(f32_tile(3), f32_tile(3), load_f32(w), load_f32(v), x, 8)
    store_tile(one, out, 64)
    store_tile(other, out + 192, 64)


def test_two_float_tiles_share_what_they_are_multiplied_with() -> None:
    random = np.random.default_rng(7)
    w, v, x = (random.integers(-9, 10, shape).astype(np.float32) for shape in ((16,), (16,), (3, 2)))
    out = np.zeros((2, 3, 16), np.float32)
    _two_tiles(w.ctypes.data, v.ctypes.data, x.ctypes.data, out.ctypes.data)
    assert np.array_equal(out, [x[:, :1] * w, x[:, :1] * v])


@compiled
def _scale(weights: int, words: int, sums: int, scale: int, scales: int, out: int) -> None:
    ints = dot_i8_tile(_signed_start(2, sums), load_i8(weights), words)
    store_tile(scale_tile(load_tile(2, out, 64), ints, load_f32(scale), scales), out, 64)


def test_scale_tile_adds_the_integers_times_both_scales() -> None:
    random = np.random.default_rng(5)
    weights, x = random.integers(-128, 128, (16, 4)).astype(np.int8), random.integers(-127, 128, (2, 4)).astype(np.int8)
    scale, scales = np.exp2(random.integers(-9, 9, 16)).astype(np.float32), np.array([0.5, -4], np.float32)
    sums, out = -8 * x.sum(1, dtype=np.int32), np.full((2, 16), 3, np.float32)
    _scale(*(array.ctypes.data for array in (stored(weights), x, sums, scale, scales, out)))
    assert np.array_equal(out, 3 + (x.astype(int) @ weights.T.astype(int)) * scale * scales[:, None])


@compiled
def _sum_narrow(weights: int, words: int, sums: int, out: int, pairs: int) -> None:
    ints = u4_start_tile(3, sums)
    added = open_narrow(ints)
    for k in range(pairs):
        at, x = weights + k * 128, words + k * 24
        added = add_narrow(added, load_i8(at), x, load_i8(at + 64), x + 12)
    done = close_narrow(ints, added)
    store_tile(scale_tile(f32_tile(3), done, load_f32(out), out), out + 64, 64)


@compiled
def _sum_bytes(weights: int, words: int, sums: int, out: int, pairs: int) -> None:
    ints = _signed_start(3, sums)
    added = open_bytes(ints)
    for k in range(pairs):
        at, x = weights + k * 128, words + k * 24
        added = add_bytes(added, load_i8(at), x, load_i8(at + 64), x + 12)
    done = close_bytes(ints, added)
    store_tile(scale_tile(f32_tile(3), done, load_f32(out), out), out + 64, 64)


@pytest.mark.parametrize(("add_up", "least", "most", "pairs", "offset"), [
    (_sum_narrow, 0, 15, 4, 8), (_sum_narrow, 0, 31, 2, 8), (_sum_narrow, 0, 63, 1, 8), (_sum_bytes, -128, 127, 4, 0),
])  # fmt: skip
@pytest.mark.parametrize("fill", [None, 127, -127])
def test_sums_of_as_many_words_as_are_allowed_are_exact(
    add_up: Any, least: int, most: int, pairs: int, offset: int, fill: int | None
) -> None:
    # Three tokens: a neighbouring pair and one alone, which some machines add up in another way.
    random = np.random.default_rng(6)
    weights = random.integers(least, most + 1, (2 * pairs, 16, 4))
    x = random.integers(-127, 128, (2 * pairs, 3, 4))
    if fill is not None:
        weights[...], x[...] = (most if fill > 0 else least if least else most), fill
    sums, out = -8 * x.sum((0, 2), dtype=np.int32), np.ones((4, 16), np.float32)
    arrays = stored(weights) if add_up is _sum_bytes else weights.astype(np.int8), x.astype(np.int8), sums, out
    add_up(*(array.ctypes.data for array in arrays), pairs)
    assert np.array_equal(out[1:], np.einsum("krc,ktc->tr", weights - offset, x))
