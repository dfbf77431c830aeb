"""Taking blocks apart: half-precision scales and small unsigned numbers packed into bytes.

Knows no quantised type; a block here is a row of a (blocks, bytes) array of uint8.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]


def halves(raw: Bytes) -> Floats:
    """(n, 2 k) bytes as (n, k) numbers, stored in f16."""
    return np.ascontiguousarray(raw).view("<f2").astype(np.float32)


def to_halves(values: Floats) -> Bytes:
    """(n, k) numbers as (n, 2 k) bytes of f16; too large ones become infinite."""
    return values.astype("<f2").view(np.uint8)


def words(raw: Bytes, bits: int) -> NDArray[np.unsignedinteger]:
    """(n, k) bytes as (n, 8 k / bits) little-endian unsigned integers of `bits` bits."""
    dtype: np.dtype[np.unsignedinteger] = np.dtype(f"<u{bits // 8}")
    return np.ascontiguousarray(raw).view(dtype)


def unpack(raw: Bytes, bits: int, group: int) -> Bytes:
    """Numbers of `bits` bits from (n, k) bytes, as (n, 8 k / bits) uint8.

    In each group of `group` bytes, first the lowest bits of every byte, then the next ones: Q4_0 packs its 32
    numbers as the low nibbles of 16 bytes, then their high nibbles, which is `unpack(qs, 4, 16)`.
    """
    shifts = np.arange(0, 8, bits, dtype=np.uint8).reshape(1, 1, -1, 1)
    fields = (raw.reshape(len(raw), -1, 1, group) >> shifts) & np.uint8((1 << bits) - 1)
    return fields.reshape(len(raw), -1)


def pack(numbers: Bytes, bits: int, group: int) -> Bytes:
    """The inverse of `unpack`: (n, 8 k / bits) small numbers to (n, k) bytes."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8).reshape(1, 1, -1, 1)
    fields = numbers.reshape(len(numbers), -1, 8 // bits, group) << shifts
    packed: Bytes = np.bitwise_or.reduce(fields, axis=2)
    return packed.reshape(len(numbers), -1)


def inverse(scale: Floats) -> Floats:
    """1 / scale, and 0 where the scale is 0."""
    result: Floats = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale != 0)
    return result


def round_away(values: Floats) -> Floats:
    """Nearest integer, halves away from zero (C's roundf)."""
    magnitude = np.abs(values)
    whole = np.floor(magnitude)
    rounded: Floats = np.copysign(whole + np.floor(2 * (magnitude - whole)), values)
    return rounded
