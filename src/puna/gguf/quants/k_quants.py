"""The K family: 256 elements to a block, in sub-blocks whose scales are themselves quantised.

x = d s q (Q3_K, Q6_K: q signed) or x = d s q - dmin m (Q2_K, Q4_K, Q5_K), with d and dmin in f16 for the
block, s and m small integers for each sub-block. Layouts: ggml-common.h. Quantising, s and m are searched for
(`fitting.py`) and rounded; then each q is the nearest under what they have become.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from puna.gguf.quants.bits import Bytes, Floats, halves, pack, to_halves, unpack
from puna.gguf.quants.fitting import divided, extreme, fit_scale, fit_scale_and_minimum, stored_half


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


def quantize_q2_k(blocks: Floats) -> Bytes:
    """4-bit s and m of sub-blocks of 16."""
    numbers, s, m, halves_of = _affine_levels(blocks, 16, 3, 15)
    return np.concatenate([s | (m << np.uint8(4)), pack(numbers, 2, 32), halves_of], axis=1)


def quantize_q3_k(blocks: Floats) -> Bytes:
    """6-bit s of sub-blocks of 16."""
    numbers, s, d = _signed_levels(blocks, 4, 32)
    scales = [pack(s & np.uint8(15), 4, 8), pack(s >> np.uint8(4), 2, 4)]
    high = pack(numbers >> np.uint8(2), 1, 32)
    return np.concatenate([high, pack(numbers & np.uint8(3), 2, 32), *scales, d], axis=1)


def quantize_q4_k(blocks: Floats) -> Bytes:
    """6-bit s and m of sub-blocks of 32."""
    numbers, s, m, halves_of = _affine_levels(blocks, 32, 15, 63)
    return np.concatenate([halves_of, _pack_scales_and_minima(s, m), pack(numbers, 4, 32)], axis=1)


def quantize_q5_k(blocks: Floats) -> Bytes:
    """As Q4_K, with high bits."""
    numbers, s, m, halves_of = _affine_levels(blocks, 32, 31, 63)
    high, low = pack(numbers >> np.uint8(4), 1, 32), pack(numbers & np.uint8(15), 4, 32)
    return np.concatenate([halves_of, _pack_scales_and_minima(s, m), high, low], axis=1)


def quantize_q6_k(blocks: Floats) -> Bytes:
    """Signed 8-bit s of sub-blocks of 16."""
    numbers, s, d = _signed_levels(blocks, 32, 128)
    low, high = pack(numbers & np.uint8(15), 4, 64), pack(numbers >> np.uint8(4), 2, 32)
    return np.concatenate([low, high, s ^ np.uint8(128), d], axis=1)


def _affine_levels(blocks: Floats, size: int, highest: int, most: int) -> tuple[Bytes, Bytes, Bytes, Bytes]:
    """q (n, 256), s and m (n, 256 / size) up to `most`, and the bytes of d and dmin (n, 4)."""
    groups = blocks.reshape(len(blocks), -1, size)
    scale, minimum = fit_scale_and_minimum(groups, highest)
    tops = [values.max(axis=1, keepdims=True) / np.float32(most) for values in (scale, minimum)]
    d, dmin = map(stored_half, tops)
    s, m = np.rint(divided(scale, d)).clip(0, most), np.rint(divided(minimum, dmin)).clip(0, most)
    numbers = divided(groups + (dmin * m)[..., None], (d * s)[..., None])
    levels = np.rint(numbers).clip(0, highest).reshape(len(blocks), -1)
    return levels.astype(np.uint8), s.astype(np.uint8), m.astype(np.uint8), to_halves(np.hstack(tops))


def _signed_levels(blocks: Floats, half: int, most: int) -> tuple[Bytes, Bytes, Bytes]:
    """q + half (n, 256), s + most (n, 16), and the bytes of d (n, 2), for q from -half and s from -most."""
    groups = blocks.reshape(len(blocks), 16, 16)
    scale = fit_scale(groups, -half, 0.9, lambda units: np.rint(units).clip(-half, half - 1))
    top = extreme(scale) / np.float32(-most)
    d = stored_half(top)
    s = np.rint(divided(scale, d)).clip(-most, most - 1)
    numbers = np.rint(divided(groups, (d * s)[..., None])).clip(-half, half - 1).reshape(len(blocks), -1)
    return (numbers + half).astype(np.uint8), (s + most).astype(np.uint8), to_halves(top)


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


def _pack_scales_and_minima(s: Bytes, m: Bytes) -> Bytes:
    """(n, 8) s and m to the 12 bytes that `_scales_and_minima` reads."""
    low, top = np.uint8(0x0F), np.uint8(0x30)
    nibbles = (s[:, 4:] & low) | ((m[:, 4:] & low) << np.uint8(4))
    upper_s, upper_m = (s[:, 4:] & top) << np.uint8(2), (m[:, 4:] & top) << np.uint8(2)
    return np.concatenate([s[:, :4] | upper_s, m[:, :4] | upper_m, nibbles], axis=1)
