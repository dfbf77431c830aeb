"""16-lane vectors and the instructions on them. Addresses are int64; loads and stores need no alignment.

The order in which lanes are added is fixed here, the same on every machine. Knows nothing of weights.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.typing import signature
from numba.core.typing.templates import ConcreteTemplate, infer_global
from numba.extending import lower_builtin

from puna.hardware import ISA as Isa
from puna.simd.instruction import (
    ADDRESS,
    F16,
    F32,
    I1,
    I8,
    I16,
    I32,
    I64,
    ISA,
    Vector,
    call_llvm,
    constant,
    instruction,
    pointer,
    shuffle,
    splat,
)

LANES = 16
i8x64 = Vector("i8x64", ir.VectorType(I8, 64))
i32x16 = Vector("i32x16", ir.VectorType(I32, LANES))
f32x16 = Vector("f32x16", ir.VectorType(F32, LANES))
mask16 = Vector("mask16", ir.VectorType(I1, LANES))  # of comparisons: see `lanes`

_F32S, _I32S = f32x16.llvm_type, i32x16.llvm_type
_I16S, _I8S = ir.VectorType(I16, LANES), ir.VectorType(I8, LANES)

# Adding 1.5 * 2**23 leaves a float's nearest integer (ties to even) in its low mantissa bits.
_ROUNDER, _ROUNDER_BITS = 12582912.0, 0x4B400000


# --- arithmetic, written with operators -------------------------------------------------------------


def _operator(python_operator: Any, emit: str, vector: Vector) -> None:
    @infer_global(python_operator)
    class _Typed(ConcreteTemplate):  # type: ignore[misc]
        cases = [signature(vector, vector, vector)]  # noqa: RUF012

    @lower_builtin(python_operator, vector, vector)  # type: ignore[untyped-decorator]
    def _lower(_context: Any, builder: ir.IRBuilder, _signature: Any, values: Any) -> Any:
        return getattr(builder, emit)(*values)


_operator(operator.add, "fadd", f32x16)
_operator(operator.sub, "fsub", f32x16)
_operator(operator.mul, "fmul", f32x16)
_operator(operator.truediv, "fdiv", f32x16)
_operator(operator.add, "add", i32x16)
_operator(operator.or_, "or_", i8x64)
_operator(operator.or_, "or_", i32x16)
_operator(operator.and_, "and_", mask16)


def emit_fma(b: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    """x * y + z: one rounding where the machine has FMA; without it, two (a library call would be too slow)."""
    name = "llvm.fmuladd.v16f32" if ISA is Isa.PORTABLE else "llvm.fma.v16f32"
    return call_llvm(b, name, _F32S, x, y, z)


@instruction(f32x16, f32x16, f32x16, f32x16)
def fma(b: Any, x: Any, y: Any, z: Any) -> Any:
    """x * y + z"""
    return emit_fma(b, x, y, z)


@instruction(f32x16, f32x16, f32x16)
def maximum(b: Any, x: Any, y: Any) -> Any:
    """The larger of two numbers, lane by lane."""
    return b.select(b.fcmp_ordered(">", x, y), x, y)


@instruction(f32x16, f32x16, f32x16)
def minimum(b: Any, x: Any, y: Any) -> Any:
    """The smaller of two numbers, lane by lane."""
    return b.select(b.fcmp_ordered("<", x, y), x, y)


@instruction(f32x16, f32x16)
def absolute(b: Any, x: Any) -> Any:
    """Lane by lane |x|."""
    return call_llvm(b, "llvm.fabs.v16f32", _F32S, x)


@instruction(i32x16, f32x16)
def round_to_i32(b: Any, x: Any) -> Any:
    """The nearest integers, ties to even; |x| < 2**22."""
    bits = b.bitcast(b.fadd(x, constant(_F32S, _ROUNDER)), _I32S)
    return b.sub(bits, constant(_I32S, _ROUNDER_BITS))


@instruction(f32x16, i32x16)
def to_f32(b: Any, v: Any) -> Any:
    """Integers as floats."""
    return b.sitofp(v, _F32S)


@instruction(f32x16, f32x16)
def exp(b: Any, x: Any) -> Any:
    """e**x to about 2 ulp; 0 below -87.3, so that a masked score contributes nothing; exactly 1 at 0.

    Cephes' expf: x = n ln 2 + r, a polynomial in r, then n into the exponent.
    """
    in_range = b.fcmp_ordered(">=", x, constant(_F32S, -87.3))
    low = b.select(in_range, x, constant(_F32S, -87.3))
    x = b.select(b.fcmp_ordered("<=", low, constant(_F32S, 88.0)), low, constant(_F32S, 88.0))
    shifted = b.fadd(b.fmul(x, constant(_F32S, 1.4426950408889634)), constant(_F32S, _ROUNDER))
    n = b.fsub(shifted, constant(_F32S, _ROUNDER))
    r = emit_fma(b, n, constant(_F32S, -0.693359375), x)
    r = emit_fma(b, n, constant(_F32S, 2.12194440e-4), r)
    p = constant(_F32S, 1.9875691500e-4)
    for c in (1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1):
        p = emit_fma(b, p, r, constant(_F32S, c))
    p = emit_fma(b, b.fmul(p, r), r, b.fadd(r, constant(_F32S, 1.0)))
    power = b.shl(b.add(b.fptosi(n, _I32S), constant(_I32S, 127)), constant(_I32S, 23))
    return b.select(in_range, b.fmul(p, b.bitcast(power, _F32S)), constant(_F32S, 0.0))


@instruction(f32x16, f32x16)
def exp2(b: Any, x: Any) -> Any:
    """2**x to about 2 ulp for x < 128; 0 below -125, exactly 1 at 0.

    x = n + r with |r| <= 1/2: a polynomial in r (fitted to the relative error), then n into the exponent.
    """
    in_range = b.fcmp_ordered(">=", x, constant(_F32S, -125.0))
    x = b.select(in_range, x, constant(_F32S, -125.0))
    shifted = b.fadd(x, constant(_F32S, _ROUNDER))
    r = b.fsub(x, b.fsub(shifted, constant(_F32S, _ROUNDER)))
    p = constant(_F32S, 1.326472604285504e-3)
    for c in (9.671512722280166e-3, 5.550733747089114e-2, 0.24022242083573878, 0.693146977596495, 1.0):
        p = emit_fma(b, p, r, constant(_F32S, c))
    exponent = b.shl(b.bitcast(shifted, _I32S), constant(_I32S, 23))  # n lies in the low bits of `shifted`
    power = b.bitcast(b.add(b.bitcast(p, _I32S), exponent), _F32S)
    return b.select(in_range, power, constant(_F32S, 0.0))


# --- lanes together ---------------------------------------------------------------------------------


def _halves(b: ir.IRBuilder, v: ir.Value, combine: Any) -> ir.Value:
    """Combine the upper half with the lower until one lane is left: one order on every machine."""
    width = LANES // 2
    while width:
        undefined = ir.Constant(v.type, ir.Undefined)
        v = combine(
            shuffle(b, v, undefined, list(range(width))),
            shuffle(b, v, undefined, list(range(width, 2 * width))),
        )
        width //= 2
    return b.extract_element(v, I32(0))


@instruction(types.float32, f32x16)
def reduce_add(b: Any, x: Any) -> Any:
    """The sum of the lanes, by halves."""
    return _halves(b, x, b.fadd)


@instruction(types.float32, f32x16)
def reduce_max(b: Any, x: Any) -> Any:
    """The largest lane."""
    return _halves(b, x, lambda p, q: b.select(b.fcmp_ordered(">", p, q), p, q))


@instruction(types.int32, i32x16)
def sum_i32(b: Any, v: Any) -> Any:
    """The sum of the lanes."""
    return _halves(b, v, b.add)


@instruction(f32x16, f32x16, types.int64, types.float32)
def keep_below(b: Any, v: Any, count: Any, other: Any) -> Any:
    """The first `count` lanes of v (any integer), `other` in the rest."""
    lanes = ir.Constant(ir.VectorType(I64, LANES), list(range(LANES)))
    return b.select(b.icmp_signed("<", lanes, splat(b, count, LANES)), v, splat(b, other, LANES))


@instruction(f32x16, f32x16, types.int64, types.float32)
def keep_from(b: Any, v: Any, first: Any, other: Any) -> Any:
    """The lanes of v from `first` (any integer) on, `other` in those before."""
    lanes = ir.Constant(ir.VectorType(I64, LANES), list(range(LANES)))
    return b.select(b.icmp_signed(">=", lanes, splat(b, first, LANES)), v, splat(b, other, LANES))


# --- loads and stores -------------------------------------------------------------------------------


@instruction(i8x64, ADDRESS)
def load_i8(b: Any, p: Any) -> Any:
    """64 bytes."""
    return b.load(pointer(b, p, i8x64.llvm_type), align=1)


def emit_load_f32(b: ir.IRBuilder, p: ir.Value) -> ir.Value:
    """16 float32."""
    return b.load(pointer(b, p, _F32S), align=1)


@instruction(f32x16, ADDRESS)
def load_f32(b: Any, p: Any) -> Any:
    """16 float32."""
    return emit_load_f32(b, p)


def _from_f16(b: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    """16 float16, given as int16 bits, widened."""
    if ISA is not Isa.PORTABLE:
        return b.fpext(b.bitcast(bits, ir.VectorType(F16, LANES)), _F32S)
    # Without F16C: shift exponent and mantissa into place, multiply by 2**112 to rebias; infinities and NaN apart.
    h = b.zext(bits, _I32S)
    magnitude = b.shl(b.and_(h, constant(_I32S, 0x7FFF)), constant(_I32S, 13))
    scaled = b.bitcast(b.fmul(b.bitcast(magnitude, _F32S), constant(_F32S, 2.0**112)), _I32S)
    special = b.icmp_unsigned(">=", magnitude, constant(_I32S, 0x0F800000))
    value = b.select(special, b.or_(magnitude, constant(_I32S, 0x7F800000)), scaled)
    return b.bitcast(b.or_(value, b.shl(b.and_(h, constant(_I32S, 0x8000)), constant(_I32S, 16))), _F32S)


@instruction(f32x16, ADDRESS)
def load_f16(b: Any, p: Any) -> Any:
    """16 float16, widened."""
    return _from_f16(b, b.load(pointer(b, p, _I16S), align=1))


@instruction(f32x16, ADDRESS)
def load_f16_splat(b: Any, p: Any) -> Any:
    """One float16, widened, in every lane."""
    return _from_f16(b, splat(b, b.load(pointer(b, p, I16), align=1), LANES))


@instruction(f32x16, ADDRESS)
def load_bf16(b: Any, p: Any) -> Any:
    """16 bfloat16, widened: the upper halves of float32."""
    wide = b.zext(b.load(pointer(b, p, _I16S), align=1), _I32S)
    return b.bitcast(b.shl(wide, constant(_I32S, 16)), _F32S)


@instruction(types.void, ADDRESS, f32x16)
def store_f32(b: Any, p: Any, v: Any) -> None:
    """16 float32."""
    b.store(v, pointer(b, p, _F32S), align=1)


def _to_f16(b: ir.IRBuilder, v: ir.Value) -> ir.Value:
    """Nearest float16 as int16 bits, ties to even, values beyond its range held at the largest finite one."""
    top = constant(_F32S, 65504.0)
    v = b.select(b.fcmp_ordered("<", v, top), v, top)
    v = b.select(b.fcmp_ordered(">", v, b.fneg(top)), v, b.fneg(top))
    if ISA is not Isa.PORTABLE:
        return b.bitcast(b.fptrunc(v, ir.VectorType(F16, LANES)), _I16S)
    bits = b.bitcast(v, _I32S)
    sign = b.lshr(b.and_(bits, constant(_I32S, 0x80000000)), constant(_I32S, 16))
    magnitude = b.and_(bits, constant(_I32S, 0x7FFFFFFF))
    odd = b.and_(b.lshr(magnitude, constant(_I32S, 13)), constant(_I32S, 1))
    rounded = b.add(b.add(magnitude, constant(_I32S, 0x0FFF)), odd)
    normal = b.lshr(b.sub(rounded, constant(_I32S, 112 << 23)), constant(_I32S, 13))
    # Below 2**-14 a float16 is subnormal: adding 0.5 lets the adder do the shift and the rounding.
    shifted = b.fadd(b.bitcast(magnitude, _F32S), constant(_F32S, 0.5))
    subnormal = b.sub(b.bitcast(shifted, _I32S), constant(_I32S, 0x3F000000))
    small = b.icmp_unsigned("<", magnitude, constant(_I32S, 0x38800000))
    return b.trunc(b.or_(b.select(small, subnormal, normal), sign), _I16S)


@instruction(types.void, ADDRESS, f32x16)
def store_f16(b: Any, p: Any, v: Any) -> None:
    """16 float16, rounded to nearest, held within the finite range."""
    b.store(_to_f16(b, v), pointer(b, p, _I16S), align=1)


@instruction(f32x16, f32x16)
def through_f16(b: Any, x: Any) -> Any:
    """The numbers as they come back from `store_f16`."""
    return _from_f16(b, _to_f16(b, x))


@instruction(types.void, ADDRESS, types.int64, i32x16)
def scatter_i8(b: Any, p: Any, stride: Any, v: Any) -> None:
    """The low bytes of 16 integers, in words of 4: word i to p + i * stride bytes."""
    words = b.bitcast(b.trunc(v, ir.VectorType(I8, LANES)), ir.VectorType(I32, 4))
    for i in range(4):
        at = b.add(p, b.mul(stride, I64(i)))
        b.store(b.extract_element(words, I32(i)), pointer(b, at, I32), align=1)


def _scatter(b: ir.IRBuilder, p: ir.Value, stride: ir.Value, v: ir.Value) -> None:
    for lane in range(LANES):
        at = b.add(p, b.mul(stride, I64(lane)))
        b.store(b.extract_element(v, I32(lane)), pointer(b, at, v.type.element), align=1)


@instruction(types.void, ADDRESS, types.int64, f32x16)
def scatter_f32(b: Any, p: Any, stride: Any, v: Any) -> None:
    """Lane i as a float32 to p + i * stride bytes."""
    _scatter(b, p, stride, v)


@instruction(types.void, ADDRESS, types.int64, f32x16)
def scatter_f16(b: Any, p: Any, stride: Any, v: Any) -> None:
    """Lane i as a float16 to p + i * stride bytes, rounded as `store_f16` does."""
    _scatter(b, p, stride, _to_f16(b, v))


@instruction(types.void, ADDRESS, types.int64, i32x16)
def scatter_i16(b: Any, p: Any, stride: Any, v: Any) -> None:
    """The lower half of lane i to p + i * stride bytes."""
    _scatter(b, p, stride, b.trunc(v, _I16S))


@instruction(types.void, ADDRESS, types.int64, i32x16)
def scatter_i32(b: Any, p: Any, stride: Any, v: Any) -> None:
    """Lane i to p + i * stride bytes."""
    _scatter(b, p, stride, v)


@instruction(f32x16, ADDRESS)
def load_bytes(b: Any, p: Any) -> Any:
    """16 int8 as floats."""
    return b.sitofp(b.sext(b.load(pointer(b, p, _I8S), align=1), _I32S), _F32S)


@instruction(types.void, ADDRESS, i32x16)
def store_bytes(b: Any, p: Any, v: Any) -> None:
    """The low bytes of 16 integers."""
    b.store(b.trunc(v, _I8S), pointer(b, p, _I8S), align=1)


@instruction(types.void, ADDRESS, types.int64, i32x16)
def scatter_bytes(b: Any, p: Any, stride: Any, v: Any) -> None:
    """The low byte of lane i to p + i * stride bytes."""
    _scatter(b, p, stride, b.trunc(v, _I8S))


@instruction(f32x16, types.float32)
def splat_f32(b: Any, x: Any) -> Any:
    """x in every lane."""
    return splat(b, x, LANES)


# --- scalars, memory, control -----------------------------------------------------------------------


def _getter(name: str, result: Any, llvm_type: ir.Type) -> Any:
    def emit(b: Any, p: Any) -> Any:
        return b.load(pointer(b, p, llvm_type), align=1)

    emit.__name__ = name
    return instruction(result, ADDRESS)(emit)


def _setter(name: str, value: Any, llvm_type: ir.Type) -> Any:
    def emit(b: Any, p: Any, v: Any) -> None:
        b.store(v, pointer(b, p, llvm_type), align=1)

    emit.__name__ = name
    return instruction(types.void, ADDRESS, value)(emit)


get_i64 = _getter("get_i64", types.int64, I64)
get_i32 = _getter("get_i32", types.int32, I32)
get_i16 = _getter("get_i16", types.int16, I16)
get_u8 = _getter("get_u8", types.uint8, I8)
get_f32 = _getter("get_f32", types.float32, F32)
set_i64 = _setter("set_i64", types.int64, I64)
set_i32 = _setter("set_i32", types.int32, I32)
set_i16 = _setter("set_i16", types.int16, I16)
set_u8 = _setter("set_u8", types.uint8, I8)
set_f32 = _setter("set_f32", types.float32, F32)


@instruction(types.void, ADDRESS)
def prefetch(b: Any, p: Any) -> None:
    """Ask for the cache line of an address that will be read; any address is allowed."""
    q = pointer(b, p, I8)
    call_llvm(b, "llvm.prefetch.p0", ir.VoidType(), q, I32(0), I32(3), I32(1))


@instruction(types.int64, ADDRESS, types.int64)
def atomic_add(b: Any, p: Any, v: Any) -> Any:
    """Add to an int64 that other threads see; gives its old value."""
    return b.atomic_rmw("add", pointer(b, p, I64), v, "acq_rel")


@instruction(types.int64, ADDRESS)
def atomic_load(b: Any, p: Any) -> Any:
    """Read an int64 that other threads write."""
    return b.load_atomic(pointer(b, p, I64), "acquire", 8)


@instruction(types.void, ADDRESS, ADDRESS, types.int64, types.int64)
def call(b: Any, function: Any, arguments: Any, thread: Any, threads: Any) -> None:
    """Call a kernel by its address."""
    kernel = ir.FunctionType(ir.VoidType(), [I64, I64, I64])
    b.call(b.inttoptr(function, kernel.as_pointer()), [arguments, thread, threads])


@instruction(types.void, ADDRESS)
def pause(b: Any, yield_function: Any) -> None:
    """Let another thread run: call the system's yield (int (*)(void)) at this address."""
    function = ir.FunctionType(I32, [])
    b.call(b.inttoptr(yield_function, function.as_pointer()), [])
