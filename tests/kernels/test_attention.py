"""Rotary embedding, the paged cache and attention over it, against softmax(q k) v of each token by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from puna.kernels.tiling import ROWS_MANY
from tests.kernels import naive
from tests.kernels.running import EXAMPLES, THREADS, Kernels, live, misaligned, normal, same_bits

NUM_BLOCKS = 48
DTYPES = {"f16": np.float16, "f32": np.float32}
kv_types = pytest.mark.parametrize("kv_type", DTYPES)


@dataclass(frozen=True, slots=True)
class Heads:
    """Sizes of an attention layer."""

    kv: int
    group: int
    key: int
    value: int

    @property
    def q(self) -> int:
        return self.kv * self.group


SIZES = [16, 32, 48, 64, 80, 128]
heads_of_any_shape = st.builds(
    Heads, st.integers(1, 3), st.sampled_from([1, 2, 4, 7, 8, 32]), st.sampled_from(SIZES), st.sampled_from(SIZES)
)


class Conversation:
    """One sequence: its keys, values and queries, and a block table that is in no order."""

    def __init__(self, heads: Heads, length: int, kv_type: str, seed: int, table: NDArray[np.int64]) -> None:
        dtype = DTYPES[kv_type]
        self.heads, self.length, self.table = heads, length, table
        self.q = normal(seed, length, heads.q, heads.key)
        self.k = naive.to_pool(normal(seed + 1, length, heads.kv, heads.key), dtype)
        self.v = naive.to_pool(normal(seed + 2, length, heads.kv, heads.value), dtype)

    def store(self, pool: NDArray[Any], start: int, stop: int) -> None:
        for position in range(start, stop):
            naive.store_kv(pool, self.table, position, self.k[position], self.v[position])

    def expected(self, position: int) -> naive.Bounded:
        seen = position + 1
        return naive.attention(self.q[position], self.k[:seen], self.v[:seen], 1 / math.sqrt(self.heads.key))


def garbage_pool(heads: Heads, kv_type: str, seed: int) -> NDArray[Any]:
    """A pool that earlier sequences have left full of large, finite numbers."""
    shape = (NUM_BLOCKS, heads.kv, 32 * (heads.key + heads.value))
    largest = {"f16": 65504, "f32": 3e38}[kv_type]
    signs = np.random.default_rng(seed).choice([-1, 1], shape)
    return (signs * largest).astype(DTYPES[kv_type])


def conversations(heads: Heads, lengths: Sequence[int], kv_type: str, seed: int) -> list[Conversation]:
    """Sequences whose blocks are dealt out at random."""
    free = np.random.default_rng(seed).permutation(NUM_BLOCKS).astype(np.int64)
    made = []
    for i, length in enumerate(lengths):
        count = -(-length // 32)
        table, free = free[:count], free[count:]
        made.append(Conversation(heads, length, kv_type, seed + 10 * i, table.copy()))
    return made


def attend(
    run: Kernels, parts: Sequence[tuple[Conversation, int, int]], pool: NDArray[Any], kv_type: str, threads: int = 1
) -> list[NDArray[np.float32]]:
    """Attention of positions start to stop of each conversation, all in one call."""
    heads = parts[0][0].heads
    q = misaligned(np.concatenate([c.q[start:stop] for c, start, stop in parts]).reshape(-1, heads.q * heads.key))
    out = np.full((len(q) + 1, heads.q * heads.value + 16), 77, np.float32)
    segments, row = [], 0
    for c, start, stop in parts:
        segments.append((row, stop - start, start, c.table.ctypes.data))
        row += stop - start
    rows = max(ROWS_MANY, heads.group)
    scratch_bytes = 4 * rows * (heads.key + heads.value + 273)
    scratch = np.full(threads * scratch_bytes + 64, 99, np.uint8)
    run.run(
        f"attention_{kv_type}", threads, q=q, out=out, pool=pool, segments=np.array(segments, np.int64),
        scratch=scratch, scratch_bytes=scratch_bytes, q_heads=heads.q, heads=heads.kv, key=heads.key,
        value=heads.value, q_stride=q.strides[0], out_stride=out.strides[0], scale=1 / math.sqrt(heads.key),
        count=live(len(segments)),
    )  # fmt: skip
    assert (scratch[-64:] == 99).all(), "written beyond the scratch memory"
    assert (out[-1] == 77).all(), "written beyond the last row"
    assert (out[:, heads.q * heads.value :] == 77).all(), "written between the rows"
    used = out[:-1, : heads.q * heads.value].reshape(-1, heads.q, heads.value)
    return np.split(used, np.cumsum([stop - start for _, start, stop in parts])[:-1])


@EXAMPLES
@given(
    threads=st.sampled_from(THREADS), rows=st.integers(1, 9), heads=st.integers(1, 4), half=st.integers(1, 40),
    rest=st.integers(0, 30), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_rope_rotates_each_head_by_its_rows_position(
    run: Kernels, threads: int, rows: int, heads: int, half: int, rest: int, seed: int
) -> None:
    size, rotated = 2 * half + rest, 2 * half
    angles = np.random.default_rng(seed).uniform(-9, 9, (20, half))
    table = np.concatenate([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    positions = np.random.default_rng(seed + 1).integers(0, 20, rows)
    x = normal(seed + 2, rows + 1, heads * size + 3)
    before = x.copy()
    run.run(
        "rope", threads, x=x, cos_sin=table, positions=positions, heads=heads, size=size, stride=x.strides[0],
        rotated=rotated, rows=live(rows),
    )  # fmt: skip
    q = before[:-1, :-3].reshape(rows, heads, size)
    naive.rope(q, table[positions], rotated).check(x[:-1, :-3].reshape(rows, heads, size))
    assert same_bits(x[-1], before[-1])
    assert same_bits(x[:, -3:], before[:, -3:])


@kv_types
@EXAMPLES
@given(heads=heads_of_any_shape, threads=st.sampled_from(THREADS), start=st.integers(0, 70), seed=st.integers(0, 2**32))
def test_keys_and_values_land_in_the_slot_of_their_position_and_nowhere_else(
    run: Kernels, kv_type: str, heads: Heads, threads: int, start: int, seed: int
) -> None:
    pool = garbage_pool(heads, kv_type, seed)
    expected, table = pool.copy(), np.random.default_rng(seed).permutation(NUM_BLOCKS).astype(np.int64)
    rows = 7
    k, v = normal(seed, rows, heads.kv * heads.key + 16) * 1e3, normal(seed + 1, rows, heads.kv * heads.value + 32)
    k[0, 0], v[0, 0], k[1, 1], v[1, 1] = 1e6, -1e6, 65519.9, 2e-8  # beyond float16, its last, its subnormals
    for row in range(rows):
        ks, vs = k[row, :-16].reshape(heads.kv, -1), v[row, :-32].reshape(heads.kv, -1)
        naive.store_kv(expected, table, start + row, ks, vs)
    run.run(
        f"store_kv_{kv_type}", threads, k=k, v=v, pool=pool, positions=np.arange(start, start + rows),
        tables=np.full(rows, table.ctypes.data, np.int64), heads=heads.kv, key=heads.key, value=heads.value,
        k_stride=k.strides[0], v_stride=v.strides[0], rows=live(rows),
    )  # fmt: skip
    assert np.array_equal(pool.view(np.uint8), expected.view(np.uint8))


@kv_types
@EXAMPLES
@given(
    heads=heads_of_any_shape, lengths=st.lists(st.integers(1, 90), min_size=1, max_size=4),
    threads=st.sampled_from(THREADS), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_attention_of_several_prompts_in_one_step_is_the_definition(
    run: Kernels, kv_type: str, heads: Heads, lengths: list[int], threads: int, seed: int
) -> None:
    pool, made = garbage_pool(heads, kv_type, seed), conversations(heads, lengths, kv_type, seed)
    for c in made:
        c.store(pool, 0, c.length)
    for c, got in zip(made, attend(run, [(c, 0, c.length) for c in made], pool, kv_type, threads), strict=True):
        for position in {0, c.length // 2, c.length - 1}:
            c.expected(position).check(got[position])


@kv_types
@pytest.mark.parametrize("group", [1, 4, 7, 32])
def test_attention_is_the_definition_on_both_sides_of_a_chunk_of_256(run: Kernels, kv_type: str, group: int) -> None:
    heads = Heads(kv=2, group=group, key=32, value=48)
    (c,) = conversations(heads, [530], kv_type, 5)
    pool = garbage_pool(heads, kv_type, 6)
    c.store(pool, 0, 530)
    for start, stop in [(250, 262), (255, 256), (256, 257), (505, 530)]:
        (got,) = attend(run, [(c, start, stop)], pool, kv_type, threads=2)
        for position in range(start, stop):
            c.expected(position).check(got[position - start])


@kv_types
@EXAMPLES
@given(
    heads=heads_of_any_shape, length=st.integers(1, 300), cuts=st.lists(st.integers(1, 299), max_size=6),
    threads=st.sampled_from(THREADS), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_a_prompt_in_chunks_beside_others_and_over_garbage_is_the_same_bits(
    run: Kernels, kv_type: str, heads: Heads, length: int, cuts: list[int], threads: int, seed: int
) -> None:
    c, other = conversations(heads, [length, 40], kv_type, seed)
    pool = np.zeros_like(garbage_pool(heads, kv_type, seed))
    c.store(pool, 0, length)
    (whole,) = attend(run, [(c, 0, length)], pool, kv_type)
    pool = garbage_pool(heads, kv_type, seed + 1)  # positions that are not stored yet hold what others left
    other.store(pool, 0, 40)
    ends = sorted({cut for cut in cuts if cut < length} | {length})
    for start, stop in zip([0, *ends[:-1]], ends, strict=True):
        c.store(pool, start, stop)
        _, got, _ = attend(run, [(other, 3, 9), (c, start, stop), (other, 39, 40)], pool, kv_type, threads)
        assert same_bits(got, whole[start:stop]), f"positions {start} to {stop} differ"


@kv_types
def test_decoding_token_by_token_is_the_same_bits_as_the_prompt_at_once(run: Kernels, kv_type: str) -> None:
    heads = Heads(kv=2, group=4, key=64, value=64)
    (c,) = conversations(heads, [70], kv_type, 8)
    pool = garbage_pool(heads, kv_type, 9)
    c.store(pool, 0, 70)
    (whole,) = attend(run, [(c, 0, 70)], pool, kv_type, threads=3)
    for position in range(70):
        (got,) = attend(run, [(c, position, position + 1)], pool, kv_type, threads=position % 3 + 1)
        assert same_bits(got, whole[position : position + 1])


@kv_types
def test_scores_far_apart_neither_overflow_nor_vanish(run: Kernels, kv_type: str) -> None:
    # The largest score comes first, then last: the running maximum must rescale, and never divide by zero.
    heads = Heads(kv=1, group=1, key=16, value=16)
    for largest in (0, 299):
        (c,) = conversations(heads, [300], kv_type, 4)
        c.k[:] = -100
        c.k[largest] = 100
        c.q[:] = 10
        pool = garbage_pool(heads, kv_type, 1)
        c.store(pool, 0, 300)
        (got,) = attend(run, [(c, 299, 300)], pool, kv_type)
        assert np.array_equal(got[0, 0], c.v[largest, 0].astype(np.float32))
