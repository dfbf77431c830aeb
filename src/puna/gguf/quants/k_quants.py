"""The K family: 256 elements to a block, in sub-blocks whose scales are themselves quantised.

x = d s q (Q3_K, Q6_K: q signed) or x = d s q - dmin m (Q2_K, Q4_K, Q5_K), with d and dmin in f16 for the
block, s and m small integers for each sub-block. Layouts: ggml-common.h.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from puna.gguf.quants.bits import Bytes, Floats, halves, unpack


def dequantize_q2_k(blocks: Bytes) -> Floats:
    """16 bytes of 4-bit s and m, 64 of 2-bit q, d, dmin; sub-blocks of 16."""
    scales, numbers, tail = np.split(blocks, [16, 80], axis=1)
    d, dmin = halves(tail[:, :2]), halves(tail[:, 2:])
    scale = d * (scales & np.uint8(15)).astype(np.float32)
    minimum = dmin * (scales >> np.uint8(4)).astype(np.float32)
    return _affine(scale, unpack(numbers, 2, 32), minimum)


def dequantize_q3_k(blocks: Bytes) -> Floats:
    """32 bytes of high bits (if clear, q less 4), 64 of 2-bit q, 12 of 6-bit s less 32, d; 16 to a scale."""
    high, numbers, scales, d = np.split(blocks, [32, 96, 108], axis=1)
    lowered = (unpack(high, 1, 32) ^ np.uint8(1)) << np.uint8(2)
    signed = unpack(numbers, 2, 32).view(np.int8) - lowered.view(np.int8)
    # 16 low nibbles in 8 bytes, 16 upper pairs of bits in the other 4
    six_bits = unpack(scales[:, :8], 4, 8) | (unpack(scales[:, 8:], 2, 4) << np.uint8(4))
    return _scaled(halves(d) * (six_bits.astype(np.int8) - np.int8(32)).astype(np.float32), signed)


def dequantize_q4_k(blocks: Bytes) -> Floats:
    """d, dmin, 12 bytes of 6-bit s and m, 128 of nibbles; sub-blocks of 32."""
    scale, minimum = _scales_and_minima(blocks)
    return _affine(scale, unpack(blocks[:, 16:], 4, 32), minimum)


def dequantize_q5_k(blocks: Bytes) -> Floats:
    """As Q4_K, with 32 bytes of high bits before the nibbles."""
    scale, minimum = _scales_and_minima(blocks)
    numbers = unpack(blocks[:, 48:], 4, 32) | (unpack(blocks[:, 16:48], 1, 32) << np.uint8(4))
    return _affine(scale, numbers, minimum)


def dequantize_q6_k(blocks: Bytes) -> Floats:
    """128 bytes of nibbles, 64 of upper pairs of bits, 16 of signed s, d; q less 32; sub-blocks of 16."""
    low, high, scales, d = np.split(blocks, [128, 192, 208], axis=1)
    numbers = unpack(low, 4, 64) | (unpack(high, 2, 32) << np.uint8(4))
    return _scaled(halves(d) * scales.view(np.int8).astype(np.float32), numbers.astype(np.int8) - np.int8(32))


def dequantize_q8_k(blocks: Bytes) -> Floats:
    """d in f32, 256 signed bytes, sums (used in dot products only)."""
    d = np.ascontiguousarray(blocks[:, :4]).view("<f4")
    return d.astype(np.float32) * blocks[:, 4:260].view(np.int8).astype(np.float32)


def _scaled(scale: Floats, numbers: NDArray[np.int8]) -> Floats:
    """(n, k) scales times (n, 256) numbers."""
    per_scale = numbers.reshape(*scale.shape, -1).astype(np.float32)
    return (scale[:, :, None] * per_scale).reshape(len(scale), -1)


def _affine(scale: Floats, numbers: Bytes, minimum: Floats) -> Floats:
    per_scale = numbers.reshape(*scale.shape, -1).astype(np.float32)
    return (scale[:, :, None] * per_scale - minimum[:, :, None]).reshape(len(scale), -1)


def _scales_and_minima(blocks: Bytes) -> tuple[Floats, Floats]:
    """d s and dmin m of the 8 sub-blocks of Q4_K and Q5_K.

    Of the 12 bytes, the lower 6 bits of the first 4 are s[0:4], of the next 4 m[0:4]; the last 4 bytes hold
    the lower nibbles of s[4:8] and m[4:8], whose upper two bits are those left free in the first 8 bytes.
    """
    first_s, first_m, nibbles = np.split(blocks[:, 4:16], 3, axis=1)
    low, high, top = np.uint8(0x0F), np.uint8(0x3F), np.uint8(0x30)
    s = np.concatenate([first_s & high, (nibbles & low) | ((first_s >> np.uint8(2)) & top)], axis=1)
    m = np.concatenate([first_m & high, (nibbles >> np.uint8(4)) | ((first_m >> np.uint8(2)) & top)], axis=1)
    return halves(blocks[:, :2]) * s.astype(np.float32), halves(blocks[:, 2:4]) * m.astype(np.float32)
