"""Attention over paged keys and values: softmax(q k) v, causal or of whole texts, perhaps of a window; grouped heads.

Positions are taken in chunks of 256, counted from 0. Each chunk gives a record of every query row (its largest
score, the sum of the exponentials, their weighted values), and records are merged in the chunks' order (online
softmax, Milakov & Gimelshein 2018). So a row's bits depend neither on how the prompt was split, nor on its companions
in the batch, nor on which thread computed which chunk: threads share out chunks evenly, however few sequences there
are, and `merge_attention` puts together what they have divided. Knows nothing of what rows mean.
"""

from __future__ import annotations

import math

import numpy as np

from puna.kernels.attention_blocks import bytes_f16, bytes_f32, bytes_q8_0, unpack_f16, unpack_q8_0
from puna.kernels.attention_sizes import BLOCK, CHUNK, HEADER, SUBTILE, TILE
from puna.kernels.kernel import Address, Float, Int, Live, by_tiles, helper, kernel, kernel_of
from puna.kernels.sharing import begun
from puna.kernels.tiling import ROWS, ROWS_MANY
from puna.simd import (
    exp,
    exp2,
    f32_tile,
    fma,
    fma_tile,
    get_f32,
    get_i64,
    keep_below,
    keep_from,
    load_f16,
    load_f32,
    maximum,
    reduce_add,
    reduce_max,
    scatter_f32,
    set_f32,
    set_i64,
    splat_f32,
    store_f32,
    store_tile,
)

f32 = np.float32
MASKED = f32(-1e30)
LOG2_E = f32(math.log2(math.e))
BLOCKS = CHUNK // BLOCK
SCORES = CHUNK * 4  # bytes of a row of scores


# --- how threads share the work ----------------------------------------------------------------------
#
# An item is one KV head's rows of one tile: some tokens of a segment. A unit of work is a chunk of an item, as heavy
# as the item has rows. A thread takes the units that begin in its part of the whole; items are counted segment by
# segment, tile by tile, head by head.


@helper
def _first_chunk(position, window):
    return max(0, position - window + 1) // CHUNK if window > 0 else 0


@helper
def _sight(causal, position, end, window):
    """Before which position a token sees that comes just before `position`, in a segment that ends before `end`."""
    if causal:
        return position
    return min(end, position + window - 1) if window > 0 else end


@helper
def _chunks(position, seen, window):
    """How many chunks the tokens from `position` on can see, which see nothing from the position `seen` on."""
    return (seen - 1) // CHUNK + 1 - _first_chunk(position, window)


@helper
def _whole_work(segments, count, tile, window, heads, causal):
    work = 0
    for s in range(count):
        length, position = get_i64(segments + s * 32 + 8), get_i64(segments + s * 32 + 16)
        for t in range(0, length, tile):
            n = min(tile, length - t)
            seen = _sight(causal, position + t + n, position + length, window)
            work += _chunks(position + t, seen, window) * n * heads
    return work


# --- scores and outputs of a tile of rows ------------------------------------------------------------


def _make_pack(count):
    @helper
    def pack(row, q, first_row, stride, group, factor, panel, key):
        """Query rows, counted from `first_row`, scaled and side by side: [key][count]."""
        for r in range(first_row + row, first_row + row + count):
            source = q + r // group * stride + r % group * key * 4
            for d in range(0, key, 16):
                target = panel + (row * key + d * count + r - first_row - row) * 4
                scatter_f32(target, count * 4, load_f32(source + d * 4) * splat_f32(factor))

    return pack


_pack = by_tiles(_make_pack, ROWS)


def _make_scores(load, size):
    def make(count):
        @helper
        def scores(row, panel, keys, key, out):
            """Of rows against the 16 keys of half a block."""
            acc, q = f32_tile(count), panel + row * key * 4
            for d in range(key):
                acc = fma_tile(acc, load(keys + d * 16 * size), q + d * count * 4, 4)
            store_tile(acc, out + row * SCORES, SCORES)

        return scores

    return by_tiles(make, ROWS)


def _make_weigh(load, size):
    def make(count):
        @helper
        def weigh(row, p, values, first, last, offset, width, out, record):
            """16 columns of the rows' weighted values, position by position."""
            acc = f32_tile(count)
            for b in range(first, last):
                v, weights = get_i64(values + b * 8) + offset, p + row * SCORES + b * BLOCK * 4
                for slot in range(BLOCK):
                    acc = fma_tile(acc, load(v + slot * width * size), weights + slot * 4, SCORES)
            store_tile(acc, out + row * record, record)

        return weigh

    return by_tiles(make, ROWS)


