"""Four-bit floats (E2M1) with a scale to each small group: MXFP4 and NVFP4.

Sources: OCP Microscaling Formats 1.0 (MXFP4: 32 elements, scale a power of two); NVIDIA's NVFP4 (16 elements,
scale an E4M3 float), four groups of which make a block. Layouts: ggml-common.h.
"""

from __future__ import annotations

import numpy as np

from puna.gguf.quants.bits import Bytes, Floats, pack, unpack

# Twice the values of E2M1, which makes them whole; the scales below are halved in turn.
_DOUBLED = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)


def dequantize_mxfp4(blocks: Bytes) -> Floats:
    """e (1 byte), 32 nibbles: x = 2^(e - 128) doubled value."""
    return _half_power(blocks[:, :1]) * _DOUBLED[unpack(blocks[:, 1:], 4, 16)]


def quantize_mxfp4(blocks: Floats) -> Bytes:
    """The scale puts the largest magnitude between 4 and 8; every element goes to the nearest value."""
    largest = np.abs(blocks).max(axis=1, keepdims=True)
    exponent = np.where(largest > 0, np.floor(np.log2(largest)) + np.float32(125), np.float32(0)).astype(np.uint8)
    levels = _half_power(exponent) * _DOUBLED
    nearest = np.abs(levels[:, None, :] - blocks[:, :, None]).argmin(axis=2)
    return np.concatenate([exponent, pack(nearest.astype(np.uint8), 4, 16)], axis=1)


def dequantize_nvfp4(blocks: Bytes) -> Floats:
    """4 E4M3 scales without sign, then 4 groups of 16 nibbles."""
    scale = _e4m3(blocks[:, :4])
    values = _DOUBLED[unpack(blocks[:, 4:], 4, 8)].reshape(len(blocks), 4, 16)
    return (scale[:, :, None] * values).reshape(len(blocks), -1)


def _half_power(exponent: Bytes) -> Floats:
    """2^(e - 128) for 0 <= e <= 255: below 2 a denormal."""
    bits = exponent.astype(np.uint32)
    denormal = np.uint32(0x00200000) << np.minimum(bits, np.uint32(1))
    normal = (np.maximum(bits, np.uint32(1)) - np.uint32(1)) << np.uint32(23)
    return np.where(bits < 2, denormal, normal).view(np.float32)


def _e4m3(raw: Bytes) -> Floats:
    """Half the value of an E4M3 number, its sign bit ignored; 0x7F (NaN) counts as 0."""
    exponent = ((raw >> np.uint8(3)) & np.uint8(15)).astype(np.int32)
    mantissa = (raw & np.uint8(7)).astype(np.float32)
    denormal = np.ldexp(mantissa, -10)
    normal = np.ldexp(np.float32(1) + mantissa / np.float32(8), exponent - 8)
    value = np.where(exponent == 0, denormal, normal)
    return np.where(raw == 0x7F, np.float32(0), value)
