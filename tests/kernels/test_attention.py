"""Rotary embedding, the paged cache and attention over it, against softmax(q k) v of each token by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from puna.kernels.attention_sizes import scratch_bytes
from puna.kernels.tape import Argument
from tests.kernels import naive
from tests.kernels.running import EXAMPLES, THREADS, Kernels, live, misaligned, normal, same_bits

NUM_BLOCKS = 48
kv_types = pytest.mark.parametrize("kv_type", ["f16", "q8_0", "f32"])


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


@dataclass(frozen=True, slots=True)
class Kind:
    """Which positions are seen and how their scores are bent."""

    window: int = 0
    softcap: float = 0.0
    causal: bool = True
    sinks: bool = False

    def of_heads(self, count: int) -> NDArray[np.float32]:
        """Each query head's sink."""
        return normal(4, count) * np.float32(3) if self.sinks else np.full(count, -1e30, np.float32)


PLAIN = Kind()
GROUPS = [1, 2, 4, 7, 8, 32]
windows = st.sampled_from([0, 0, 1, 5, 31, 64, 100, 257])
kinds = st.builds(Kind, windows, st.sampled_from([0.0, 0.0, 3.0, 50.0]), sinks=st.booleans())


def heads_for(kv_type: str) -> st.SearchStrategy[Heads]:
    """Every shape that a cache of this type can hold."""
    sizes = st.sampled_from([32, 64, 96, 128] if kv_type == "q8_0" else [16, 32, 48, 64, 80, 128])
    return st.builds(Heads, st.integers(1, 3), st.sampled_from(GROUPS), sizes, sizes)


class Conversation:
    """One sequence: its keys, values and queries, and a block table that is in no order."""

    def __init__(self, heads: Heads, length: int, pool: naive.KVBlocks, seed: int, table: NDArray[np.int64]) -> None:
        self.heads, self.length, self.table = heads, length, table
        self.q = normal(seed, length, heads.q, heads.key)
        self.k = normal(seed + 1, length, heads.kv, heads.key)
        self.v = normal(seed + 2, length, heads.kv, heads.value)
        self.pool = pool

    def store(self, pool: naive.KVBlocks, start: int, stop: int) -> None:
        for position in range(start, stop):
            pool.store(self.table, position, self.k[position], self.v[position])

    def expected(self, position: int, kind: Kind) -> naive.Bounded:
        end = position + 1 if kind.causal else min(self.length, position + (kind.window or self.length))
        seen = slice(max(0, position + 1 - kind.window) if kind.window else 0, end)
        k, v = self.pool.held(self.k[seen]), self.pool.held(self.v[seen])
        scale, sinks = 1 / math.sqrt(self.heads.key), kind.of_heads(self.heads.q)
        return naive.attention(self.q[position], k, v, scale, softcap=kind.softcap, sinks=sinks)


def garbage_pool(heads: Heads, kv_type: str, seed: int) -> naive.KVBlocks:
    """A pool that earlier sequences have left full of large, finite numbers."""
    pool = naive.KVBlocks(kv_type, NUM_BLOCKS, heads.kv, heads.key, heads.value)
    random = np.random.default_rng(seed)
    if kv_type == "q8_0":
        random_bytes = random.integers(0, 256, pool.data.shape, np.uint8)
        pool.data[:] = random_bytes
        floats = pool.data.reshape(-1).view(np.float32)
        floats[~(np.abs(floats) < 1e28)] = 1e28  # every aligned word is a scale that could have been stored
        return pool
    numbers = pool.data.reshape(-1).view(pool.dtype)
    numbers[:] = random.choice([-1, 1], numbers.shape) * {"f16": 65504, "f32": 3e38}[kv_type]
    return pool


