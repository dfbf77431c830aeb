"""Types that are not quantised: floats and integers, one element to a block."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from puna.gguf.quants.bits import Bytes, Floats, to_halves


def as_float32(code: str) -> Callable[[Bytes], Floats]:
    """A decoder of the numpy type `code`; f64 and large integers are rounded to the nearest float32."""

    def dequantize(blocks: Bytes) -> Floats:
        return blocks.view(code).astype(np.float32)

    return dequantize


def dequantize_bf16(blocks: Bytes) -> Floats:
    """bfloat16 is the upper half of a float32."""
    return (blocks.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)


def quantize_f32(blocks: Floats) -> Bytes:
    """The same bits."""
    return blocks.view(np.uint8)


def quantize_f16(blocks: Floats) -> Bytes:
    """Nearest f16, halves to even; beyond 65504 infinite."""
    return to_halves(blocks)


def quantize_bf16(blocks: Floats) -> Bytes:
    """Nearest bfloat16, halves to even; NaN stays NaN (made quiet, lower payload bits dropped)."""
    bits = blocks.view(np.uint32)
    odd = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = (bits.astype(np.uint64) + np.uint64(0x7FFF) + odd) >> np.uint64(16)
    nan = (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
    quiet = (bits >> np.uint32(16)) | np.uint32(0x40)
    return np.where(nan, quiet, rounded).astype("<u2").view(np.uint8)
