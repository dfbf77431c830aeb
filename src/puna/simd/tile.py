"""Tiles: a small array of 16-lane accumulators that stays in registers while a loop runs over the columns.

A tile has one vector for each of T tokens (or row groups); its instructions are unrolled when the code is made.
T is part of the type. The two integer dot products are here because they differ most between machines.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_model

from puna.simd.dot import DOTS, load_word
from puna.simd.instruction import (
    ADDRESS,
    F32,
    I32,
    I64,
    ISA,
    Vector,
    VectorModel,
    constant,
    pointer,
    register,
    splat,
)
from puna.simd.vector import LANES, emit_fma, f32x16, i8x64, i32x16

_F32S, _I32S = f32x16.llvm_type, i32x16.llvm_type


class Tile(Vector):
    """T vectors of one kind."""

    def __init__(self, kind: Vector, count: int) -> None:
        self.kind, self.count = kind, count
        super().__init__(f"{kind.name}[{count}]", ir.ArrayType(kind.llvm_type, count))


register_model(Tile)(VectorModel)


@cache
def _tile(kind: Vector, count: int) -> Tile:
    return Tile(kind, count)


def _pack(b: ir.IRBuilder, vectors: list[ir.Value]) -> ir.Value:
    tile = ir.Constant(ir.ArrayType(vectors[0].type, len(vectors)), ir.Undefined)
    for i, v in enumerate(vectors):
        tile = b.insert_value(tile, v, i)
    return tile


def _unpack(b: ir.IRBuilder, tile: ir.Value) -> list[ir.Value]:
    return [b.extract_value(tile, i) for i in range(tile.type.count)]


def _at(b: ir.IRBuilder, base: ir.Value, stride: ir.Value, index: int) -> ir.Value:
    return b.add(base, b.mul(stride, I64(index)))


def _load_splat(b: ir.IRBuilder, address: ir.Value, scalar: ir.Type) -> ir.Value:
    return splat(b, b.load(pointer(b, address, scalar), align=1), LANES)


def _make(kind: Vector, *parameters: Any) -> Callable[[Callable[..., Any]], Any]:
    """An instruction `name(count, *values) -> tile of count vectors`; count is a literal."""

    def decorate(emit: Callable[..., Any]) -> Any:
        def typed(_context: Any, count: Any, *_: Any) -> Any:
            def generate(_c: Any, b: ir.IRBuilder, _s: Any, values: Any) -> Any:
                return _pack(b, emit(b, count.literal_value, *values[1:]))

            return _tile(kind, count.literal_value)(count, *parameters), generate

        return register(typed, emit, 1 + len(parameters), literal=True)

    return decorate


def _change(*parameters: Any) -> Callable[[Callable[..., Any]], Any]:
    """An instruction `name(tile, *values) -> tile` of the same type."""

    def decorate(emit: Callable[..., Any]) -> Any:
        def typed(_context: Any, tile: Any, *_: Any) -> Any:
            def generate(_c: Any, b: ir.IRBuilder, _s: Any, values: Any) -> Any:
                return _pack(b, emit(b, _unpack(b, values[0]), *values[1:]))

            return tile(tile, *parameters), generate

        return register(typed, emit, 1 + len(parameters))

    return decorate


# --- float tiles ------------------------------------------------------------------------------------


@_make(f32x16)
def f32_tile(_b: Any, count: int) -> Any:
    """Zeros."""
    return [constant(_F32S, 0.0)] * count


@_make(f32x16, ADDRESS, types.int64)
def load_tile(b: Any, count: int, base: Any, stride: Any) -> Any:
    """Vector t from base + t * stride bytes."""
    return [b.load(pointer(b, _at(b, base, stride, t), _F32S), align=1) for t in range(count)]


@_change(f32x16, ADDRESS, types.int64)
def fma_tile(b: Any, tile: Any, w: Any, base: Any, stride: Any) -> Any:
    """tile[t] += w * x[t], where x[t] is the float32 at base + t * stride bytes."""
    return [emit_fma(b, _load_splat(b, _at(b, base, stride, t), F32), w, v) for t, v in enumerate(tile)]


@intrinsic  # type: ignore[untyped-decorator]
def fma_two(_context: Any, tile: Any, other: Any, w: Any, v: Any, base: Any, stride: Any) -> Any:  # noqa: ARG001
    """fma_tile of two tiles with one x: (tile[t] + w * x[t], other[t] + v * x[t]); each x[t] is loaded once."""
    both = types.Tuple((tile, tile))

    def generate(context: Any, b: ir.IRBuilder, _s: Any, values: Any) -> Any:
        *tiles, w, v, base, stride = values
        made: tuple[list[ir.Value], list[ir.Value]] = ([], [])
        for t, accs in enumerate(zip(*(_unpack(b, each) for each in tiles), strict=True)):
            x = _load_splat(b, _at(b, base, stride, t), F32)
            for out, weights, acc in zip(made, (w, v), accs, strict=True):
                out.append(emit_fma(b, x, weights, acc))
        return context.make_tuple(b, both, [_pack(b, each) for each in made])

    return both(tile, other, f32x16, f32x16, ADDRESS, types.int64), generate


@_change(f32x16, ADDRESS, types.int64)
def fma_column(b: Any, tile: Any, x: Any, base: Any, stride: Any) -> Any:
    """tile[t] += x * w[t], where w[t] are the 16 float32 at base + t * stride bytes."""
    rows = (b.load(pointer(b, _at(b, base, stride, t), _F32S), align=1) for t in range(len(tile)))
    return [emit_fma(b, w, x, v) for w, v in zip(rows, tile, strict=True)]


@_change(ADDRESS, types.int64)
def add_tile(b: Any, tile: Any, base: Any, stride: Any) -> Any:
    """tile[t] += the 16 float32 at base + t * stride bytes."""
    rows = [b.load(pointer(b, _at(b, base, stride, t), _F32S), align=1) for t in range(len(tile))]
    return [b.fadd(v, r) for v, r in zip(tile, rows, strict=True)]


@intrinsic  # type: ignore[untyped-decorator]
def store_tile(_context: Any, tile: Any, base: Any, stride: Any) -> Any:  # noqa: ARG001
    """Vector t to base + t * stride bytes."""

    def generate(context: Any, b: ir.IRBuilder, _s: Any, values: Any) -> Any:
        for t, v in enumerate(_unpack(b, values[0])):
            b.store(v, pointer(b, _at(b, values[1], values[2], t), _F32S), align=1)
        return context.get_dummy_value()

    return types.void(tile, ADDRESS, types.int64), generate


@intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]
def tile_lane_vector(_context: Any, tile: Any, index: Any) -> Any:
    """Vector `index` (a literal) of a tile."""

    def generate(_c: Any, b: ir.IRBuilder, _s: Any, values: Any) -> Any:
        return b.extract_value(values[0], index.literal_value)

    return tile.kind(tile, index), generate


# --- integer tiles: dot products of quants ----------------------------------------------------------
#
# A lane is a row of weights. 64 bytes of weights are 16 rows x 4 columns; the 4 activations of those columns
# (int8, -127 to 127) are one word, the same for all rows. How they are multiplied is in `dot`.

_DOT = DOTS[ISA]


def _words(b: ir.IRBuilder, base: ir.Value, count: int, scalar: ir.Type) -> list[ir.Value]:
    """Words t = 0, 1, ... of 4 bytes from an address, each in all lanes."""
    return [load_word(b, base, t, scalar) for t in range(count)]


@_make(i32x16, ADDRESS)
def u4_start_tile(b: Any, count: int, sums: Any) -> Any:
    """What `dot_u4_tile` starts from when quants are stored as q + 8: the int32 -8 sum(x[t]) at `sums`."""
    return _words(b, sums, count, I32)


@cache
def start_tile(offset: int, unit: int) -> Any:
    """An instruction that gives what sums of quants stored as q + offset start from: (count, address of sums) -> tile.

    There stand the int32 -unit sum(x[t]); the tile is -offset sum(x[t]). Both are powers of two, or offset is 0.
    """

    def start(b: Any, count: int, sums: Any) -> Any:
        """What sums start from."""
        if offset == 0:
            return [constant(_I32S, 0)] * count
        words = _words(b, sums, count, I32)
        if offset < unit:
            return [b.ashr(v, constant(_I32S, (unit // offset).bit_length() - 1)) for v in words]
        return [b.shl(v, constant(_I32S, (offset // unit).bit_length() - 1)) for v in words]

    return _make(i32x16, ADDRESS)(start)


def signed_offset() -> int:
    """What is added to signed bytes where they are stored, as the machine's dot product wants it: 128 or 0."""
    return _DOT.signed_offset