def conversations(heads: Heads, lengths: Sequence[int], pool: naive.KVBlocks, seed: int) -> list[Conversation]:
    """Sequences whose blocks are dealt out at random."""
    free = np.random.default_rng(seed).permutation(NUM_BLOCKS).astype(np.int64)
    made = []
    for i, length in enumerate(lengths):
        count = -(-length // 32)
        table, free = free[:count], free[count:]
        made.append(Conversation(heads, length, pool, seed + 10 * i, table.copy()))
    return made


def attend(
    run: Kernels, parts: Sequence[tuple[Conversation, int, int]], pool: naive.KVBlocks, kind: Kind = PLAIN,
    threads: int = 1,
) -> list[NDArray[np.float32]]:  # fmt: skip
    """Attention of positions start to stop of each conversation, all in one call."""
    heads = parts[0][0].heads
    q = misaligned(np.concatenate([c.q[start:stop] for c, start, stop in parts]).reshape(-1, heads.q * heads.key))
    out = np.full((len(q) + 1, heads.q * heads.value + 16), 77, np.float32)
    segments, row = [], 0
    for c, start, stop in parts:
        segments.append((row, stop - start, start, c.table.ctypes.data))
        row += stop - start
    size = scratch_bytes(heads.group, heads.key, heads.value, NUM_BLOCKS * 32)
    scratch = np.full(threads * size + 64, 99, np.uint8)
    memory: dict[str, Argument] = {"segments": np.array(segments, np.int64), "scratch": scratch, "scratch_bytes": size}
    sizes: dict[str, Argument] = {"q_heads": heads.q, "heads": heads.kv, "key": heads.key, "value": heads.value}
    last: dict[str, Argument] = {
        "window": kind.window, "causal": int(kind.causal), "sinks": kind.of_heads(heads.q),
        "count": live(len(segments)),
    }  # fmt: skip
    run.run(
        f"attention_{pool.kv_type}", threads, q=q, out=out, pool=pool.data, **memory, **sizes, q_stride=q.strides[0],
        out_stride=out.strides[0], scale=1 / math.sqrt(heads.key), softcap=kind.softcap, **last,
    )  # fmt: skip
    run.run("merge_attention", threads, out=out, **memory, **sizes, out_stride=out.strides[0], **last)
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
@given(data=st.data(), threads=st.sampled_from(THREADS), start=st.integers(0, 70), seed=st.integers(0, 2**32))
def test_keys_and_values_land_in_the_slot_of_their_position_and_nowhere_else(
    run: Kernels, kv_type: str, data: st.DataObject, threads: int, start: int, seed: int
) -> None:
    heads = data.draw(heads_for(kv_type))
    pool, expected = garbage_pool(heads, kv_type, seed), garbage_pool(heads, kv_type, seed)
    table = np.random.default_rng(seed).permutation(NUM_BLOCKS).astype(np.int64)
    rows = 7
    k, v = normal(seed, rows, heads.kv * heads.key + 16) * 1e3, normal(seed + 1, rows, heads.kv * heads.value + 32)
    k[0, 0], v[0, 0], k[1, 1], v[1, 1] = 1e6, -1e6, 65519.9, 2e-8  # beyond float16, its last, its subnormals
    v[2, : heads.value] = 0
    for row in range(rows):
        ks, vs = k[row, :-16].reshape(heads.kv, -1), v[row, :-32].reshape(heads.kv, -1)
        expected.store(table, start + row, ks, vs)
    run.run(
        f"store_kv_{kv_type}", threads, k=k, v=v, pool=pool.data, positions=np.arange(start, start + rows),
        tables=np.full(rows, table.ctypes.data, np.int64), heads=heads.kv, key=heads.key, value=heads.value,
        k_stride=k.strides[0], v_stride=v.strides[0], rows=live(rows),
    )  # fmt: skip
    assert np.array_equal(pool.data, expected.data)


@kv_types
@EXAMPLES
@given(
    data=st.data(), lengths=st.lists(st.integers(1, 90), min_size=1, max_size=4), kind=kinds,
    threads=st.sampled_from(THREADS), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_attention_of_several_prompts_in_one_step_is_the_definition(
    run: Kernels, kv_type: str, data: st.DataObject, lengths: list[int], kind: Kind, threads: int, seed: int
) -> None:
    heads = data.draw(heads_for(kv_type))
    pool = garbage_pool(heads, kv_type, seed)
    made = conversations(heads, lengths, pool, seed)
    for c in made:
        c.store(pool, 0, c.length)
    for c, got in zip(made, attend(run, [(c, 0, c.length) for c in made], pool, kind, threads), strict=True):
        for position in {0, c.length // 2, c.length - 1}:
            c.expected(position, kind).check(got[position])


@kv_types
@pytest.mark.parametrize(
    "kind", [PLAIN, Kind(window=256), Kind(window=9), Kind(window=300, softcap=2.0, sinks=True)], ids=str
)
@pytest.mark.parametrize("group", [1, 4, 7, 32])
def test_attention_is_the_definition_on_both_sides_of_a_chunk_of_256(
    run: Kernels, kv_type: str, kind: Kind, group: int
) -> None:
    heads = Heads(kv=2, group=group, key=32, value=64)
    pool = garbage_pool(heads, kv_type, 6)
    (c,) = conversations(heads, [530], pool, 5)
    c.store(pool, 0, 530)
    for start, stop in [(250, 262), (255, 256), (256, 257), (505, 530)]:
        (got,) = attend(run, [(c, start, stop)], pool, kind, threads=2)
        for position in range(start, stop):
            c.expected(position, kind).check(got[position - start])


@kv_types
@EXAMPLES
@given(
    data=st.data(), length=st.integers(1, 900), cuts=st.lists(st.integers(1, 899), max_size=6), kind=kinds,
    threads=st.sampled_from(THREADS), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_a_prompt_in_chunks_beside_others_and_over_garbage_is_the_same_bits(
    run: Kernels, kv_type: str, data: st.DataObject, length: int, cuts: list[int], kind: Kind, threads: int, seed: int
) -> None:
    heads = data.draw(heads_for(kv_type))
    pool = naive.KVBlocks(kv_type, NUM_BLOCKS, heads.kv, heads.key, heads.value)
    c, other = conversations(heads, [length, 40], pool, seed)
    c.store(pool, 0, length)
    (whole,) = attend(run, [(c, 0, length)], pool, kind)
    pool = garbage_pool(heads, kv_type, seed + 1)  # positions that are not stored yet hold what others left
    other.store(pool, 0, 40)
    ends = sorted({cut for cut in cuts if cut < length} | {length})
    for start, stop in zip([0, *ends[:-1]], ends, strict=True):
        c.store(pool, start, stop)
        _, got, _ = attend(run, [(other, 3, 9), (c, start, stop), (other, 39, 40)], pool, kind, threads)
        assert same_bits(got, whole[start:stop]), f"positions {start} to {stop} differ"


@kv_types
@EXAMPLES
@given(
    data=st.data(), lengths=st.lists(st.integers(1, 300), min_size=1, max_size=4), window=windows,
    threads=st.sampled_from(THREADS), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_whole_texts_see_both_sides_are_closed_to_each_other_and_the_same_bits_alone(
    run: Kernels, kv_type: str, data: st.DataObject, lengths: list[int], window: int, threads: int, seed: int
) -> None:
    heads, kind = data.draw(heads_for(kv_type)), Kind(window, causal=False)
    pool = garbage_pool(heads, kv_type, seed)
    made = conversations(heads, lengths, pool, seed)
    for c in made:
        c.store(pool, 0, c.length)
    together = attend(run, [(c, 0, c.length) for c in made], pool, kind, threads)
    for c, got in zip(made, together, strict=True):
        for position in {0, c.length // 2, c.length - 1}:
            c.expected(position, kind).check(got[position])
        (alone,) = attend(run, [(c, 0, c.length)], pool, kind)
        assert same_bits(got, alone)


@kv_types
@pytest.mark.parametrize("kind", [PLAIN, Kind(window=300), Kind(softcap=5.0), Kind(sinks=True)], ids=str)
@pytest.mark.parametrize("kv", [1, 2])
def test_decoding_far_into_a_context_is_the_same_bits_on_any_number_of_threads(
    run: Kernels, kv_type: str, kind: Kind, kv: int
) -> None:
    # One head on three threads: they divide its chunks, and what they leave is merged.
    heads = Heads(kv=kv, group=4, key=64, value=64)
    pool = garbage_pool(heads, kv_type, 9)
    (c,) = conversations(heads, [1400], pool, 8)
    c.store(pool, 0, 1400)
    (whole,) = attend(run, [(c, 1300, 1400)], pool, kind)
    c.expected(1399, kind).check(whole[99])
    for position in (1300, 1343, 1344, 1399):
        for threads in THREADS:
            (got,) = attend(run, [(c, position, position + 1)], pool, kind, threads)
            assert same_bits(got, whole[position - 1300 : position - 1299])


@kv_types
def test_positions_older_than_the_window_are_not_even_read(run: Kernels, kv_type: str) -> None:
    heads = Heads(kv=1, group=2, key=32, value=32)
    pool = garbage_pool(heads, kv_type, 2)
    (c,) = conversations(heads, [700], pool, 3)
    c.store(pool, 0, 700)
    (before,) = attend(run, [(c, 699, 700)], pool, Kind(window=40))
    c.table[:20] = 1 << 40  # blocks of positions 0 to 639: an address that would be a fault
    (after,) = attend(run, [(c, 699, 700)], pool, Kind(window=40))
    assert same_bits(before, after)


@kv_types
def test_scores_far_apart_neither_overflow_nor_vanish(run: Kernels, kv_type: str) -> None:
    # The largest score comes first, then last: the running maximum must rescale, and never divide by zero.
    heads = Heads(kv=1, group=1, key=32, value=32)
    for largest in (0, 299):
        pool = garbage_pool(heads, kv_type, 1)
        (c,) = conversations(heads, [300], pool, 4)
        c.k[:] = -100
        c.k[largest] = 100
        c.q[:] = 10
        c.store(pool, 0, 300)
        (got,) = attend(run, [(c, 299, 300)], pool)
        assert np.array_equal(got[0, 0], pool.held(c.v[largest, 0]).astype(np.float32))