@helper
def _cap(score, softcap):
    """softcap tanh(score / softcap), of scores times log2 e; tanh x = 1 - 2 / (1 + e**2x)."""
    twice = splat_f32(f32(2) / (softcap * LOG2_E))
    one, two = splat_f32(f32(1)), splat_f32(f32(2))
    return splat_f32(softcap * LOG2_E) * (one - two / (one + exp(score * twice)))


@helper
def _soften(s, seen_from, seen_to, first, last, softcap, record):
    """One row's scores of a chunk to exponentials; their maximum and sum to its record. Unseen scores become 0."""
    top = splat_f32(MASKED)
    for j in range(first * BLOCK, last * BLOCK, 16):
        v = load_f32(s + j * 4)
        if softcap > f32(0):
            v = _cap(v, softcap)
        if j + 16 > seen_to:
            v = keep_below(v, seen_to - j, MASKED)
        if j < seen_from:
            v = keep_from(v, seen_from - j, MASKED)
        store_f32(s + j * 4, v)
        top = maximum(top, v)
    largest = reduce_max(top)
    shift, total = splat_f32(largest), splat_f32(f32(0))
    for j in range(first * BLOCK, last * BLOCK, 16):
        p = exp2(load_f32(s + j * 4) - shift)
        store_f32(s + j * 4, p)
        total = total + p
    set_f32(record, largest)
    store_f32(record + 64, total)


# --- records: the maximum, at 64 the sum in 16 lanes, from HEADER on the outputs ----------------------


@helper
def _clear(record, value):
    set_f32(record, MASKED)
    for d in range(64, HEADER + value * 4, 64):
        store_f32(record + d, splat_f32(f32(0)))


@helper
def _merge(into, record, value):
    """A later chunk's record into that of the chunks before it; nothing if it has seen none of the chunk."""
    largest = get_f32(record)
    if largest <= MASKED:
        return
    before = get_f32(into)
    new = max(before, largest)
    a, b = exp2(splat_f32(before - new)), exp2(splat_f32(largest - new))
    set_f32(into, new)
    for d in range(64, HEADER + value * 4, 64):
        store_f32(into + d, fma(load_f32(record + d), b, load_f32(into + d) * a))


@helper
def _finish(records, rows, group, value, out, stride, sinks):
    """Records to rows of outputs; out: the first token's first head; sinks: the first head's (see `attention_f16`)."""
    for r in range(rows):
        record = records + r * (HEADER + value * 4)
        largest, sink = get_f32(record), get_f32(sinks + r % group * 4) * LOG2_E
        top = max(largest, sink)
        factor = exp2(splat_f32(largest - top))
        total = reduce_add(load_f32(record + 64) * factor) + reduce_max(exp2(splat_f32(sink - top)))
        inverse = factor / splat_f32(total)
        target = out + r // group * stride + r % group * value * 4
        for d in range(0, value * 4, 64):
            store_f32(target + d, load_f32(record + HEADER + d) * inverse)


# --- the kernels -------------------------------------------------------------------------------------


def _make_chunk(load, size):
    """One chunk of up to SUBTILE rows, whose KV blocks hold numbers that `load` reads."""
    all_scores, all_weigh = _make_scores(load, size), _make_weigh(load, size)

    @helper
    def chunk(panel, rows, first_row, group, position, seen, causal, start, blocks, first, last, window, softcap, key,
              value, scores, out):  # fmt: skip
        for b in range(first, last):
            keys = get_i64(blocks + b * 8)
            for half in range(2):
                at = scores + (b * BLOCK + half * 16) * 4
                all_scores(0, rows, panel, keys + half * key * 16 * size, key, at)
        record = HEADER + value * 4
        for r in range(rows):
            after = position + (first_row + r) // group + 1
            seen_to = _sight(causal, after, seen, window) - start
            seen_from = after - start - window if window > 0 else 0
            _soften(scores + r * SCORES, seen_from, seen_to, first, last, softcap, out + r * record)
        for d in range(0, value, 16):
            offset = (BLOCK * key + d) * size
            all_weigh(0, rows, scores, blocks, first, last, offset, value, out + HEADER + d * 4, record)

    return chunk


_chunk_f16, _chunk_f32 = _make_chunk(load_f16, 2), _make_chunk(load_f32, 4)


