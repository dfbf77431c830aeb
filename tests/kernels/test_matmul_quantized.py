"""Matrices of every quantised type, their packing, and the quantisation of activations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from puna.gguf import GGMLType
from tests.kernels import naive
from tests.kernels.quantized import (
    KINDS,
    TOKEN_BLOCK,
    columns,
    expected,
    expected_panels,
    multiply,
    multiply_packed,
    packed,
    quantize,
    random_blocks,
)
from tests.kernels.running import EXAMPLES, THREADS, Kernels, bounds, misaligned, normal, same_bits

kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@EXAMPLES
@given(
    threads=st.sampled_from(THREADS), tokens=st.integers(1, 30), blocks=st.integers(1, 5),
    scale=st.sampled_from([1e-20, 1.0, 1e20]), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_quantize_is_the_definition_to_the_bit(
    run: Kernels, threads: int, tokens: int, blocks: int, scale: float, seed: int
) -> None:
    x = normal(seed, tokens, blocks * 32) * np.float32(scale)
    assert np.array_equal(quantize(run, misaligned(x), threads), expected_panels(x))


@EXAMPLES
@given(
    threads=st.sampled_from(THREADS), parts=st.lists(st.integers(0, 15), min_size=1, max_size=6),
    seed=st.integers(0, 2**32),
)  # fmt: skip
def test_no_panel_holds_rows_of_two_parts(run: Kernels, threads: int, parts: list[int], seed: int) -> None:
    x, rows = normal(seed, sum(parts), 96), bounds(*parts)
    panels = [expected_panels(x[rows[i] : rows[i + 1]]) for i, count in enumerate(parts) if count]
    assert np.array_equal(quantize(run, x, threads, rows), np.concatenate([np.zeros(0, np.uint8), *panels]))


def test_quantize_rounds_ties_to_even_and_keeps_the_ends(run: Kernels) -> None:
    x = np.array([[127, -127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, -126.5, *[0] * 22]], np.float32)
    quants = naive.quantize(x).quants[0, :10].tolist()
    assert quants == [127, -127, 0, 2, 2, 0, -2, -2, 126, -126]
    assert np.array_equal(quantize(run, x), expected_panels(x))


def test_quantize_of_a_block_of_zeros_is_zeros_and_not_nan(run: Kernels) -> None:
    x = np.zeros((5, 64), np.float32)
    assert not quantize(run, x, 2).any()


def test_vanishing_activations_count_as_zero_and_never_overflow(run: Kernels) -> None:
    """127 / max|x| is infinite below 4e-37: quants would be garbage with a garbage sum."""
    x, panels = np.full((1, 32), 1e-37, np.float32), np.ones((1, TOKEN_BLOCK), np.uint8)
    run.run("quantize", x=x, panels=panels, width=32, bounds=bounds(1), parts=1)
    assert not panels.any()


@kinds
@pytest.mark.parametrize(("rows", "blocks", "tokens"), [(1, 1, 1), (16, 2, 5), (37, 3, 12), (70, 2, 30)])
def test_matmul_is_the_definition(run: Kernels, kind: GGMLType, rows: int, blocks: int, tokens: int) -> None:
    width = blocks * columns(kind)
    raw, x = random_blocks(kind, rows, rows, width), normal(tokens, tokens, width)
    y = multiply(run, kind, raw, x, threads=tokens % 3 + 1)
    expected(kind, raw, x).check(y[:, :rows])
    assert (y[:, rows:] == 0).all(), "rows of padding must give zero"


@kinds
@pytest.mark.parametrize("fill", [0x00, 0xFF, 0x80, 0x7F])
def test_the_largest_products_do_not_saturate(run: Kernels, kind: GGMLType, fill: int) -> None:
    # Every product has the same sign and nearly the largest magnitude: 16-bit partial sums would overflow here first.
    raw = random_blocks(kind, 1, 16, columns(kind), fill)
    for tokens, sign in ((1, 1), (4, -1), (13, 1), (13, -1)):
        x = np.full((tokens, columns(kind)), sign * 127, np.float32)
        expected(kind, raw, x).check(multiply(run, kind, raw, x))


@kinds
def test_a_token_is_the_same_bits_in_any_batch_and_on_any_team(run: Kernels, kind: GGMLType) -> None:
    width = 2 * columns(kind)
    raw, x = random_blocks(kind, 1, 52, width), normal(2, 30, width)
    w = packed(run, kind, raw)
    alone = np.concatenate([multiply_packed(run, kind, raw, w, x[t : t + 1]) for t in range(30)])
    for tokens in (2, 3, 4, 5, 8, 11, 12, 13, 16, 17, 24, 29, 30):
        got = multiply_packed(run, kind, raw, w, x[:tokens], threads=tokens % 3 + 1)
        assert same_bits(got, alone[:tokens]), f"{tokens} tokens differ from each alone"


@kinds
def test_each_part_of_the_rows_is_multiplied_by_its_own_matrix_as_if_alone(run: Kernels, kind: GGMLType) -> None:
    width, rows = 2 * columns(kind), bounds(3, 0, 13, 1, 0, 7)
    raws = [random_blocks(kind, part, 37, width) for part in range(6)]
    x = normal(2, 24, width)
    w = np.concatenate([packed(run, kind, raw) for raw in raws])
    for threads in THREADS:
        got = multiply_packed(run, kind, raws[0], w, x, threads=threads, rows=rows)
        for part, raw in enumerate(raws):
            own = slice(rows[part], rows[part + 1])
            if own.stop > own.start:
                assert same_bits(got[own], multiply(run, kind, raw, x[own])), f"part {part}, {threads} threads"


@kinds
def test_accumulate_adds_the_product_with_one_rounding(run: Kernels, kind: GGMLType) -> None:
    raw = random_blocks(kind, 1, 33, columns(kind))
    for tokens in (1, 5, 19):
        x, y = normal(2, tokens, columns(kind)), normal(3, tokens, 48)
        assert same_bits(multiply(run, kind, raw, x, y), multiply(run, kind, raw, x) + y)


@kinds
def test_packing_takes_rows_in_their_order_from_an_unaligned_tensor(run: Kernels, kind: GGMLType) -> None:
    raw = random_blocks(kind, 1, 40, 2 * columns(kind))
    order = np.random.default_rng(2).permutation(40).astype(np.int32)
    assert np.array_equal(packed(run, kind, misaligned(raw), order, threads=3), packed(run, kind, raw[order]))
