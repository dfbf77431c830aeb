"""Blocks of types that no kernel reads, as blocks of one that a kernel does. No weight changes its value.

The types with codebooks (IQ1, IQ2, IQ3) are x = unit x step x number, where the number is one of at most 16: they
become a float32 unit, 16 steps and 256 nibbles that say which. Knows nothing of how kernels lay anything out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from puna.gguf import GGMLType, dequantize
from puna.gguf.quants.bits import halves, pack, unpack, words
from puna.kernels import layouts

Bytes: TypeAlias = NDArray[np.uint8]
Floats: TypeAlias = NDArray[np.float32]
Steps: TypeAlias = NDArray[np.unsignedinteger]


def convert(raw: Bytes, kind: GGMLType) -> Bytes:
    """Whole blocks of `kind` as those that its layout's packing kernel takes: most as they are."""
    how = _CONVERSIONS.get(kind)
    return raw if how is None else how(raw.reshape(-1, kind.type_size), kind).reshape(-1)


def _values(blocks: Bytes, kind: GGMLType) -> Floats:
    return dequantize(blocks.reshape(-1), kind, (len(blocks), kind.block_size))


def _as_f32(blocks: Bytes, kind: GGMLType) -> Bytes:
    return _values(blocks, kind).view(np.uint8)


def _numbers(values: Floats, scale: Floats) -> NDArray[np.int8]:
    """values / scale, which are small whole numbers; 0 where the scale is 0, infinite or NaN."""
    with np.errstate(all="ignore"):
        numbers: NDArray[np.int8] = np.nan_to_num(np.rint(values / scale), posinf=0, neginf=0).astype(np.int8)
    return numbers


def _as_levels(levels: tuple[int, ...], unit: float, steps: Callable[[Bytes], Steps]) -> Callable[..., Bytes]:
    """A conversion: d times `unit`, then 16 steps 2 s + 1 for 16 elements each, then indices of the levels."""
    index = np.zeros(256, np.uint8)
    index[np.array(levels, np.int8).view(np.uint8)] = np.arange(len(levels))

    def how(blocks: Bytes, kind: GGMLType) -> Bytes:
        each = 2 * steps(blocks).astype(np.uint8) + np.uint8(1)
        d = (_iq1_m_d(blocks) if kind is GGMLType.IQ1_M else halves(blocks[:, :2])) * np.float32(unit)
        scale = (d * each.astype(np.float32)).repeat(256 // each.shape[1], axis=1)
        numbers = _numbers(_values(blocks, kind), scale).view(np.uint8)
        nibbles = pack(index[numbers], 4, 16)
        return np.concatenate([d.view(np.uint8), each.repeat(16 // each.shape[1], axis=1), nibbles], axis=1)

    return how


def _iq1_m_d(blocks: Bytes) -> Floats:
    """A nibble of d above the scales in each of 4 words."""
    parts = (words(blocks[:, 48:], 16) >> np.uint16(12)) << np.array([0, 4, 8, 12], np.uint16)
    return halves(np.bitwise_or.reduce(parts, axis=1, keepdims=True).astype("<u2").view(np.uint8))


def _iq1_s_steps(blocks: Bytes) -> Steps:
    return (words(blocks[:, 34:], 16) >> np.uint16(12)) & np.uint16(7)


def _iq1_m_steps(blocks: Bytes) -> Steps:
    fields = words(blocks[:, 48:], 16)[:, :, None] >> np.array([0, 3, 6, 9], np.uint16)
    return (fields & np.uint16(7)).reshape(len(blocks), 16)


def _ternary_as_q2_k(blocks: Bytes, kind: GGMLType) -> Bytes:
    """d (q - 1) as Q2_K's d s q - dmin m with s = m = 1 and dmin = d."""
    d = blocks[:, -2:]
    quants = (_numbers(_values(blocks, kind), halves(d)) + np.int8(1)).view(np.uint8)
    ones = np.full((len(blocks), 16), 0x11, np.uint8)
    return np.concatenate([ones, pack(quants, 2, 32), d, d], axis=1)


def _q1_0_as_q4_0(blocks: Bytes, kind: GGMLType) -> Bytes:
    """-d and d as 4 blocks of Q4_0's d (q - 8)."""
    d = blocks[:, :2].repeat(4, axis=0)
    quants = (_numbers(_values(blocks, kind), halves(blocks[:, :2])) + np.int8(8)).view(np.uint8)
    return np.concatenate([d, pack(quants.reshape(-1, 32), 4, 16)], axis=1)


def _q8_1_as_q8_0(blocks: Bytes, _kind: GGMLType) -> Bytes:
    """Without the sum."""
    return np.concatenate([blocks[:, :2], blocks[:, 4:]], axis=1)


_CONVERSIONS: dict[GGMLType, Callable[[Bytes, GGMLType], Bytes]] = {
    GGMLType.IQ1_S: _as_levels(layouts.IQ1_LEVELS, 1 / 8, _iq1_s_steps),
    GGMLType.IQ1_M: _as_levels(layouts.IQ1_LEVELS, 1 / 8, _iq1_m_steps),
    GGMLType.IQ2_XXS: _as_levels(layouts.IQ2_LEVELS, 1 / 8, lambda b: words(b[:, 2:], 32)[:, 1::2] >> np.uint32(28)),
    GGMLType.IQ2_XS: _as_levels(layouts.IQ2_LEVELS, 1 / 8, lambda b: unpack(b[:, 66:], 4, 1)),
    GGMLType.IQ2_S: _as_levels(layouts.IQ2_LEVELS, 1 / 8, lambda b: unpack(b[:, 74:], 4, 1)),
    GGMLType.IQ3_XXS: _as_levels(layouts.IQ3_XXS_LEVELS, 1 / 4, lambda b: words(b[:, 66:], 32) >> np.uint32(28)),
    GGMLType.IQ3_S: _as_levels(layouts.IQ3_S_LEVELS, 1, lambda b: unpack(b[:, 106:], 4, 1)),
    GGMLType.TQ1_0: _ternary_as_q2_k,
    GGMLType.TQ2_0: _ternary_as_q2_k,
    GGMLType.Q1_0: _q1_0_as_q4_0,
    GGMLType.Q8_1: _q8_1_as_q8_0,
    **dict.fromkeys((GGMLType.Q8_K, GGMLType.F64, GGMLType.I8, GGMLType.I16, GGMLType.I32, GGMLType.I64), _as_f32),
}
