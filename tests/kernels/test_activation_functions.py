"""Activation functions, alone and as gates, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels import naive
from tests.kernels.running import EXAMPLES, THREADS, Kernels, live, misaligned, normal, same_bits

FUNCTIONS = {"silu": naive.silu, "gelu": naive.gelu, "gelu_tanh": naive.gelu_tanh, "gelu_quick": naive.gelu_quick}
rows_and_widths = {"rows": st.integers(1, 9), "width": st.integers(1, 10).map(lambda n: 16 * n)}


@pytest.mark.parametrize("name", FUNCTIONS)
@EXAMPLES
@given(threads=st.sampled_from(THREADS), seed=st.integers(0, 2**32), **rows_and_widths)
def test_it_is_the_definition_and_as_a_gate_multiplies(
    run: Kernels, name: str, threads: int, rows: int, width: int, seed: int
) -> None:
    x, up = normal(seed, rows + 1, width) * 5, normal(seed + 1, rows, width)
    gate, beyond, expected = x.copy(), x[-1].copy(), FUNCTIONS[name](x[:-1])
    run.run(name, threads, x=x, width=width, rows=live(rows))
    expected.check(x[:-1])
    run.run(f"{name}_gate", threads, gate=gate, up=misaligned(up), width=width, rows=live(rows))
    assert same_bits(gate[:-1], x[:-1] * up)
    assert same_bits(gate[-1], beyond)
    assert same_bits(x[-1], beyond)


@EXAMPLES
@given(threads=st.sampled_from(THREADS), seed=st.integers(0, 2**32), **rows_and_widths)
def test_the_clamped_gate_is_the_definition_on_both_sides_of_its_bounds(
    run: Kernels, threads: int, rows: int, width: int, seed: int
) -> None:
    gate, up = normal(seed, rows + 1, width) * 8, normal(seed + 1, rows, width) * 8
    expected, beyond = naive.clamped_silu_gate(gate[:-1], up), gate[-1].copy()
    run.run("clamped_silu_gate", threads, gate=gate, up=misaligned(up), width=width, rows=live(rows))
    expected.check(gate[:-1])
    assert same_bits(gate[-1], beyond)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_is_right_far_from_zero_and_near(run: Kernels, name: str) -> None:
    x = np.array([0, -0.0, 87, -87, 88.5, -88.5, 1000, -1000, 1e12, -1e12, 1, -1, 20, -20, 1e-6, -1e-6], np.float32)
    with np.errstate(over="ignore"):
        expected = FUNCTIONS[name](x[None])
    run.run(name, 1, x=x, width=16, rows=live(1))
    expected.check(x[None])


def test_gelu_is_good_to_two_units_in_the_seventh_place_everywhere(run: Kernels) -> None:
    x = np.linspace(-12, 12, 4096, dtype=np.float32)
    before = x[None].copy()
    run.run("gelu", 1, x=x, width=4096, rows=live(1))
    assert np.abs(x - naive.gelu(before).value).max() < 2e-6
