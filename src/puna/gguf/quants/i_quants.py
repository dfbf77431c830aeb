"""The i-quants: blocks of 256 (IQ4_NL: 32) whose elements index a codebook or a table of levels.

Codebook types: x = d (a scale's small integer) (a codebook entry, 8 or 4 elements at a time) (signs).
IQ1 types have no signs but a shift of 1/8 up or down. Layouts and formulas: ggml-common.h, ggml-quants.c.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from puna.gguf.quants.bits import Bytes, Floats, halves, pack, to_halves, unpack, words
from puna.gguf.quants.codebooks import codebook
from puna.gguf.quants.fitting import divided, extreme, fit_scale, stored_half

IQ1_SHIFT = np.float32(0.125)

# The 16 levels of IQ4_NL and IQ4_XS, finer around zero.
IQ4_LEVELS = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)


def dequantize_iq2_xxs(blocks: Bytes) -> Floats:
    """d, then for each 32 elements 4 indices (8 bits) and a word: 4 x 7 sign bits, 4 bits of scale."""
    pairs = words(blocks[:, 2:], 32).reshape(len(blocks), 8, 2)
    index = np.ascontiguousarray(pairs[..., 0]).view(np.uint8)
    scale = _half_steps(blocks, pairs[..., 1] >> np.uint32(28), 0.25)
    return _codebook_product(scale, codebook("iq2_xxs")[index], _sevens(pairs[..., 1]))


def dequantize_iq2_xs(blocks: Bytes) -> Floats:
    """d, 32 words of 9 bits of index and 7 of signs, 16 nibbles of scale (for 16 elements each)."""
    numbers = words(blocks[:, 2:66], 16)
    scale = _half_steps(blocks, unpack(blocks[:, 66:], 4, 1), 0.25)
    entries = codebook("iq2_xs")[numbers & np.uint16(511)]
    return _codebook_product(scale, entries, _parity_signs(numbers >> np.uint16(9)))


def dequantize_iq2_s(blocks: Bytes) -> Floats:
    """d, 32 low bytes of indices, 32 bytes of signs, 8 of upper pairs of bits, 16 nibbles of scale."""
    low, signs, high, scales = np.split(blocks[:, 2:], [32, 64, 72], axis=1)
    index = low.astype(np.uint16) | (unpack(high, 2, 1).astype(np.uint16) << np.uint16(8))
    scale = _half_steps(blocks, unpack(scales, 4, 1), 0.25)
    return _codebook_product(scale, codebook("iq2_s")[index], _signs(signs))


def dequantize_iq3_xxs(blocks: Bytes) -> Floats:
    """d, 64 indices (8 bits, for 4 elements each); then for 32 elements each 4 x 7 sign bits, 4 of scale."""
    tail = words(blocks[:, 66:], 32)
    scale = _half_steps(blocks, tail >> np.uint32(28), 0.5)
    return _codebook_product(scale, codebook("iq3_xxs")[blocks[:, 2:66]], _sevens(tail))


def dequantize_iq3_s(blocks: Bytes) -> Floats:
    """d, 64 low bytes of indices, their 64 high bits, 32 bytes of signs, 8 nibbles of scale."""
    low, high, signs, scales = np.split(blocks[:, 2:], [64, 72, 104], axis=1)
    index = low.astype(np.uint16) | (unpack(high, 1, 1).astype(np.uint16) << np.uint16(8))
    scale = halves(blocks[:, :2]) * _odd(unpack(scales, 4, 1))
    return _codebook_product(scale, codebook("iq3_s")[index], _signs(signs))


def dequantize_iq1_s(blocks: Bytes) -> Floats:
    """d, 32 low bytes of indices, 8 words: 4 x 3 high bits, 3 bits of scale, 1 of shift."""
    high = words(blocks[:, 34:], 16)
    scale = halves(blocks[:, :2]) * _odd((high >> np.uint16(12)) & np.uint16(7))
    shift = np.where(high & np.uint16(0x8000), -IQ1_SHIFT, IQ1_SHIFT)
    upper = _fields(high, (0, 3, 6, 9), 7)
    entries = codebook("iq1")[blocks[:, 2:34].astype(np.uint16) | (upper << np.uint16(8))]
    return _scaled(scale, entries.reshape(len(blocks), 8, 32) + shift[:, :, None])


def dequantize_iq1_m(blocks: Bytes) -> Floats:
    """32 low bytes of indices, 32 nibbles of 3 high bits and 1 of shift, 4 words.

    A word holds the scales of 64 elements, 3 bits for 16 each, and above them a nibble of d.
    """
    nibbles = unpack(blocks[:, 32:48], 4, 1)
    tail = words(blocks[:, 48:], 16)
    parts = (tail >> np.uint16(12)) << np.array([0, 4, 8, 12], np.uint16)
    d = np.bitwise_or.reduce(parts, axis=1, keepdims=True).astype("<u2").view("<f2").astype(np.float32)
    scale = d * _odd(_fields(tail, (0, 3, 6, 9), 7))
    upper = (nibbles & np.uint8(7)).astype(np.uint16)
    entries = codebook("iq1")[blocks[:, :32].astype(np.uint16) | (upper << np.uint16(8))]
    shift = np.where(nibbles & np.uint8(8), -IQ1_SHIFT, IQ1_SHIFT)
    return _scaled(scale, entries + shift[:, :, None])


def dequantize_iq4_nl(blocks: Bytes) -> Floats:
    """d, 32 nibbles that index the levels."""
    return halves(blocks[:, :2]) * IQ4_LEVELS[unpack(blocks[:, 2:], 4, 16)]


def dequantize_iq4_xs(blocks: Bytes) -> Floats:
    """d, 8 upper pairs of bits and 8 nibbles of 6-bit scales less 32, nibbles that index the levels."""
    six_bits = unpack(blocks[:, 4:8], 4, 1) | (unpack(blocks[:, 2:4], 2, 1) << np.uint8(4))
    scale = halves(blocks[:, :2]) * (six_bits.astype(np.int8) - np.int8(32)).astype(np.float32)
    return _scaled(scale, IQ4_LEVELS[unpack(blocks[:, 8:], 4, 16)])


def quantize_iq4_nl(blocks: Floats) -> Bytes:
    """d is searched for; each element goes to the nearest level."""
    scale = fit_scale(blocks[:, None], -127, 14, _nearest_level)
    index = _level_index(divided(blocks, stored_half(scale)))
    return np.concatenate([to_halves(scale), pack(index, 4, 16)], axis=1)


def quantize_iq4_xs(blocks: Floats) -> Bytes:
    """Scales of 32 elements are searched for and rounded to 6 bits; each element goes to the nearest level."""
    groups = blocks.reshape(len(blocks), 8, 32)
    scale = fit_scale(groups, -127, 14, _nearest_level)
    top = extreme(scale) / np.float32(-32)
    d = stored_half(top)
    steps = np.rint(divided(scale, d)).clip(-32, 31)
    index = _level_index(divided(groups, (d * steps)[..., None])).reshape(len(blocks), -1)
    six_bits = (steps + np.float32(32)).astype(np.uint8)
    upper, lower = pack(six_bits >> np.uint8(4), 2, 1), pack(six_bits & np.uint8(15), 4, 1)
    return np.concatenate([to_halves(top), upper, lower, pack(index, 4, 16)], axis=1)


# The nearest level by half steps from -128: a level changes at a whole or a half number.
_NEAREST = np.abs(IQ4_LEVELS - np.arange(-127.75, 128, 0.5)[:, None]).argmin(axis=1).astype(np.uint8)


def _level_index(numbers: Floats) -> Bytes:
    index: Bytes = _NEAREST[(np.floor(numbers * 2) + 256).clip(0, 511).astype(np.uint16)]
    return index


def _nearest_level(numbers: Floats) -> Floats:
    return IQ4_LEVELS[_level_index(numbers)]


def _scaled(scale: Floats, numbers: Floats) -> Floats:
    """(n, k) scales times 256 numbers."""
    return (scale[:, :, None] * numbers.reshape(*scale.shape, -1)).reshape(len(scale), -1)


def _codebook_product(scale: Floats, entries: Floats, signs: Floats) -> Floats:
    """(n, k) scales, codebook entries and signs of 256 elements; multiplied in this order."""
    return _scaled(scale, entries) * signs.reshape(len(scale), -1)


def _half_steps(blocks: Bytes, steps: NDArray[np.unsignedinteger], unit: float) -> Floats:
    """d (1/2 + steps) unit."""
    return halves(blocks[:, :2]) * (np.float32(0.5) + steps.astype(np.float32)) * np.float32(unit)


def _odd(steps: NDArray[np.unsignedinteger]) -> Floats:
    """1, 3, 5, ..."""
    return (2 * steps + 1).astype(np.float32)


def _fields(numbers: NDArray[np.unsignedinteger], shifts: tuple[int, ...], mask: int) -> NDArray[np.uint16]:
    """(n, k) words to (n, k * len(shifts)) bit fields."""
    dtype = numbers.dtype.type
    fields = (numbers[:, :, None] >> np.array(shifts, dtype)) & dtype(mask)
    return fields.reshape(len(numbers), -1).astype(np.uint16)


def _signs(bits: Bytes) -> Floats:
    """(n, k) bytes to (n, 8 k) numbers: 1, or -1 where the bit is set (lowest first)."""
    return np.float32(1) - np.float32(2) * unpack(bits, 1, 1)


def _parity_signs(sevens: NDArray[np.unsignedinteger]) -> Floats:
    """Seven sign bits each; the eighth makes the number of minus signs even."""
    bits = sevens.astype(np.uint8)
    fold = bits ^ (bits >> np.uint8(4))
    fold ^= fold >> np.uint8(2)
    fold ^= fold >> np.uint8(1)
    return _signs(bits | (fold << np.uint8(7)))


def _sevens(numbers: NDArray[np.unsignedinteger]) -> Floats:
    """The signs of 32 elements from the lower 28 bits of each word."""
    return _parity_signs(_fields(numbers, (0, 7, 14, 21), 127))
