"""The first family: 32 elements to a block, one f16 scale d (and, in the _1 types, one f16 minimum m).

_0 types: x = d q, q signed. _1 types: x = d q + m, q unsigned. Layouts: ggml-common.h.
"""

from __future__ import annotations

import numpy as np

from puna.gguf.quants.bits import Bytes, Floats, halves, inverse, pack, round_away, to_halves, unpack


def dequantize_q4_0(blocks: Bytes) -> Floats:
    """d (2 bytes), 32 nibbles: x = d (q - 8)."""
    return halves(blocks[:, :2]) * _signed(unpack(blocks[:, 2:], 4, 16), 8)


def dequantize_q4_1(blocks: Bytes) -> Floats:
    """d, m (2 bytes each), 32 nibbles: x = d q + m."""
    return halves(blocks[:, :2]) * unpack(blocks[:, 4:], 4, 16).astype(np.float32) + halves(blocks[:, 2:4])


def dequantize_q5_0(blocks: Bytes) -> Floats:
    """d, 32 high bits, 32 nibbles: x = d (q - 16)."""
    return halves(blocks[:, :2]) * _signed(_five_bits(blocks[:, 2:]), 16)


def dequantize_q5_1(blocks: Bytes) -> Floats:
    """d, m, 32 high bits, 32 nibbles: x = d q + m."""
    return halves(blocks[:, :2]) * _five_bits(blocks[:, 4:]).astype(np.float32) + halves(blocks[:, 2:4])


def dequantize_q8_0(blocks: Bytes) -> Floats:
    """d, 32 signed bytes: x = d q."""
    return halves(blocks[:, :2]) * blocks[:, 2:].view(np.int8).astype(np.float32)


def dequantize_q8_1(blocks: Bytes) -> Floats:
    """d, the sum of the block (2 bytes each; used in dot products only), 32 signed bytes: x = d q."""
    return halves(blocks[:, :2]) * blocks[:, 4:].view(np.int8).astype(np.float32)


def quantize_q4_0(blocks: Floats) -> Bytes:
    """The element of largest magnitude becomes -8."""
    scale, numbers = _signed_levels(blocks, 8)
    return np.concatenate([to_halves(scale), pack(numbers, 4, 16)], axis=1)


def quantize_q5_0(blocks: Floats) -> Bytes:
    """The element of largest magnitude becomes -16."""
    scale, numbers = _signed_levels(blocks, 16)
    return np.concatenate([to_halves(scale), _pack_five_bits(numbers)], axis=1)


def quantize_q4_1(blocks: Floats) -> Bytes:
    """The smallest element becomes 0, the largest 15."""
    scale, low, numbers = _unsigned_levels(blocks, 15)
    return np.concatenate([to_halves(scale), to_halves(low), pack(numbers, 4, 16)], axis=1)


def quantize_q5_1(blocks: Floats) -> Bytes:
    """The smallest element becomes 0, the largest 31."""
    scale, low, numbers = _unsigned_levels(blocks, 31)
    return np.concatenate([to_halves(scale), to_halves(low), _pack_five_bits(numbers)], axis=1)


def quantize_q8_0(blocks: Floats) -> Bytes:
    """The largest magnitude becomes 127; halves are rounded away from zero."""
    scale = np.abs(blocks).max(axis=1, keepdims=True) / np.float32(127)
    numbers = round_away(blocks * inverse(scale)).astype(np.int8)
    return np.concatenate([to_halves(scale), numbers.view(np.uint8)], axis=1)


def _signed(numbers: Bytes, zero: int) -> Floats:
    return (numbers.astype(np.int8) - np.int8(zero)).astype(np.float32)


def _five_bits(raw: Bytes) -> Bytes:
    """4 bytes of high bits, 16 of nibbles."""
    return unpack(raw[:, 4:], 4, 16) | (unpack(raw[:, :4], 1, 1) << np.uint8(4))


def _pack_five_bits(numbers: Bytes) -> Bytes:
    return np.concatenate([pack(numbers >> np.uint8(4), 1, 1), pack(numbers & np.uint8(15), 4, 16)], axis=1)


def _signed_levels(blocks: Floats, levels: int) -> tuple[Floats, Bytes]:
    """Scale and numbers 0 .. 2 levels - 1, where `levels` stands for zero."""
    at = np.abs(blocks).argmax(axis=1, keepdims=True)
    scale = np.take_along_axis(blocks, at, axis=1) / np.float32(-levels)
    numbers = np.trunc(blocks * inverse(scale) + np.float32(levels + 0.5))
    return scale, numbers.astype(np.uint8).clip(0, 2 * levels - 1)


def _unsigned_levels(blocks: Floats, highest: int) -> tuple[Floats, Floats, Bytes]:
    """Scale, minimum, and numbers 0 .. highest."""
    low = blocks.min(axis=1, keepdims=True)
    scale = (blocks.max(axis=1, keepdims=True) - low) / np.float32(highest)
    numbers = np.trunc((blocks - low) * inverse(scale) + np.float32(0.5))
    return scale, low, numbers.astype(np.uint8).clip(0, highest)
