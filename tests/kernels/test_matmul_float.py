"""Matrices in float32, float16 and bfloat16, and their packing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.kernels import naive
from tests.kernels.running import EXAMPLES, THREADS, Kernels, bounds, misaligned, normal, same_bits


@dataclass(frozen=True, slots=True)
class Kind:
    """How float32 weights become a kernel's, and what they then mean."""

    matmul: str
    pack: str
    stored: Any

    def store(self, w: NDArray[np.float32]) -> NDArray[Any]:
        if self.matmul == "matmul_bf16":
            return (w.view(np.uint32) >> 16).astype(np.uint16)
        return w.astype(self.stored)

    def meaning(self, stored: NDArray[Any]) -> NDArray[Any]:
        if self.matmul == "matmul_bf16":
            return (stored.astype(np.uint32) << 16).view(np.float32)
        return stored


KINDS = [
    Kind("matmul_f32", "pack_f32", np.float32),
    Kind("matmul_f16", "pack_f16", np.float16),
    Kind("matmul_bf16", "pack_bf16", np.uint16),
]
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.matmul)


def multiply(
    run: Kernels, kind: Kind, stored: NDArray[Any], x: NDArray[np.float32], y: NDArray[np.float32] | None = None,
    threads: int = 1,
) -> NDArray[np.float32]:  # fmt: skip
    """x W^T into new rows, or added to y."""
    groups, columns = -(-len(stored) // 16), stored.shape[1]
    out = normal(9, len(x), groups * 16) if y is None else y.copy()
    run.run(
        kind.matmul, threads, w=naive.pack_plain(stored, np.arange(len(stored), dtype=np.int32)), x=x, y=out,
        groups=groups, columns=columns, x_stride=x.strides[0], y_stride=out.strides[0], bounds=bounds(len(x)),
        parts=1, accumulate=int(y is not None),
    )  # fmt: skip
    return out


@kinds
@EXAMPLES
@given(
    threads=st.sampled_from(THREADS), rows=st.integers(1, 70), columns=st.integers(1, 40), tokens=st.integers(1, 30),
    seed=st.integers(0, 2**32),
)  # fmt: skip
def test_matmul_is_the_definition(
    run: Kernels, kind: Kind, threads: int, rows: int, columns: int, tokens: int, seed: int
) -> None:
    stored, x = kind.store(normal(seed, rows, columns)), misaligned(normal(seed + 1, tokens, columns))
    y = multiply(run, kind, stored, x, threads=threads)
    naive.matmul(kind.meaning(stored), x).check(y[:, :rows])
    assert (y[:, rows:] == 0).all(), "rows of padding must give zero"


@kinds
def test_a_token_is_the_same_bits_in_any_batch_and_on_any_team(run: Kernels, kind: Kind) -> None:
    stored, x = kind.store(normal(1, 52, 67)), normal(2, 30, 67)
    alone = np.concatenate([multiply(run, kind, stored, x[t : t + 1]) for t in range(30)])
    for tokens in range(1, 31):
        got = multiply(run, kind, stored, x[:tokens], threads=tokens % 3 + 1)
        assert same_bits(got, alone[:tokens]), f"{tokens} tokens differ from each alone"


@kinds
@pytest.mark.parametrize("threads", THREADS)
def test_each_part_of_the_rows_is_multiplied_by_its_own_matrix_as_if_alone(
    run: Kernels, kind: Kind, threads: int
) -> None:
    rows, parts, x = bounds(3, 0, 13, 1, 0, 7), [kind.store(normal(i, 37, 24)) for i in range(6)], normal(7, 24, 24)
    y, order = normal(8, 24, 48), np.arange(37, dtype=np.int32)
    run.run(
        kind.matmul, threads, w=np.concatenate([naive.pack_plain(w, order) for w in parts]), x=x, y=y, groups=3,
        columns=24, x_stride=x.strides[0], y_stride=y.strides[0], bounds=rows, parts=6, accumulate=0,
    )  # fmt: skip
    for part, stored in enumerate(parts):
        own = slice(rows[part], rows[part + 1])
        if own.stop > own.start:
            assert same_bits(y[own], multiply(run, kind, stored, x[own].copy()))


@kinds
@pytest.mark.parametrize("tokens", [1, 5, 19])
def test_accumulate_adds_the_product_with_one_rounding(run: Kernels, kind: Kind, tokens: int) -> None:
    stored, x, y = kind.store(normal(1, 33, 24)), normal(2, tokens, 24), normal(3, tokens, 48)
    assert same_bits(multiply(run, kind, stored, x, y), multiply(run, kind, stored, x) + y)


@kinds
def test_strides_leave_the_columns_between_rows_alone(run: Kernels, kind: Kind) -> None:
    stored, x = kind.store(normal(1, 16, 8)), normal(2, 7, 24)
    y = normal(3, 9, 48)
    before = y.copy()
    run.run(
        kind.matmul, 2, w=naive.pack_plain(stored, np.arange(16, dtype=np.int32)), x=x, y=y, groups=1, columns=8,
        x_stride=x.strides[0], y_stride=y.strides[0], bounds=bounds(7), parts=1, accumulate=0,
    )  # fmt: skip
    assert same_bits(y[:7, :16], multiply(run, kind, stored, x[:, :8].copy()))
    assert same_bits(y[:, 16:], before[:, 16:])
    assert same_bits(y[7:], before[7:])


@EXAMPLES
@given(
    bits=st.sampled_from([16, 32]), threads=st.sampled_from(THREADS), rows=st.integers(1, 50),
    columns=st.integers(1, 9), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_packing_interleaves_reordered_rows_of_an_unaligned_tensor(
    run: Kernels, bits: int, threads: int, rows: int, columns: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    dtype = np.uint16 if bits == 16 else np.uint32
    source, order = random.integers(0, 2**bits, (rows, columns)).astype(dtype), random.permutation(rows)
    groups = -(-rows // 16)
    target = np.full(groups * 16 * columns + 1, 77, dtype)
    run.run(
        f"pack_f{bits}", threads, source=misaligned(source), order=order.astype(np.int32), target=target, rows=rows,
        groups=groups, columns=columns,
    )  # fmt: skip
    assert np.array_equal(target[:-1], naive.pack_plain(source, order.astype(np.int32)))
    assert target[-1] == 77
