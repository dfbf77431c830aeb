"""From GGUF's blocks to records: 16 rows are interleaved, quants put where `fetching` fetches them.

For each type two things are said: where a block has 4 quants side by side (its words; GGUF spreads columns over
bytes in its own ways) and how its scales go to the record's head. Layouts of blocks: ggml-common.h.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from puna.kernels import layouts
from puna.kernels.kernel import Address, Int, helper, register
from puna.kernels.layouts import ROWS, Layout
from puna.simd import get_i16, get_i32, get_u8, set_i16, set_i32, set_u8, signed_offset

NIBBLES, PAIRS, ONES = 0x0F0F0F0F, 0x03030303, 0x01010101

# --- words: 4 quants of columns 4j to 4j + 3 of a block, a byte each ----------------------------------


def _nibble_words(start: int, group: int = 16, block: int = 32) -> Any:
    """Low nibbles of `group` bytes, then their high ones; so for each `block` columns."""
    per_group, per_block = group // 4, block // 4

    @helper
    def word(source, j):
        at = source + start + j // per_block * (block // 2) + j % per_group * 4
        return (get_i32(at) >> (4 * (j % per_block // per_group))) & NIBBLES

    return word


def _byte_words(start: int) -> Any:
    """Signed bytes, stored with `signed_offset` added: without a carry between bytes this turns their highest bits."""
    turned = np.int64(signed_offset() * ONES)

    @helper
    def word(source, j):
        return np.int64(get_i32(source + start + j * 4)) ^ turned

    return word


def _five_words(start: int) -> Any:
    """Q5_0, Q5_1: 32 fifth bits in column order, then nibbles. A product puts 4 bits into 4 bytes."""
    nibble = _nibble_words(start + 4)

    @helper
    def word(source, j):
        bits = (get_i32(source + start) >> (4 * j)) & 15
        return nibble(source, j) | ((bits * 0x00204081) & ONES) << 4

    return word


@helper
def _q5_k_word(source, j):
    """Bit b of byte c is the fifth of column c of 32-column block b; then nibbles."""
    block, w = j // 8, j % 8
    nibbles = (get_i32(source + 48 + block // 2 * 32 + w * 4) >> (4 * (block % 2))) & NIBBLES
    return nibbles | ((get_i32(source + 16 + w * 4) >> block) & ONES) << 4


@helper
def _q6_k_word(source, j):
    """For each 128 columns 64 bytes of nibbles (of columns 0 to 63, then 64 to 127) and 32 of pairs above them."""
    half, block, w = j // 32, j // 8 % 4, j % 8
    nibbles = (get_i32(source + half * 64 + block % 2 * 32 + w * 4) >> (4 * (block // 2))) & NIBBLES
    return nibbles | ((get_i32(source + 128 + half * 32 + w * 4) >> (2 * block)) & PAIRS) << 4


def _pair_words(start: int) -> Any:
    """Q2_K, Q3_K: 32 bytes hold the pairs of columns 0 to 31, 32 to 63, 64 to 95, 96 to 127."""

    @helper
    def word(source, j):
        return (get_i32(source + start + j // 32 * 32 + j % 8 * 4) >> (2 * (j // 8 % 4))) & PAIRS

    return word


_q3_k_pairs = _pair_words(32)


@helper
def _q3_k_word(source, j):
    """Bit b of byte c is the third of column c of block b."""
    return _q3_k_pairs(source, j) | ((get_i32(source + j % 8 * 4) >> (j // 8)) & ONES) << 2


# --- quants: a row's 32 columns to their places; `out` is the row's lane in the block ------------------


def _put_bytes(word: Any) -> Any:
    @helper
    def put(source, b, out):
        for k in range(8):
            set_i32(out + k * 64, np.int32(word(source, b * 8 + k)))

    return put


def _put_pairs(word: Any) -> Any:
    @helper
    def put(source, b, out):
        first, second = 0, 0
        for k in range(4):
            first |= (word(source, b * 8 + k) & PAIRS) << (2 * k)
            second |= (word(source, b * 8 + k + 4) & PAIRS) << (2 * k)
        set_i32(out, np.int32(first))
        set_i32(out + 64, np.int32(second))

    return put


def _put_three(word: Any) -> Any:
    pairs, plane = _put_pairs(word), _make_plane(word, 2)

    @helper
    def put(source, b, out):
        plane(source, b, out)
        pairs(source, b, out + 64)

    return put


def _put_nibbles(word: Any) -> Any:
    @helper
    def put(source, b, out):
        for k in range(4):
            low, high = word(source, b * 8 + k), word(source, b * 8 + k + 4)
            set_i32(out + k * 64, np.int32((low & NIBBLES) | (high & NIBBLES) << 4))

    return put


def _put_five(word: Any) -> Any:
    nibbles, plane = _put_nibbles(word), _make_plane(word, 4)

    @helper
    def put(source, b, out):
        plane(source, b, out)
        nibbles(source, b, out + 64)

    return put


def _put_six(word: Any) -> Any:
    nibbles = _put_nibbles(word)

    @helper
    def put(source, b, out):
        nibbles(source, b, out + 128)
        for half in range(2):
            plane = 0
            for k in range(4):
                plane |= ((word(source, b * 8 + half * 4 + k) >> 4) & PAIRS) << (2 * k)
            set_i32(out + half * 64, np.int32(plane))

    return put


def _make_plane(word: Any, bit: int) -> Any:
    @helper
    def put(source, b, out):
        plane = 0
        for k in range(8):
            plane |= ((word(source, b * 8 + k) >> bit) & ONES) << k
        set_i32(out, np.int32(plane))

    return put


# --- scales: a row's to the head of a record -----------------------------------------------------------


def _copy_halves(start: int, count: int) -> Any:
    """`count` float16 as they stand."""

    @helper
    def put(source, record, lane):
        for i in range(count):
            set_i16(record + i * 32 + lane * 2, get_i16(source + start + i * 2))

    return put


@helper
def _put_half(record, lane, bits, negate):
    """A float16, or its opposite."""
    set_i16(record + lane * 2, np.int16(bits ^ -0x8000 if negate else bits))


def _copy_bytes(start: int, count: int, at: int) -> Any:
    """`count` bytes as they stand, to `at` in the record."""

    @helper
    def put(source, record, lane):
        for i in range(count):
            set_u8(record + at + i * 16 + lane, get_u8(source + start + i))

    return put


def _half_and_bytes(half: int, start: int) -> Any:
    """Q6_K: d, 16 signed bytes."""
    scales = _copy_bytes(start, 16, 32)

    @helper
    def put(source, record, lane):
        _put_half(record, lane, get_i16(source + half), False)
        scales(source, record, lane)

    return put


@helper
def _put_q2_k(source, record, lane):
    """d, dmin, 16 bytes of two nibbles."""
    _put_half(record, lane, get_i16(source + 80), False)
    _put_half(record + 32, lane, get_i16(source + 82), True)
    for i in range(16):
        set_u8(record + 64 + i * 16 + lane, get_u8(source + i))


@helper
def _put_q3_k(source, record, lane):
    """d; 16 low nibbles in 8 bytes, 16 upper pairs of bits in 4, less 32."""
    _put_half(record, lane, get_i16(source + 108), False)
    for i in range(16):
        low = (np.int64(get_u8(source + 96 + i % 8)) >> (4 * (i // 8))) & 15
        high = (np.int64(get_u8(source + 104 + i % 4)) >> (2 * (i // 4))) & 3
        set_u8(record + 32 + i * 16 + lane, np.uint8(low + 16 * high - 32))


@helper
def _put_q4_k(source, record, lane):
    """d, dmin, 8 scales and 8 minima of 6 bits: `gguf.quants.k_quants` says where."""
    _put_half(record, lane, get_i16(source), False)
    _put_half(record + 32, lane, get_i16(source + 2), True)
    at = record + 64 + lane
    for i in range(4):
        s, m = np.int64(get_u8(source + 4 + i)), np.int64(get_u8(source + 8 + i))
        rest = np.int64(get_u8(source + 12 + i))
        set_u8(at + i * 16, np.uint8(s & 63))
        set_u8(at + i * 16 + 128, np.uint8(m & 63))
        set_u8(at + i * 16 + 64, np.uint8((rest & 15) | (s >> 6) << 4))
        set_u8(at + i * 16 + 192, np.uint8(rest >> 4 | (m >> 6) << 4))


@helper
def _put_iq4_xs(source, record, lane):
    """d; 8 upper pairs of bits in 2 bytes, 8 low nibbles in 4, less 32."""
    _put_half(record, lane, get_i16(source), False)
    for i in range(8):
        low = (np.int64(get_u8(source + 4 + i // 2)) >> (4 * (i % 2))) & 15
        high = (np.int64(get_u8(source + 2 + i // 4)) >> (2 * (i % 4))) & 3
        set_u8(record + 32 + i * 16 + lane, np.uint8(low + 16 * high - 32))


@helper
def _put_levels(source, record, lane):
    """A float32, 16 bytes."""
    set_i32(record + lane * 4, get_i32(source))
    for i in range(16):
        set_u8(record + 64 + i * 16 + lane, get_u8(source + 4 + i))


@helper
def _put_nvfp4(source, record, lane):
    """4 unsigned E4M3 as float16: halved, as their elements are doubled. 0x7F (NaN) counts as 0."""
    for i in range(4):
        e4m3 = np.int64(get_u8(source + i))
        exponent, mantissa = (e4m3 >> 3) & 15, e4m3 & 7
        bits = (exponent + 7) << 10 | mantissa << 7
        if exponent == 0:  # mantissa * 2**-10
            top = 2 if mantissa >= 4 else 1 if mantissa >= 2 else 0
            bits = (top + 5) << 10 | ((mantissa << (10 - top)) & 0x3FF) if mantissa else 0
        set_i16(record + i * 32 + lane * 2, np.int16(0 if e4m3 == 0x7F else bits))


# --- kernels ------------------------------------------------------------------------------------------


def _make_pack(layout: Layout, block_bytes: int, put_scales: Any, put_quants: Any) -> Any:
    record, head, inner = layout.record, layout.head, layout.block // 32
    size = layout.quants // inner

    @helper
    def pack_row(source, target, lane, blocks):
        for r in range(blocks):
            block, at = source + r * block_bytes, target + r * record
            put_scales(block, at, lane)
            for b in range(inner):
                put_quants(block, b, at + head + b * size + lane * 4)

    def pack(
        thread: int, threads: int, source: Address, order: Address, target: Address, rows: Int, groups: Int,
        blocks: Int,
    ) -> None:  # fmt: skip
        """GGUF's rows, taken in `order` (int32), to records; `target` is zero, and stays so where there is no row."""
        for g in range(groups * thread // threads, groups * (thread + 1) // threads):
            for lane in range(min(ROWS, rows - g * ROWS)):
                row = get_i32(order + (g * ROWS + lane) * 4)
                pack_row(source + row * blocks * block_bytes, target + g * blocks * record, lane, blocks)

    return pack


_ALL = (
    (layouts.Q4_0, 18, _copy_halves(0, 1), _put_nibbles(_nibble_words(2))),
    (layouts.Q4_1, 20, _copy_halves(0, 2), _put_nibbles(_nibble_words(4))),
    (layouts.Q5_0, 22, _copy_halves(0, 1), _put_five(_five_words(2))),
    (layouts.Q5_1, 24, _copy_halves(0, 2), _put_five(_five_words(4))),
    (layouts.Q8_0, 34, _copy_halves(0, 1), _put_bytes(_byte_words(2))),
    (layouts.IQ4_NL, 18, _copy_halves(0, 1), _put_nibbles(_nibble_words(2))),
    (layouts.MXFP4, 17, _copy_bytes(0, 1, 0), _put_nibbles(_nibble_words(1))),
    (layouts.NVFP4, 36, _put_nvfp4, _put_nibbles(_nibble_words(4, 8, 16))),
    (layouts.Q2_K, 84, _put_q2_k, _put_pairs(_pair_words(16))),
    (layouts.Q3_K, 110, _put_q3_k, _put_three(_q3_k_word)),
    (layouts.Q4_K, 144, _put_q4_k, _put_nibbles(_nibble_words(16, 32, 64))),
    (layouts.Q5_K, 176, _put_q4_k, _put_five(_q5_k_word)),
    (layouts.Q6_K, 210, _half_and_bytes(208, 192), _put_six(_q6_k_word)),
    (layouts.IQ4_XS, 136, _put_iq4_xs, _put_nibbles(_nibble_words(8))),
    *(
        (layout, 148, _put_levels, _put_nibbles(_nibble_words(20)))
        for layout in (layouts.IQ1, layouts.IQ2, layouts.IQ3_XXS, layouts.IQ3_S)
    ),
)

for _layout, *_how in _ALL:
    register(_make_pack(_layout, *_how), _layout.pack, _layout.name)
