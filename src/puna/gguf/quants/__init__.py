"""Between raw tensor bytes and float32, for every GGUF tensor type, in numpy.

The reference for the kernels and the way in for tools; the engine itself computes on the quantised numbers.
Knows nothing of files. Layouts and formulas are ggml's (ggml-common.h, ggml-quants.c); results are those
of the `gguf` package, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf.quants import fp4, i_quants, k_quants, legacy, plain, ternary
from puna.gguf.quants.bits import Bytes, Floats, halves
from puna.gguf.types import GGMLType

CHUNK = 1 << 16  # elements decoded at once: temporaries stay in the cache and out of the memory bill

_DEQUANTIZE: dict[GGMLType, Callable[[Bytes], Floats]] = {
    GGMLType.F32: plain.as_float32("<f4"),
    GGMLType.F16: halves,
    GGMLType.BF16: plain.dequantize_bf16,
    GGMLType.F64: plain.as_float32("<f8"),
    GGMLType.I8: plain.as_float32("i1"),
    GGMLType.I16: plain.as_float32("<i2"),
    GGMLType.I32: plain.as_float32("<i4"),
    GGMLType.I64: plain.as_float32("<i8"),
    GGMLType.Q4_0: legacy.dequantize_q4_0,
    GGMLType.Q4_1: legacy.dequantize_q4_1,
    GGMLType.Q5_0: legacy.dequantize_q5_0,
    GGMLType.Q5_1: legacy.dequantize_q5_1,
    GGMLType.Q8_0: legacy.dequantize_q8_0,
    GGMLType.Q8_1: legacy.dequantize_q8_1,
    GGMLType.Q2_K: k_quants.dequantize_q2_k,
    GGMLType.Q3_K: k_quants.dequantize_q3_k,
    GGMLType.Q4_K: k_quants.dequantize_q4_k,
    GGMLType.Q5_K: k_quants.dequantize_q5_k,
    GGMLType.Q6_K: k_quants.dequantize_q6_k,
    GGMLType.Q8_K: k_quants.dequantize_q8_k,
    GGMLType.IQ1_S: i_quants.dequantize_iq1_s,
    GGMLType.IQ1_M: i_quants.dequantize_iq1_m,
    GGMLType.IQ2_XXS: i_quants.dequantize_iq2_xxs,
    GGMLType.IQ2_XS: i_quants.dequantize_iq2_xs,
    GGMLType.IQ2_S: i_quants.dequantize_iq2_s,
    GGMLType.IQ3_XXS: i_quants.dequantize_iq3_xxs,
    GGMLType.IQ3_S: i_quants.dequantize_iq3_s,
    GGMLType.IQ4_NL: i_quants.dequantize_iq4_nl,
    GGMLType.IQ4_XS: i_quants.dequantize_iq4_xs,
    GGMLType.Q1_0: ternary.dequantize_q1_0,
    GGMLType.TQ1_0: ternary.dequantize_tq1_0,
    GGMLType.TQ2_0: ternary.dequantize_tq2_0,
    GGMLType.MXFP4: fp4.dequantize_mxfp4,
    GGMLType.NVFP4: fp4.dequantize_nvfp4,
}

_QUANTIZE: dict[GGMLType, Callable[[Floats], Bytes]] = {
    GGMLType.F32: plain.quantize_f32,
    GGMLType.F16: plain.quantize_f16,
    GGMLType.BF16: plain.quantize_bf16,
    GGMLType.Q4_0: legacy.quantize_q4_0,
    GGMLType.Q4_1: legacy.quantize_q4_1,
    GGMLType.Q5_0: legacy.quantize_q5_0,
    GGMLType.Q5_1: legacy.quantize_q5_1,
    GGMLType.Q8_0: legacy.quantize_q8_0,
    GGMLType.Q2_K: k_quants.quantize_q2_k,
    GGMLType.Q3_K: k_quants.quantize_q3_k,
    GGMLType.Q4_K: k_quants.quantize_q4_k,
    GGMLType.Q5_K: k_quants.quantize_q5_k,
    GGMLType.Q6_K: k_quants.quantize_q6_k,
    GGMLType.IQ4_NL: i_quants.quantize_iq4_nl,
    GGMLType.IQ4_XS: i_quants.quantize_iq4_xs,
    GGMLType.TQ1_0: ternary.quantize_tq1_0,
    GGMLType.TQ2_0: ternary.quantize_tq2_0,
    GGMLType.MXFP4: fp4.quantize_mxfp4,
}

QUANTIZABLE: frozenset[GGMLType] = frozenset(_QUANTIZE)


def dequantize(data: NDArray[np.uint8], type: GGMLType, shape: tuple[int, ...]) -> NDArray[np.float32]:  # noqa: A002
    """The numbers of a tensor: flat bytes `data` of `type` to a float32 array of `shape` (rows, columns).

    Scales that are infinite or NaN give infinite or NaN numbers. Raises InvalidGGUF when the bytes do not
    make such a tensor.
    """
    try:
        size = type.nbytes(shape)
    except ValueError as error:
        raise InvalidGGUF(str(error)) from None
    if data.dtype != np.uint8 or data.size != size:
        raise InvalidGGUF(f"a {type.name} tensor of shape {shape} has {size} bytes, not {data.nbytes}")
    decode = _DEQUANTIZE[type]
    blocks = np.ascontiguousarray(data).reshape(-1, type.type_size)
    out = np.empty((len(blocks), type.block_size), np.float32)
    step = max(1, CHUNK // type.block_size)
    with np.errstate(all="ignore"):
        for start in range(0, len(blocks), step):
            out[start : start + step] = decode(blocks[start : start + step])
    return out.reshape(shape)


def quantize(array: NDArray[np.float32], type: GGMLType) -> NDArray[np.uint8]:  # noqa: A002
    """The flat bytes of `array` (float32, rows last) stored as `type`.

    Numbers go to the nearest level; scales of the K types and of IQ4 are searched for, so as to make the error small,
    in a way of our own. Whole models are quantised by kernels, whose bits are llama.cpp's (`conversion.quantizing`).

    Raises UnsupportedModel for a type that can only be read; ValueError for another dtype, rows that are not
    whole blocks, and (types in blocks) numbers that are not finite.
    """
    encode = _QUANTIZE.get(type)
    if encode is None:
        names = ", ".join(sorted(kind.name for kind in QUANTIZABLE))
        raise UnsupportedModel(f"cannot quantise to {type.name}; the types that can be written are {names}")
    if array.dtype != np.float32:
        raise ValueError(f"quantize takes float32, not {array.dtype}")
    if type.block_size > 1 and not np.isfinite(array).all():
        raise ValueError(f"infinite or NaN numbers cannot be stored as {type.name}")
    type.nbytes(array.shape)  # raises unless rows are whole blocks
    blocks = np.ascontiguousarray(array).reshape(-1, type.block_size)
    out = np.empty((len(blocks), type.type_size), np.uint8)
    step = max(1, CHUNK // type.block_size)
    with np.errstate(all="ignore"):
        for start in range(0, len(blocks), step):
            out[start : start + step] = encode(blocks[start : start + step])
    return out.reshape(-1)
