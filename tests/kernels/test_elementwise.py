"""Sums, factors, bias, soft caps and row choice against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels import naive
from tests.kernels.running import EXAMPLES, THREADS, Kernels, live, normal, same_bits

rows_and_widths = {"rows": st.integers(1, 9), "width": st.integers(1, 10).map(lambda n: 16 * n)}


@EXAMPLES
@given(threads=st.sampled_from(THREADS), seed=st.integers(0, 2**32), **rows_and_widths)
def test_add_bias_adds_it_once_to_every_row(run: Kernels, threads: int, rows: int, width: int, seed: int) -> None:
    x, bias = normal(seed, rows + 1, width), normal(seed + 1, width)
    expected = np.concatenate([x[:-1] + bias, x[-1:]])
    run.run("add_bias", threads, x=x, bias=bias, width=width, rows=live(rows))
    assert same_bits(x, expected)


@EXAMPLES
@given(threads=st.sampled_from(THREADS), seed=st.integers(0, 2**32), **rows_and_widths)
def test_gather_rows_takes_repeated_and_unordered_rows(
    run: Kernels, threads: int, rows: int, width: int, seed: int
) -> None:
    x, indices = normal(seed, 12, width), np.random.default_rng(seed).integers(0, 12, rows)
    out = normal(1, rows + 1, width)
    beyond = out[-1].copy()
    run.run("gather_rows", threads, x=x, indices=indices, out=out, width=width, rows=live(rows))
    assert same_bits(out[:-1], x[indices])
    assert same_bits(out[-1], beyond)


@EXAMPLES
@given(threads=st.sampled_from(THREADS), seed=st.integers(0, 2**32), **rows_and_widths)
def test_add_rows_adds_the_rows_of_the_table_that_the_indices_name(
    run: Kernels, threads: int, rows: int, width: int, seed: int
) -> None:
    x, table = normal(seed, rows + 1, width), normal(seed + 1, 12, width)
    indices = np.random.default_rng(seed).integers(0, 12, rows)
    expected = np.concatenate([x[:-1] + table[indices], x[-1:]])
    run.run("add_rows", threads, x=x, table=table, indices=indices, width=width, rows=live(rows))
    assert same_bits(x, expected)


@EXAMPLES
@given(threads=st.sampled_from(THREADS), seed=st.integers(0, 2**32), **rows_and_widths)
def test_scale_multiplies_every_row_once(run: Kernels, threads: int, rows: int, width: int, seed: int) -> None:
    x = normal(seed, rows + 1, width)
    expected = np.concatenate([x[:-1] * np.float32(0.3), x[-1:]])
    run.run("scale", threads, x=x, factor=0.3, width=width, rows=live(rows))
    assert same_bits(x, expected)


@EXAMPLES
@given(threads=st.sampled_from(THREADS), seed=st.integers(0, 2**32), **rows_and_widths)
def test_add_scaled_is_the_definition(run: Kernels, threads: int, rows: int, width: int, seed: int) -> None:
    x, y = normal(seed, rows + 1, width), normal(seed + 1, rows, width)
    expected, beyond = naive.add_scaled(x[:-1], y, 0.22), x[-1].copy()
    run.run("add_scaled", threads, x=x, y=y, factor=0.22, width=width, rows=live(rows))
    expected.check(x[:-1])
    assert same_bits(x[-1], beyond)


@EXAMPLES
@given(
    threads=st.sampled_from(THREADS), cap=st.sampled_from([1.0, 30.0, 50.0]), seed=st.integers(0, 2**32),
    **rows_and_widths,
)  # fmt: skip
def test_soft_cap_is_the_definition(run: Kernels, threads: int, cap: float, rows: int, width: int, seed: int) -> None:
    x = normal(seed, rows, width) * 40
    x[0, :4] = 0, 1e30, -1e30, 1e-4
    expected = naive.soft_cap(x, cap)
    run.run("soft_cap", threads, x=x, cap=cap, width=width, rows=live(rows))
    expected.check(x)
    assert np.abs(x).max() <= cap


@pytest.mark.parametrize("threads", THREADS)
def test_no_rows_is_no_work(run: Kernels, threads: int) -> None:
    x = normal(0, 1, 16)
    before = x.copy()
    run.run("add_bias", threads, x=x, bias=normal(1, 16), width=16, rows=live(0))
    assert same_bits(x, before)


@EXAMPLES
@given(threads=st.sampled_from(THREADS), seed=st.integers(0, 2**32), **rows_and_widths)
def test_squares_are_added_to_what_is_there(run: Kernels, threads: int, rows: int, width: int, seed: int) -> None:
    x, sums = normal(seed, rows, width), normal(seed + 1, width) ** 2
    expected = sums.astype(np.float64) + (x.astype(np.float64) ** 2).sum(axis=0)
    run.run("add_squares", threads, x=x, sums=sums, width=width, stride=width * 4, rows=live(rows))
    np.testing.assert_allclose(sums, expected, rtol=1e-5)
