"""Matrices in Q8_0 and Q4_0, their packing, and the quantisation of activations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kernels import naive
from tests.kernels.quantized import KINDS, Kind, expected_panels, multiply, quantize
from tests.kernels.running import EXAMPLES, THREADS, Kernels, live, misaligned, normal, same_bits

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


def test_quantize_rounds_ties_to_even_and_keeps_the_ends(run: Kernels) -> None:
    x = np.array([[127, -127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, -126.5, *[0] * 22]], np.float32)
    quants = naive.quantize(x).quants[0, :10].tolist()
    assert quants == [127, -127, 0, 2, 2, 0, -2, -2, 126, -126]
    assert np.array_equal(quantize(run, x), expected_panels(x))


def test_quantize_of_a_block_of_zeros_is_zeros_and_not_nan(run: Kernels) -> None:
    x = np.zeros((5, 64), np.float32)
    assert not quantize(run, x, 2).any()


@kinds
@EXAMPLES
@given(
    threads=st.sampled_from(THREADS), rows=st.integers(1, 70), blocks=st.integers(1, 6), tokens=st.integers(1, 30),
    seed=st.integers(0, 2**32),
)  # fmt: skip
def test_matmul_is_the_definition(
    run: Kernels, kind: Kind, threads: int, rows: int, blocks: int, tokens: int, seed: int
) -> None:
    (quants, scales), x = kind.random(seed, rows, blocks), normal(seed + 1, tokens, blocks * 32)
    y = multiply(run, kind, kind.blocks(quants, scales), x, threads=threads)
    naive.matmul_quantized(quants, scales, naive.quantize(x)).check(y[:, :rows])
    assert (y[:, rows:] == 0).all(), "rows of padding must give zero"


@kinds
@pytest.mark.parametrize("tokens", [1, 4, 13])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_products_do_not_saturate(run: Kernels, kind: Kind, tokens: int, sign: int) -> None:
    # Every product has the same sign and the largest magnitude: 16-bit partial sums would overflow here first.
    for quant in (kind.least, kind.most):
        blocks = kind.blocks(np.full((16, 64), quant), np.ones((16, 2), np.float16))
        y = multiply(run, kind, blocks, np.full((tokens, 64), sign * 127, np.float32))
        assert (y == 64 * quant * sign * 127).all()


@kinds
def test_a_token_is_the_same_bits_in_any_batch_and_on_any_team(run: Kernels, kind: Kind) -> None:
    blocks, x = kind.blocks(*kind.random(1, 52, 9)), normal(2, 30, 9 * 32)
    alone = np.concatenate([multiply(run, kind, blocks, x[t : t + 1]) for t in range(30)])
    for tokens in range(1, 31):
        got = multiply(run, kind, blocks, x[:tokens], threads=tokens % 3 + 1)
        assert same_bits(got, alone[:tokens]), f"{tokens} tokens differ from each alone"


@kinds
@pytest.mark.parametrize("tokens", [1, 5, 19])
def test_accumulate_adds_the_product_with_one_rounding(run: Kernels, kind: Kind, tokens: int) -> None:
    blocks, x, y = kind.blocks(*kind.random(1, 33, 3)), normal(2, tokens, 96), normal(3, tokens, 48)
    assert same_bits(multiply(run, kind, blocks, x, y), multiply(run, kind, blocks, x) + y)


@kinds
@EXAMPLES
@given(threads=st.sampled_from(THREADS), rows=st.integers(1, 50), blocks=st.integers(1, 5), seed=st.integers(0, 2**32))
def test_packing_interleaves_reordered_rows_of_an_unaligned_tensor(
    run: Kernels, kind: Kind, threads: int, rows: int, blocks: int, seed: int
) -> None:
    source = kind.blocks(*kind.random(seed, rows, blocks))
    order = np.random.default_rng(seed).permutation(rows).astype(np.int32)
    expected = naive.pack_quantized(source, order)
    target = np.full(len(expected) + 64, 77, np.uint8)
    run.run(
        f"pack_{kind.name}", threads, source=misaligned(source), order=order, target=target, rows=rows,
        groups=-(-rows // 16), blocks=blocks,
    )  # fmt: skip
    assert np.array_equal(target[:-64], expected)
    assert (target[-64:] == 77).all()


def test_vanishing_activations_count_as_zero_and_never_overflow(run: Kernels) -> None:
    """127 / max|x| is infinite below 4e-37: quants would be garbage with a garbage sum."""
    x, panels = np.full((1, 32), 1e-37, np.float32), np.ones((1, 40), np.uint8)
    run.run("quantize", x=x, panels=panels, width=32, rows=live(1))
    assert not panels.any()