@_change(i8x64, ADDRESS)
def dot_u4_tile(b: Any, tile: Any, u: Any, words: Any) -> Any:
    """tile[t] += 16 rows x 4 columns of small quants (0 to 127) times the 4 int8 of word t."""
    return [_DOT.unsigned(b, v, u, x) for v, x in zip(tile, _words(b, words, len(tile), I32), strict=True)]


@_change(i8x64, ADDRESS)
def dot_i8_tile(b: Any, tile: Any, w: Any, words: Any) -> Any:
    """tile[t] += 16 rows x 4 columns of int8, stored with `signed_offset` added, times the 4 int8 of word t."""
    return [_DOT.signed(b, v, w, x) for v, x in zip(tile, _words(b, words, len(tile), I32), strict=True)]


# Sums of many products have a form of their own while they are added up: see `dot.Dot`. A sum begins with `open_...`
# of what it starts from, takes two chunks at a time, and is 16 int32 a token again after `close_...` of both.

_narrow = Vector("narrow", _DOT.narrow)


def _opening(kind: Vector, emit: Callable[..., Any]) -> Any:
    def typed(_context: Any, ints: Any) -> Any:
        def generate(_c: Any, b: ir.IRBuilder, _s: Any, values: Any) -> Any:
            return _pack(b, emit(b, _unpack(b, values[0])))

        return _tile(kind, ints.count)(ints), generate

    return register(typed, emit, 1)