@helper
def _memory(scratch, group, key, value):
    """Where in a thread's scratch memory: the records of a tile, those of a subtile, scores, addresses, parts."""
    rows, record = max(1, TILE // group) * group, HEADER + value * 4
    records = scratch + rows * key * 4
    made = records + rows * record
    scores = made + SUBTILE * record
    blocks = scores + SUBTILE * SCORES
    unpacked = blocks + BLOCKS * 8
    return records, made, scores, blocks, unpacked, unpacked + CHUNK * (key + value) * 4


@helper
def _never(source, target, key, value):
    """For a cache that is float32 already."""


def _make_attention(size, unpack, chunk_in_place, unpacks_from):
    """`unpacks_from`: from how many rows on blocks are unpacked to float32 first; `chunk_in_place`: for fewer."""

    @helper
    def tile(panel, pool, table, rows, group, position, seen, causal, head, heads, key, value, window, softcap, begin,
             end):  # fmt: skip
        """An item's chunks `begin` to `end`: merged into records, or, if not from the first on, each into parts."""
        record, first_chunk = HEADER + value * 4, _first_chunk(position, window)
        records, made, scores, blocks, unpacked, parts = _memory(panel, group, key, value)
        head_bytes = size(BLOCK * key) + size(BLOCK * value)
        for c in range(begin, end):
            start = (first_chunk + c) * CHUNK
            last = (min(start + CHUNK, seen + BLOCK - 1) - start) // BLOCK
            first = max(0, position - window + 1 - start) // BLOCK if window > 0 else 0
            for b in range(first, last):
                at = pool + (get_i64(table + (start // BLOCK + b) * 8) * heads + head) * head_bytes
                if rows >= unpacks_from:
                    target = unpacked + b * BLOCK * (key + value) * 4
                    unpack(at, target, key, value)
                    at = target
                set_i64(blocks + b * 8, at)
            for r in range(0, rows, SUBTILE):
                n = min(SUBTILE, rows - r)
                out = made if begin == 0 else parts + ((c - begin) * rows + r) * record
                if rows >= unpacks_from:
                    _chunk_f32(panel + r * key * 4, n, r, group, position, seen, causal, start, blocks, first,
                               last, window, softcap, key, value, scores, out)  # fmt: skip
                else:
                    chunk_in_place(panel + r * key * 4, n, r, group, position, seen, causal, start, blocks, first,
                                   last, window, softcap, key, value, scores, out)  # fmt: skip
                if begin == 0:
                    for i in range(n):
                        _merge(records + (r + i) * record, made + i * record, value)

    @helper
    def attention(
        thread, threads, q, out, pool, segments, scratch, scratch_bytes, q_heads, heads, key, value, q_stride,
        out_stride, scale, softcap, window, causal, sinks, count,
    ):  # fmt: skip
        group = q_heads // heads
        per_tile, record, panel = max(1, TILE // group), HEADER + value * 4, scratch + thread * scratch_bytes
        records = _memory(panel, group, key, value)[0]
        work, start = _whole_work(segments, count, per_tile, window, heads, causal), 0
        for s in range(count):
            segment = segments + s * 32
            row, length, position = get_i64(segment), get_i64(segment + 8), get_i64(segment + 16)
            table = get_i64(segment + 24)
            for t in range(0, length, per_tile):
                n = min(per_tile, length - t)
                seen = _sight(causal, position + t + n, position + length, window)
                chunks = _chunks(position + t, seen, window)
                for head in range(heads):
                    begin = begun(work, thread, threads, start, n, chunks)
                    end = begun(work, thread + 1, threads, start, n, chunks)
                    start += n * chunks
                    if begin == end:
                        continue
                    rows = n * group
                    for r in range(0, rows, SUBTILE):
                        first = q + (row + t) * q_stride + head * group * key * 4
                        at = panel + r * key * 4
                        _pack(0, min(SUBTILE, rows - r), first, r, q_stride, group, scale * LOG2_E, at, key)
                    if begin == 0:
                        for r in range(rows):
                            _clear(records + r * record, value)
                    tile(panel, pool, table, rows, group, position + t, seen, causal, head, heads, key, value, window,
                         softcap, begin, end)  # fmt: skip
                    if begin == 0 and end == chunks:
                        target = out + (row + t) * out_stride + head * group * value * 4
                        _finish(records, rows, group, value, target, out_stride, sinks + head * group * 4)

    return attention


_attention_f16 = _make_attention(bytes_f16, unpack_f16, _chunk_f16, ROWS_MANY + 1)
_attention_q8_0 = _make_attention(bytes_q8_0, unpack_q8_0, _chunk_f32, 0)
_attention_f32 = _make_attention(bytes_f32, _never, _chunk_f32, 1 << 30)


@kernel_of("attention_f16")
def attention_f16(
    thread: int, threads: int, q: Address, out: Address, pool: Address, segments: Address, scratch: Address,
    scratch_bytes: Int, q_heads: Int, heads: Int, key: Int, value: Int, q_stride: Int, out_stride: Int, scale: Float,
    softcap: Float, window: Int, causal: Int, sinks: Address, count: Live,
) -> None:  # fmt: skip
    """Attention of every row to its own sequence; to be followed by `merge_attention`.

    segments: `count` quadruples of int64 (first row, rows, position of the first, address of the block table);
    scratch: for each thread `scratch_bytes`, as `attention_sizes` has it. scale: of q k, log 2 not included;
    softcap: scores become softcap tanh(score / softcap) (Gemma 2), 0 for none; window: positions that a token sees,
    itself included, 0 for all; causal: 1, or 0 where a token sees those after it too (of a window as many as before
    it), up to the segment's end; sinks: of each query head the score of something without a value that every row sees
    (OpenAI 2025, gpt-oss), -1e30 for none. Sizes in elements, strides in bytes.
    """
    _attention_f16(
        thread, threads, q, out, pool, segments, scratch, scratch_bytes, q_heads, heads, key, value, q_stride,
        out_stride, scale, softcap, window, causal, sinks, count,
    )  # fmt: skip


@kernel_of("attention_q8_0")
def attention_q8_0(
    thread: int, threads: int, q: Address, out: Address, pool: Address, segments: Address, scratch: Address,
    scratch_bytes: Int, q_heads: Int, heads: Int, key: Int, value: Int, q_stride: Int, out_stride: Int, scale: Float,
    softcap: Float, window: Int, causal: Int, sinks: Address, count: Live,
) -> None:  # fmt: skip
    """As `attention_f16` over a cache of int8 with a scale for 32 numbers."""
    _attention_q8_0(
        thread, threads, q, out, pool, segments, scratch, scratch_bytes, q_heads, heads, key, value, q_stride,
        out_stride, scale, softcap, window, causal, sinks, count,
    )  # fmt: skip


@kernel_of("attention_f32")
def attention_f32(
    thread: int, threads: int, q: Address, out: Address, pool: Address, segments: Address, scratch: Address,
    scratch_bytes: Int, q_heads: Int, heads: Int, key: Int, value: Int, q_stride: Int, out_stride: Int, scale: Float,
    softcap: Float, window: Int, causal: Int, sinks: Address, count: Live,
) -> None:  # fmt: skip
    """As `attention_f16` over a float32 cache."""
    _attention_f32(
        thread, threads, q, out, pool, segments, scratch, scratch_bytes, q_heads, heads, key, value, q_stride,
        out_stride, scale, softcap, window, causal, sinks, count,
    )  # fmt: skip


@kernel
def merge_attention(
    thread: int, threads: int, out: Address, segments: Address, scratch: Address, scratch_bytes: Int, q_heads: Int,
    heads: Int, key: Int, value: Int, out_stride: Int, window: Int, causal: Int, sinks: Address, count: Live,
) -> None:  # fmt: skip
    """Finish the items whose chunks several threads have shared; arguments as those of `attention_f16`.

    The thread that had an item's last chunk merges what the others have left into the records of the one that had
    its first.
    """
    group, record = q_heads // heads, HEADER + value * 4
    per_tile = max(1, TILE // group)
    work, start = _whole_work(segments, count, per_tile, window, heads, causal), 0
    for s in range(count):
        segment = segments + s * 32
        row, length, position = get_i64(segment), get_i64(segment + 8), get_i64(segment + 16)
        for t in range(0, length, per_tile):
            n = min(per_tile, length - t)
            seen = _sight(causal, position + t + n, position + length, window)
            chunks, rows = _chunks(position + t, seen, window), n * group
            for head in range(heads):
                at, start = start, start + n * chunks
                begin = begun(work, thread, threads, at, n, chunks)
                if begin == 0 or begin == chunks or begun(work, thread + 1, threads, at, n, chunks) < chunks:
                    continue
                owner = thread - 1
                while begun(work, owner, threads, at, n, chunks) > 0:
                    owner -= 1
                records = _memory(scratch + owner * scratch_bytes, group, key, value)[0]
                for other in range(owner + 1, thread + 1):
                    part = _memory(scratch + other * scratch_bytes, group, key, value)[5]
                    own = begun(work, other + 1, threads, at, n, chunks) - begun(work, other, threads, at, n, chunks)
                    for i in range(own * rows):
                        _merge(records + i % rows * record, part + i * record, value)
                target = out + (row + t) * out_stride + head * group * value * 4
                _finish(records, rows, group, value, target, out_stride, sinks + head * group * 4)
