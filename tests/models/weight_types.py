"""Every type that a matrix may have: which of them are tried, and random numbers in each, ours to quantise or not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from puna.gguf import QUANTIZABLE, GGMLType, dequantize, quantize

FLOATS = [GGMLType[name] for name in ("F32", "F16", "BF16")]
QUANTIZED = [
    GGMLType[name]
    for name in (
        "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4",
    )
]  # fmt: skip
# Those that only tools with data to train on can make; here, random blocks.
CODEBOOKS = [GGMLType[name] for name in ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_S")]
TERNARY = [GGMLType[name] for name in ("TQ1_0", "TQ2_0")]
ALL = FLOATS + QUANTIZED + CODEBOOKS + TERNARY

_FALLBACK = GGMLType.Q8_0  # for rows that are no whole blocks of 256, as llama.cpp's quantiser has fallbacks


def fitting(kind: GGMLType, columns: int) -> GGMLType:
    """The type, or another for rows of so many columns that are not whole blocks of it."""
    return _FALLBACK if columns % kind.block_size else kind


def stored(array: NDArray[np.float32], kind: GGMLType) -> NDArray[np.uint8]:
    """The array in `kind`; where that is not ours to make, random numbers of the same size in its place."""
    if kind in QUANTIZABLE:
        return quantize(array, kind)
    size = float(np.sqrt(np.square(array).mean()))
    return random_blocks(kind, array.size // kind.block_size, size, seed=array.size)


def random_blocks(kind: GGMLType, count: int, size: float, *, seed: int) -> NDArray[np.uint8]:
    """`count` blocks of random numbers whose root mean square is about `size`."""
    blocks = np.random.default_rng(seed).integers(0, 256, (count, kind.type_size), np.uint8)
    _set_scale(kind, blocks, 1.0)
    numbers = dequantize(blocks.reshape(-1), kind, (count, kind.block_size)).astype(np.float64)
    _set_scale(kind, blocks, size / np.sqrt(np.square(numbers).mean()))
    return blocks.reshape(-1)


def _set_scale(kind: GGMLType, blocks: NDArray[np.uint8], scale: float) -> None:
    """One f16 scale for all blocks: their first two bytes, but in IQ1_M the upper nibbles of the last four words."""
    if kind is not GGMLType.IQ1_M:
        blocks[:, :2] = np.array([scale], "<f2").view(np.uint8)
        return
    bits = int(np.array([scale], "<f2").view("<u2")[0])
    for word in range(4):
        high = blocks[:, 49 + 2 * word]
        high[:] = (high & 15) | ((bits >> (4 * word) & 15) << 4)