def _adding(emit: Callable[..., Any]) -> Any:
    def add(b: ir.IRBuilder, sums: Any, u: Any, words: Any, v: Any, other_words: Any) -> Any:
        return emit(b, sums, (u, words), (v, other_words))

    add.__name__, add.__doc__ = emit.__name__, emit.__doc__
    return _change(i8x64, ADDRESS, i8x64, ADDRESS)(add)


def _closing(emit: Callable[..., Any]) -> Any:
    def typed(_context: Any, ints: Any, sums: Any) -> Any:
        def generate(_c: Any, b: ir.IRBuilder, _s: Any, values: Any) -> Any:
            return _pack(b, emit(b, *(_unpack(b, v) for v in values)))

        return ints(ints, sums), generate

    return register(typed, emit, 2)


open_narrow, add_narrow, close_narrow = (
    _opening(_narrow, _DOT.open_narrow), _adding(_DOT.add_narrow), _closing(_DOT.close_narrow),
)  # fmt: skip
open_bytes, add_bytes, close_bytes = (
    _opening(i32x16, _DOT.open_bytes), _adding(_DOT.add_bytes), _closing(_DOT.close_bytes),
)  # fmt: skip


@intrinsic  # type: ignore[untyped-decorator]
def scale_tile(_context: Any, tile: Any, ints: Any, scale: Any, scales: Any) -> Any:  # noqa: ARG001
    """tile[t] += ints[t] * (scale * s[t]), where s[t] is float32 t at `scales`."""

    def generate(_c: Any, b: ir.IRBuilder, _s: Any, values: Any) -> Any:
        floats, integers = _unpack(b, values[0]), _unpack(b, values[1])
        made = []
        for v, i, s in zip(floats, integers, _words(b, values[3], len(floats), F32), strict=True):
            made.append(emit_fma(b, b.sitofp(i, _F32S), b.fmul(values[2], s), v))
        return _pack(b, made)

    return tile(tile, ints, f32x16, ADDRESS), generate
