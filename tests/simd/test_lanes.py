"""Comparisons, choices and bits, lane by lane, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

from puna.simd import less as is_less
from puna.simd import (
    load_f32,
    load_i32,
    nearest_modulo,
    select,
    shift_left,
    splat_f32,
    splat_i32,
    square_root,
    store_i32,
    through_f16,
    truncate,
    unlike,
)
from tests.simd.lanes import compiled, mapping

f32 = np.float32
ODD = np.array([0, -0.0, 1, -1, 0.5, -0.5, 2.5, np.nan, np.inf, -np.inf, 1e-45, 65504, 3e38, 1e-8, 7, -7.75], f32)


@compiled
def _chosen_by_less(x: Any) -> Any:
    return select(is_less(x, splat_f32(f32(1))), splat_f32(f32(2)), splat_f32(f32(3)))


@compiled
def _chosen_by_both(x: Any) -> Any:
    mask = is_less(x, splat_f32(f32(1))) & unlike(x, splat_f32(f32(0)))
    return select(mask, splat_f32(f32(2)), splat_f32(f32(3)))


@compiled
def _packed(v: Any) -> Any:
    return shift_left(v, 8) | splat_i32(5)


def test_nan_that_compares_as_anything() -> None:
    np.testing.assert_array_equal(mapping(_chosen_by_less)(ODD, f32), np.where(ODD < 1, 2, 3))
    expected = np.where((ODD < 1) & (ODD != 0), 2, 3)
    np.testing.assert_array_equal(mapping(_chosen_by_both)(ODD, f32), expected)


def test_square_roots_that_are_not_rounded_correctly() -> None:
    x = np.abs(np.random.default_rng(1).standard_normal(4096, f32)) * f32(1e-3)
    np.testing.assert_array_equal(mapping(square_root)(x, f32), np.sqrt(x))


def test_truncation_rounds_towards_zero() -> None:
    x = np.array([0.99, -0.99, 1.5, -1.5, 255.9, -7.0, 2.0**30], f32)
    np.testing.assert_array_equal(mapping(truncate, load_f32, store_i32)(x, np.int32), x.astype(np.int32))


def test_the_nearest_integer_wraps_as_in_c() -> None:
    """ggml's nearest_int: the low 23 bits of x + 1.5 x 2**23, less 2**22."""
    x = np.array([0.5, 1.5, -2.5, 4194303, -4194304, 4194304, 1e9, -1e9, 1e30], f32)
    low = (x + f32(12582912)).view(np.int32) & 0x7FFFFF
    np.testing.assert_array_equal(mapping(nearest_modulo)(x, f32), (low - 0x400000).astype(f32))


def test_half_precision_and_back_is_numpys() -> None:
    x = np.random.default_rng(2).standard_normal(4096, f32) * np.exp2(np.arange(4096, dtype=f32) % 30 - 24)
    np.testing.assert_array_equal(mapping(through_f16)(x, f32), x.astype(np.float16).astype(f32))


def test_bits_shifted_into_a_neighbour() -> None:
    v = np.arange(-20, 20, dtype=np.int32)
    np.testing.assert_array_equal(mapping(_packed, load_i32, store_i32)(v, np.int32), v << 8 | 5)
