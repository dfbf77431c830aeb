"""Instructions on vectors of 16 lanes against numpy, all values where they can be counted."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from puna.hardware import ISA, isa
from puna.simd import (
    absolute,
    atomic_add,
    exp,
    fma,
    get_f32,
    keep_below,
    load_bf16,
    load_f16,
    load_f32,
    maximum,
    minimum,
    reduce_add,
    reduce_max,
    round_to_i32,
    scatter_f16,
    scatter_f32,
    scatter_i8,
    set_f32,
    set_i32,
    store_f16,
    store_f32,
    sum_i32,
    to_f32,
)
from tests.simd.lanes import compiled, mapping

ALL_HALVES = np.arange(65536, dtype=np.uint16)


def identity(x: Any) -> Any:
    return x


same = compiled(identity)


def normal(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


# --- exp ----------------------------------------------------------------------------------------------


exp_of = mapping(exp)


def test_exp_is_within_2_ulp_over_its_whole_range() -> None:
    x = np.concatenate(
        [
            np.linspace(-87.3, 88, 1_000_001, dtype=np.float32),
            *(sign * np.geomspace(1e-30, 80, 50_000, dtype=np.float32) for sign in (-1, 1)),
        ]
    )
    exact = np.exp(x.astype(np.float64))
    ulps = np.abs(exp_of(x, np.float32) - exact) / np.spacing(exact.astype(np.float32))
    assert ulps.max() <= 2, f"{ulps.max()} ulp at {x[ulps.argmax()]!r}"


def test_exp_of_zero_is_exactly_one() -> None:
    # An attention weight relative to itself, and the rescaling when the maximum stays: both must change no bit.
    assert (exp_of(np.array([0.0, -0.0], np.float32), np.float32) == 1).all()


def test_exp_of_a_masked_score_is_exactly_zero() -> None:
    low = np.array([np.nextafter(np.float32(-87.3), np.float32(-88)), -88, -1e3, -1e30, -np.inf], np.float32)
    assert (exp_of(low, np.float32) == 0).all()
    assert exp_of(np.array([-87.3], np.float32), np.float32)[0] > 0


def test_exp_of_a_large_number_is_finite() -> None:
    assert np.isfinite(exp_of(np.array([88, 89, 1e30, np.inf], np.float32), np.float32)).all()


# --- float16 and bfloat16 -----------------------------------------------------------------------------


def assert_same_floats(got: NDArray[np.floating[Any]], expected: NDArray[np.floating[Any]]) -> None:
    """Equal to the sign of zero; any NaN equals any other."""
    nan = np.isnan(expected)
    assert np.array_equal(np.isnan(got), nan)
    assert np.array_equal(got[~nan], expected[~nan])
    assert np.array_equal(np.signbit(got[~nan]), np.signbit(expected[~nan]))


def test_load_f16_is_numpys_for_every_half() -> None:
    load = mapping(same, load=load_f16)
    assert_same_floats(load(ALL_HALVES, np.float32), ALL_HALVES.view(np.float16).astype(np.float32))


def test_load_bf16_is_the_upper_half_of_a_float_for_every_value() -> None:
    load = mapping(same, load=load_bf16)
    assert_same_floats(load(ALL_HALVES, np.float32), (ALL_HALVES.astype(np.uint32) << 16).view(np.float32))


def around_halves() -> NDArray[np.float32]:
    """Every finite half, every point midway between two, and the floats next to both."""
    halves = ALL_HALVES.view(np.float16)
    finite = np.unique(halves[np.isfinite(halves)].astype(np.float32))
    points = np.concatenate([finite, (finite[1:] + finite[:-1]) / 2])
    infinity = np.float32(np.inf)
    return np.concatenate([points, np.nextafter(points, infinity), np.nextafter(points, -infinity), [np.float32(-0.0)]])


def scattered_f16(x: NDArray[np.float32]) -> NDArray[np.float16]:
    stride = 6

    def loop(source: int, target: int, vectors: int) -> None:
        for i in range(vectors):
            scatter_f16(target + i * 16 * 6, 6, load_f32(source + i * 64))

    padded = np.concatenate([x, np.zeros(-len(x) % 16, np.float32)])
    out = np.zeros((len(padded), stride // 2), np.float16)
    compiled(loop)(padded.ctypes.data, out.ctypes.data, len(padded) // 16)
    assert not out[:, 1:].any(), "written between the lanes"
    return out[: len(x), 0]


def stored_f16(x: NDArray[np.float32]) -> NDArray[np.float16]:
    return mapping(same, store=store_f16)(x, np.float16)


@pytest.mark.parametrize("store", [stored_f16, scattered_f16])
def test_store_f16_rounds_as_numpy_does_ties_and_subnormals_included(store: Any) -> None:
    x = around_halves()
    assert_same_floats(store(x), np.clip(x, -65504, 65504).astype(np.float16))


@pytest.mark.parametrize("store", [stored_f16, scattered_f16])
def test_store_f16_leaves_only_finite_numbers(store: Any) -> None:
    # A slot of a KV block that no position uses yet is multiplied by 0: infinity or NaN there would poison the sum.
    x = np.array([65504, 65519, 65520, 1e6, 3e38, np.inf, -65520, -np.inf, np.nan], np.float32)
    got = store(x)
    assert (got[:-1] == np.array([65504] * 6 + [-65504] * 2, np.float16)).all()
    assert np.isfinite(got[-1])


# --- rounding, sums and comparisons -------------------------------------------------------------------


def test_round_to_i32_takes_ties_to_even() -> None:
    halves_of_integers = np.arange(-5000, 5000, dtype=np.float32) / 2
    x = np.concatenate([halves_of_integers, normal(1, 10_000) * 1000, np.array([2**22 - 0.5, 0.5 - 2**22], np.float32)])

    def round_trip(v: Any) -> Any:
        return to_f32(round_to_i32(v))

    assert np.array_equal(mapping(compiled(round_trip))(x, np.float32), np.rint(x))


def by_halves(x: NDArray[Any]) -> Any:
    while len(x) > 1:
        x = x[: len(x) // 2] + x[len(x) // 2 :]
    return x[0]


def test_reduce_add_adds_by_halves_so_that_every_machine_has_the_same_sum() -> None:
    def total(source: int, target: int) -> None:
        set_f32(target, reduce_add(load_f32(source)))

    run = compiled(total)
    for seed in range(50):
        x, out = normal(seed, 16) * np.float32(10) ** np.arange(16, dtype=np.float32), np.zeros(1, np.float32)
        run(x.ctypes.data, out.ctypes.data)
        assert out[0] == by_halves(x)


def test_reductions_look_at_every_lane() -> None:
    def reduce(source: int, largest: int, total: int) -> None:
        v = load_f32(source)
        set_f32(largest, reduce_max(v))
        set_i32(total, sum_i32(round_to_i32(v)))

    run = compiled(reduce)
    for lane in range(16):
        x = np.arange(-20, -4, dtype=np.float32)
        x[lane] = 5
        largest, total = np.zeros(1, np.float32), np.zeros(1, np.int32)
        run(x.ctypes.data, largest.ctypes.data, total.ctypes.data)
        assert (largest[0], total[0]) == (5, x.sum())


def test_keep_below_takes_any_count() -> None:
    def keep(source: int, target: int, count: int) -> None:
        store_f32(target, keep_below(load_f32(source), count, np.float32(-7)))

    x, out, run = normal(1, 16), np.zeros(16, np.float32), compiled(keep)
    for count in (-(2**40), -1, 0, 1, 15, 16, 17, 2**32, 2**40):
        run(x.ctypes.data, out.ctypes.data, count)
        kept = min(max(count, 0), 16)
        assert np.array_equal(out, np.concatenate([x[:kept], np.full(16 - kept, -7, np.float32)]))


def test_arithmetic_is_numpys_lane_by_lane() -> None:
    def arithmetic(a: int, b: int, out: int) -> None:
        x, y = load_f32(a), load_f32(b)
        store_f32(out, x + y)
        store_f32(out + 64, x - y)
        store_f32(out + 128, x * y)
        store_f32(out + 192, x / y)
        store_f32(out + 256, maximum(x, y))
        store_f32(out + 320, minimum(x, y))
        store_f32(out + 384, absolute(x))
        store_f32(out + 448, fma(x, y, x))

    a, b, out = normal(1, 16), normal(2, 16), np.zeros((8, 16), np.float32)
    compiled(arithmetic)(a.ctypes.data, b.ctypes.data, out.ctypes.data)
    expected = [a + b, a - b, a * b, a / b, np.maximum(a, b), np.minimum(a, b), np.abs(a)]
    assert np.array_equal(out[:7], expected)
    # One rounding with FMA: float64 holds the product exactly. Two without.
    fused = (a.astype(np.float64) * b + a).astype(np.float32)
    assert np.array_equal(out[7], a * b + a if isa() is ISA.PORTABLE else fused)


# --- memory -------------------------------------------------------------------------------------------


def test_scatter_puts_each_lane_at_its_stride() -> None:
    def scatter(source: int, floats: int, words: int) -> None:
        v = load_f32(source)
        scatter_f32(floats, 12, v)
        scatter_i8(words, 20, round_to_i32(v))

    x = np.arange(-8, 8, dtype=np.float32)
    floats, words = np.zeros((16, 3), np.float32), np.zeros((4, 20), np.int8)
    compiled(scatter)(x.ctypes.data, floats.ctypes.data, words.ctypes.data)
    assert np.array_equal(floats[:, 0], x)
    assert not floats[:, 1:].any()
    assert np.array_equal(words[:, :4].reshape(-1), x)
    assert not words[:, 4:].any()


def test_addresses_need_no_alignment() -> None:
    def copy(source: int, target: int) -> None:
        set_f32(target, get_f32(source))
        store_f32(target + 4, load_f32(source + 4))

    x, out, run = normal(1, 17), np.zeros(80, np.uint8), compiled(copy)
    for shift in range(4):
        raw = np.zeros(80, np.uint8)
        raw[shift : shift + 68] = x.view(np.uint8)
        run(raw.ctypes.data + shift, out.ctypes.data + 5 - shift)
        assert np.array_equal(out[5 - shift : 73 - shift], x.view(np.uint8))


def test_atomic_add_loses_no_increment_of_another_thread() -> None:
    def count(at: int, times: int) -> None:
        for _ in range(times):
            atomic_add(at, 1)

    counter, run = np.zeros(1, np.int64), compiled(count)
    run(counter.ctypes.data, 0)
    workers = [threading.Thread(target=run, args=(counter.ctypes.data, 200_000)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert counter[0] == 600_000
