"""Types of two and three values: Q1_0 (-d, d), TQ1_0 and TQ2_0 (-d, 0, d), with one f16 scale d to a block.

Layouts: ggml-common.h.
"""

from __future__ import annotations

import numpy as np

from puna.gguf.quants.bits import Bytes, Floats, halves, inverse, pack, round_away, to_halves, unpack

_POWERS = np.array([1, 3, 9, 27, 81], np.uint8)


def dequantize_q1_0(blocks: Bytes) -> Floats:
    """d, 128 bits: d where set, else -d."""
    return halves(blocks[:, :2]) * (np.float32(2) * unpack(blocks[:, 2:], 1, 1) - np.float32(1))


def dequantize_tq1_0(blocks: Bytes) -> Floats:
    """48 bytes of 5 digits, 4 of 4, d.

    A byte is the fraction 0.abcde in base 3, times 256 and rounded up: multiplied by 3^k (modulo 256), its
    first digit is the k-th of the five.
    """
    digits = [
        _digits(blocks[:, :32], 5),
        _digits(blocks[:, 32:48], 5),
        _digits(blocks[:, 48:52], 4),
    ]
    return halves(blocks[:, 52:]) * (np.concatenate(digits, axis=1).astype(np.int8) - np.int8(1)).astype(np.float32)


def dequantize_tq2_0(blocks: Bytes) -> Floats:
    """64 bytes of 2-bit numbers (one more than the value), d."""
    return halves(blocks[:, 64:]) * (unpack(blocks[:, :64], 2, 32).astype(np.int8) - np.int8(1)).astype(np.float32)


def quantize_tq1_0(blocks: Floats) -> Bytes:
    """d is the largest magnitude; elements are rounded to -1, 0 or 1 times d."""
    scale, digits = _ternary(blocks)
    packed = [
        _pack_digits(digits[:, :160], 5, 32),
        _pack_digits(digits[:, 160:240], 5, 16),
        _pack_digits(digits[:, 240:], 4, 4),
    ]
    return np.concatenate([*packed, to_halves(scale)], axis=1)


def quantize_tq2_0(blocks: Floats) -> Bytes:
    """d is the largest magnitude; elements are rounded to -1, 0 or 1 times d."""
    scale, digits = _ternary(blocks)
    return np.concatenate([pack(digits, 2, 32), to_halves(scale)], axis=1)


def _ternary(blocks: Floats) -> tuple[Floats, Bytes]:
    scale = np.abs(blocks).max(axis=1, keepdims=True)
    return scale, (round_away(blocks * inverse(scale)).astype(np.int8) + np.int8(1)).view(np.uint8)


def _digits(raw: Bytes, count: int) -> Bytes:
    """(n, k) bytes to (n, count k) digits: the first of every byte, then the second, ..."""
    shifted = raw[:, None, :] * _POWERS[:count, None]
    return ((shifted.astype(np.uint16) * np.uint16(3)) >> np.uint16(8)).astype(np.uint8).reshape(len(raw), -1)


def _pack_digits(digits: Bytes, count: int, group: int) -> Bytes:
    """The inverse of `_digits`, for `group` bytes."""
    places = digits.reshape(len(digits), count, group) * _POWERS[::-1][:count, None]
    number = places.sum(axis=1, dtype=np.uint16)
    fraction: Bytes = ((number * np.uint16(256) + np.uint16(242)) // np.uint16(243)).astype(np.uint8)
    return fraction
