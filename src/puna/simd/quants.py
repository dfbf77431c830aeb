"""Taking quants and their scales out of bytes, 64 or 16 at a time. Knows no type of weights."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from puna.hardware import ISA as Isa
from puna.simd.dot import in_parts
from puna.simd.instruction import (
    ADDRESS,
    I8,
    I16,
    I32,
    ISA,
    call_llvm,
    constant,
    instruction,
    pointer,
    shuffle,
    splat,
)
from puna.simd.vector import LANES, f32x16, i8x64, i32x16

_BYTES, _I32S, _F32S = i8x64.llvm_type, i32x16.llvm_type, f32x16.llvm_type


@instruction(i8x64, i8x64)
def low_nibbles(b: Any, v: Any) -> Any:
    """The lower 4 bits of each byte."""
    return b.and_(v, constant(v.type, 15))


@instruction(i8x64, i8x64)
def high_nibbles(b: Any, v: Any) -> Any:
    """The upper 4 bits of each byte."""
    words = ir.VectorType(I16, 32)
    shifted = b.lshr(b.bitcast(v, words), constant(words, 4))
    return b.and_(b.bitcast(shifted, v.type), constant(v.type, 15))


@instruction(i8x64, i8x64, types.int64, types.int64)
def bit_field(b: Any, v: Any, shift: Any, mask: Any) -> Any:
    """Each byte shifted right by -7 to 7 bits, of which `mask` leaves only such as were in the byte before."""
    # A rotation of 4 bytes at once is one instruction or two; what comes from a neighbour is masked away.
    count = splat(b, b.trunc(shift, I32), LANES)
    words = b.bitcast(v, _I32S)
    turned = call_llvm(b, "llvm.fshr.v16i32", _I32S, words, words, count)
    return b.and_(b.bitcast(turned, v.type), splat(b, b.trunc(mask, I8), 64))


@instruction(i8x64, i8x64, i8x64)
def look_up(b: Any, table: Any, indices: Any) -> Any:
    """For each byte of `indices`, 0 to 15, that byte of the table, which is 16 bytes, four times."""
    if ISA is Isa.AVX512VNNI:
        return call_llvm(b, "llvm.x86.avx512.pshuf.b.512", _BYTES, table, indices)
    if ISA in (Isa.AVXVNNI, Isa.AVX2):
        return in_parts(b, 2, lambda t, i: call_llvm(b, "llvm.x86.avx2.pshuf.b", t.type, t, i), table, indices)
    if ISA in (Isa.NEON, Isa.I8MM):
        return in_parts(b, 4, lambda t, i: call_llvm(b, "llvm.aarch64.neon.tbl1.v16i8", t.type, t, i), table, indices)
    return _choose(b, table, indices)


def _choose(b: ir.IRBuilder, table: ir.Value, indices: ir.Value) -> ir.Value:
    """By halves: bit 3 of the index chooses between entries 0 to 7 and 8 to 15, and so on."""
    entries = [shuffle(b, table, table, [i] * 64) for i in range(16)]
    for bit in (1, 2, 4, 8):
        is_set = b.icmp_unsigned("!=", b.and_(indices, constant(_BYTES, bit)), constant(_BYTES, 0))
        entries = [b.select(is_set, odd, even) for even, odd in zip(entries[::2], entries[1::2], strict=True)]
    return entries[0]


def level_table(values: tuple[int, ...]) -> Any:
    """An instruction that gives the table of up to 16 bytes, -128 to 255, that `look_up` takes."""
    sixteen = [(value + 128) % 256 - 128 for value in (*values, *[0] * (16 - len(values)))]

    def table(_b: Any) -> Any:
        """The levels."""
        return ir.Constant(_BYTES, sixteen * 4)

    return instruction(i8x64)(table)


def _widen(b: ir.IRBuilder, p: ir.Value, extend: Any) -> ir.Value:
    return extend(b.load(pointer(b, p, ir.VectorType(I8, LANES)), align=1), _I32S)


@instruction(i32x16, ADDRESS)
def widen_u8(b: Any, p: Any) -> Any:
    """16 unsigned bytes."""
    return _widen(b, p, b.zext)


@instruction(i32x16, ADDRESS)
def widen_i8(b: Any, p: Any) -> Any:
    """16 signed bytes."""
    return _widen(b, p, b.sext)


@instruction(i32x16, i32x16, types.int64, types.int64)
def field(b: Any, v: Any, shift: Any, mask: Any) -> Any:
    """Lane by lane (v >> shift) & mask."""
    shifted = b.lshr(v, splat(b, b.trunc(shift, I32), LANES))
    return b.and_(shifted, splat(b, b.trunc(mask, I32), LANES))


@instruction(f32x16, ADDRESS)
def load_e8m0(b: Any, p: Any) -> Any:
    """16 bytes e as 2**(e - 128): half of an E8M0 number, for elements that are doubled (MXFP4).

    As two powers, 2**(e // 2 - 64) and the rest, since the smallest and the largest have no exponent of their own.
    """
    e = _widen(b, p, b.zext)
    half = b.lshr(e, constant(_I32S, 1))

    def power(n: ir.Value) -> ir.Value:
        return b.bitcast(b.shl(b.add(n, constant(_I32S, 63)), constant(_I32S, 23)), _F32S)

    return b.fmul(power(half), power(b.sub(e, half)))
