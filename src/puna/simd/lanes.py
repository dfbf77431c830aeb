"""Choosing lane by lane: comparisons, masks, and bits of 16 integers. Knows nothing of what the lanes hold."""

from __future__ import annotations

from typing import Any

from numba import types

from puna.simd.instruction import ADDRESS, I32, call_llvm, constant, instruction, pointer, splat
from puna.simd.vector import LANES, f32x16, i32x16, mask16

_F32S, _I32S = f32x16.llvm_type, i32x16.llvm_type


@instruction(mask16, f32x16, f32x16)
def less(b: Any, x: Any, y: Any) -> Any:
    """Where x < y; nowhere with NaN."""
    return b.fcmp_ordered("<", x, y)


@instruction(mask16, f32x16, f32x16)
def unlike(b: Any, x: Any, y: Any) -> Any:
    """Where x and y differ; nowhere with NaN."""
    return b.fcmp_ordered("!=", x, y)


@instruction(f32x16, mask16, f32x16, f32x16)
def select(b: Any, mask: Any, x: Any, y: Any) -> Any:
    """x where the mask is set, else y."""
    return b.select(mask, x, y)


@instruction(f32x16, f32x16)
def square_root(b: Any, x: Any) -> Any:
    """Rounded correctly."""
    return call_llvm(b, "llvm.sqrt.v16f32", _F32S, x)


@instruction(i32x16, f32x16)
def truncate(b: Any, x: Any) -> Any:
    """Integers, rounded towards zero; |x| < 2**31."""
    return b.fptosi(x, _I32S)


@instruction(f32x16, f32x16)
def nearest_modulo(b: Any, x: Any) -> Any:
    """The nearest integers, ties to even, modulo 2**23: from -2**22 on, whatever x is.

    Adding 1.5 * 2**23 leaves them in the low bits of the mantissa.
    """
    bits = b.bitcast(b.fadd(x, constant(_F32S, 12582912.0)), _I32S)
    low = b.and_(bits, constant(_I32S, 0x007FFFFF))
    return b.sitofp(b.sub(low, constant(_I32S, 0x00400000)), _F32S)


@instruction(i32x16, f32x16)
def float_bits(b: Any, x: Any) -> Any:
    """The bits of floats."""
    return b.bitcast(x, _I32S)


@instruction(f32x16, i32x16)
def from_bits(b: Any, v: Any) -> Any:
    """Floats of these bits."""
    return b.bitcast(v, _F32S)


@instruction(i32x16, types.int64)
def splat_i32(b: Any, n: Any) -> Any:
    """n in every lane."""
    return splat(b, b.trunc(n, I32), LANES)


@instruction(i32x16, i32x16, types.int64)
def shift_left(b: Any, v: Any, count: Any) -> Any:
    """Lane by lane v << count."""
    return b.shl(v, splat(b, b.trunc(count, I32), LANES))


@instruction(i32x16, ADDRESS)
def load_i32(b: Any, p: Any) -> Any:
    """16 integers of 32 bits."""
    return b.load(pointer(b, p, _I32S), align=1)


@instruction(types.void, ADDRESS, i32x16)
def store_i32(b: Any, p: Any, v: Any) -> None:
    """16 integers of 32 bits."""
    b.store(v, pointer(b, p, _I32S), align=1)
