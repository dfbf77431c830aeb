"""Normalisation, gating, bias and row choice against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels import naive
from tests.kernels.running import EXAMPLES, THREADS, Kernels, live, misaligned, normal, same_bits

rows_and_widths = {"rows": st.integers(1, 9), "width": st.integers(1, 10).map(lambda n: 16 * n)}


@EXAMPLES
@given(
    threads=st.sampled_from(THREADS),
    rows=st.integers(1, 9),
    width=st.integers(1, 200),
    scale=st.sampled_from([1e-8, 1.0, 1e4]),
    seed=st.integers(0, 2**32),
)
def test_rms_norm_is_the_definition_for_any_width(
    run: Kernels, threads: int, rows: int, width: int, scale: float, seed: int
) -> None:
    padded = -(-width // 16) * 16
    x, weight, out = normal(seed, rows, padded) * np.float32(scale), normal(seed + 1, padded), normal(2, rows, padded)
    x[:, width:] = 0
    run.run(
        "rms_norm", threads, x=misaligned(x), weight=weight, out=out, width=width, padded=padded, rows=live(rows),
        epsilon=1e-5,
    )  # fmt: skip
    naive.rms_norm(x, weight, width, 1e-5).check(out)
    assert (out[:, width:] == 0).all()


def test_rms_norm_of_zeros_is_zeros_and_not_nan(run: Kernels) -> None:
    x = np.zeros((2, 32), np.float32)
    out = normal(0, 2, 32)
    run.run("rms_norm", 1, x=x, weight=x[0], out=out, width=32, padded=32, rows=live(2), epsilon=1e-6)
    assert (out == 0).all()


@EXAMPLES
@given(threads=st.sampled_from(THREADS), seed=st.integers(0, 2**32), **rows_and_widths)
def test_silu_gate_is_the_definition(run: Kernels, threads: int, rows: int, width: int, seed: int) -> None:
    gate, up, out = normal(seed, rows, width) * 20, normal(seed + 1, rows, width), normal(2, rows, width)
    run.run("silu_gate", threads, gate=gate, up=misaligned(up), out=out, width=width, rows=live(rows))
    naive.silu_gate(gate, up).check(out)


def test_silu_gate_in_place_and_far_from_zero(run: Kernels) -> None:
    gate = np.array([0, -0.0, 87, -87, 88.5, -88.5, 1000, -1000, 1e30, -1e30, 1, -1, 20, -20, 3, -3], np.float32)
    before, up = gate[None].copy(), np.ones((1, 16), np.float32)
    run.run("silu_gate", 1, gate=gate, up=up, out=gate, width=16, rows=live(1))
    with np.errstate(over="ignore"):
        naive.silu_gate(before, up).check(gate[None])


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


@pytest.mark.parametrize("threads", THREADS)
def test_no_rows_is_no_work(run: Kernels, threads: int) -> None:
    x = normal(0, 1, 16)
    before = x.copy()
    run.run("add_bias", threads, x=x, bias=normal(1, 16), width=16, rows=live(0))
    assert same_bits(x, before)
