"""Dot products of bytes, one class for each way that processors have of forming them.

A lane is a row of weights: 64 bytes are 16 rows x 4 columns. The 4 activations of those columns (int8, -127 to 127)
are one word, the same for all rows. Every sum is an exact integer, so each class may add in the order that suits it.
Works on lists of LLVM vectors, one for each token; knows nothing of Numba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from puna.hardware import ISA as Isa
from puna.simd.instruction import I1, I8, I16, I32, I64, call_llvm, constant, pointer, shuffle, splat

LANES = 16
INTS, BYTES = ir.VectorType(I32, LANES), ir.VectorType(I8, 64)

Tile = list[ir.Value]
Chunk = tuple[ir.Value, ir.Value]  # 16 rows x 4 columns of weights, the address of the tokens' words for them


class Dot:
    """Products of bytes widened to 16 bits: what any machine has.

    Quants of few bits ("narrow") and bytes may be added up in another form than 16 int32 a token: `open_...` gives
    it, from what the sum starts at; `add_...` adds two chunks; `close_...` makes it 16 int32 a token again.
    """

    signed_offset = 0  # what is added to signed weights where they are stored, to be taken off by the sum's start
    narrow: ir.Type = INTS  # a token's open sum of narrow quants

    def unsigned(self, b: ir.IRBuilder, acc: ir.Value, u: ir.Value, word: ir.Value) -> ir.Value:
        """acc + the sums of 4 products, u in 0 to 127."""
        return b.add(acc, self._products(b, u, word, b.zext))

    def signed(self, b: ir.IRBuilder, acc: ir.Value, w: ir.Value, word: ir.Value) -> ir.Value:
        """acc + the sums of 4 products of signed bytes, stored with `signed_offset` added."""
        return b.add(acc, self._products(b, w, word, b.sext))

    def open_narrow(self, _b: ir.IRBuilder, ints: Tile) -> Tile:
        """Where products of quants of few bits add up."""
        return ints

    def add_narrow(self, b: ir.IRBuilder, sums: Tile, *chunks: Chunk) -> Tile:
        """Add two chunks; 8 may be added of 0 to 15, 4 of 0 to 31, 2 of 0 to 63: 16-bit sums must not overflow."""
        return self._add(b, self.unsigned, sums, chunks)

    def close_narrow(self, _b: ir.IRBuilder, _ints: Tile, sums: Tile) -> Tile:
        """The sums with what they start from."""
        return sums

    def open_bytes(self, _b: ir.IRBuilder, ints: Tile) -> Tile:
        """Where products of signed bytes add up."""
        return ints

    def add_bytes(self, b: ir.IRBuilder, sums: Tile, *chunks: Chunk) -> Tile:
        """Add two chunks, any number of times."""
        return self._add(b, self.signed, sums, chunks)

    def close_bytes(self, _b: ir.IRBuilder, _ints: Tile, sums: Tile) -> Tile:
        """The sums with what they start from."""
        return sums

    def _add(self, b: ir.IRBuilder, emit: Callable[..., Any], sums: Tile, chunks: tuple[Chunk, ...]) -> Tile:
        for weights, words in chunks:
            sums = [emit(b, v, weights, load_word(b, words, t)) for t, v in enumerate(sums)]
        return sums

    def _products(self, b: ir.IRBuilder, weights: ir.Value, word: ir.Value, widen: Any) -> ir.Value:
        wide = ir.VectorType(I16, 64)
        products = b.mul(widen(weights, wide), b.sext(b.bitcast(word, BYTES), wide))
        lanes = (_lanes(b, products, list(range(k, 64, 4))) for k in range(4))
        columns = [b.sext(v, INTS) for v in lanes]
        return b.add(b.add(columns[0], columns[1]), b.add(columns[2], columns[3]))


class Vnni(Dot):
    """vpdpbusd multiplies unsigned by signed bytes and adds fours; u may be 0 to 255.

    A signed weight is stored as w + 128, which the start of a sum takes off again.
    """

    signed_offset = 128

    def __init__(self, bits: int) -> None:
        self._bits = bits

    def unsigned(self, b: ir.IRBuilder, acc: ir.Value, u: ir.Value, word: ir.Value) -> ir.Value:
        """See Dot."""
        name, ints = f"llvm.x86.avx512.vpdpbusd.{self._bits}", ir.VectorType(I32, self._bits // 32)

        def emit(*parts: ir.Value) -> ir.Value:
            return call_llvm(b, name, ints, *parts)

        return in_parts(b, LANES * 32 // self._bits, emit, acc, b.bitcast(u, INTS), word)

    def signed(self, b: ir.IRBuilder, acc: ir.Value, w: ir.Value, word: ir.Value) -> ir.Value:
        """See Dot."""
        return self.unsigned(b, acc, w, word)


class Avx2(Dot):
    """pmaddubsw adds pairs of products in 16 bits; of narrow quants those add up before they are widened."""

    narrow = ir.VectorType(I16, 32)

    def unsigned(self, b: ir.IRBuilder, acc: ir.Value, u: ir.Value, word: ir.Value) -> ir.Value:
        """See Dot."""
        return b.add(acc, self._widen(b, self._pairs(b, u, b.bitcast(word, BYTES))))

    def signed(self, b: ir.IRBuilder, acc: ir.Value, w: ir.Value, word: ir.Value) -> ir.Value:
        """See Dot. |w| times x with w's sign: 2 * 128 * 127 still fits in 16 bits."""
        magnitude = call_llvm(b, "llvm.abs.v64i8", BYTES, w, I1(0))

        def sign(x: ir.Value, v: ir.Value) -> ir.Value:
            return call_llvm(b, "llvm.x86.avx2.psign.b", x.type, x, v)

        x = in_parts(b, 2, sign, b.bitcast(word, BYTES), w)
        return b.add(acc, self._widen(b, self._pairs(b, magnitude, x)))

    def open_narrow(self, _b: ir.IRBuilder, ints: Tile) -> Tile:
        """See Dot."""
        return [constant(self.narrow, 0)] * len(ints)

    def add_narrow(self, b: ir.IRBuilder, sums: Tile, *chunks: Chunk) -> Tile:
        """See Dot. 8 x 2 x 15 x 127 = 30480, 4 x 2 x 31 x 127 = 31496, 2 x 2 x 63 x 127 = 32004: below 2**15."""

        def add(builder: ir.IRBuilder, acc: ir.Value, u: ir.Value, word: ir.Value) -> ir.Value:
            return builder.add(acc, self._pairs(builder, u, builder.bitcast(word, BYTES)))

        return self._add(b, add, sums, chunks)

    def close_narrow(self, b: ir.IRBuilder, ints: Tile, sums: Tile) -> Tile:
        """See Dot."""
        return [b.add(start, self._widen(b, v)) for start, v in zip(ints, sums, strict=True)]

    def _pairs(self, b: ir.IRBuilder, u: ir.Value, x: ir.Value) -> ir.Value:
        def emit(*parts: ir.Value) -> ir.Value:
            return call_llvm(b, "llvm.x86.avx2.pmadd.ub.sw", ir.VectorType(I16, 16), *parts)

        return in_parts(b, 2, emit, u, x)

    def _widen(self, b: ir.IRBuilder, pairs: ir.Value) -> ir.Value:
        def emit(part: ir.Value) -> ir.Value:
            ones = constant(part.type, 1)
            return call_llvm(b, "llvm.x86.avx2.pmadd.wd", ir.VectorType(I32, 8), part, ones)

        return in_parts(b, 2, emit, pairs)


class Neon(Dot):
    """sdot multiplies signed bytes and adds fours, 4 rows at a time."""

    def unsigned(self, b: ir.IRBuilder, acc: ir.Value, u: ir.Value, word: ir.Value) -> ir.Value:
        """See Dot. Up to 127 an unsigned byte is a signed one."""
        return self.signed(b, acc, u, word)

    def signed(self, b: ir.IRBuilder, acc: ir.Value, w: ir.Value, word: ir.Value) -> ir.Value:
        """See Dot."""

        def emit(*parts: ir.Value) -> ir.Value:
            return call_llvm(b, "llvm.aarch64.neon.sdot.v4i32.v16i8", ir.VectorType(I32, 4), *parts)

        return in_parts(b, 4, emit, acc, w, b.bitcast(word, BYTES))


class I8mm(Neon):
    """smmla multiplies 2 rows x 8 columns by 8 columns x 2 tokens; a token without a neighbour takes sdot.

    The sums of two neighbours are [row 0: token 0, token 1; row 1: ...], rows 0 to 7 with the first token.
    """

    def open_narrow(self, b: ir.IRBuilder, ints: Tile) -> Tile:
        """See Dot."""
        in_turn, odd = _zipped(0, 16, 16), len(ints) % 2
        pairs = zip(ints[: len(ints) - odd : 2], ints[1::2], strict=True)
        mixed = [shuffle(b, x, y, in_turn[half : half + 16]) for x, y in pairs for half in (0, 16)]
        return mixed + ints[len(ints) - odd :]

    def add_narrow(self, b: ir.IRBuilder, sums: Tile, *chunks: Chunk) -> Tile:
        """See Dot."""
        (w, words), (v, other) = chunks
        odd = len(sums) % 2
        first, second = b.bitcast(w, INTS), b.bitcast(v, INTS)
        rows = [b.bitcast(shuffle(b, first, second, _zipped(half * 8, 8, 16)), BYTES) for half in (0, 1)]
        made: Tile = []
        for t in range(0, len(sums) - odd, 2):
            two = shuffle(b, _load_two(b, words, t), _load_two(b, other, t), _zipped(0, 2, 2))
            x = _lanes(b, two, list(range(4)) * 4)
            made += [self._matrix(b, sums[t + half], rows[half], b.bitcast(x, BYTES)) for half in (0, 1)]
        if odd:
            rest = [(weights, b.add(at, I64(4 * (len(sums) - 1)))) for weights, at in chunks]
            made += self._add(b, self.signed, sums[-1:], tuple(rest))
        return made

    def close_narrow(self, b: ir.IRBuilder, _ints: Tile, sums: Tile) -> Tile:
        """See Dot."""
        odd = len(sums) % 2
        pairs = zip(sums[: len(sums) - odd : 2], sums[1::2], strict=True)
        split = [shuffle(b, x, y, list(range(token, 32, 2))) for x, y in pairs for token in (0, 1)]
        return split + sums[len(sums) - odd :]

    def open_bytes(self, b: ir.IRBuilder, ints: Tile) -> Tile:
        """See Dot."""
        return self.open_narrow(b, ints)

    def add_bytes(self, b: ir.IRBuilder, sums: Tile, *chunks: Chunk) -> Tile:
        """See Dot."""
        return self.add_narrow(b, sums, *chunks)

    def close_bytes(self, b: ir.IRBuilder, ints: Tile, sums: Tile) -> Tile:
        """See Dot."""
        return self.close_narrow(b, ints, sums)

    def _matrix(self, b: ir.IRBuilder, acc: ir.Value, rows: ir.Value, x: ir.Value) -> ir.Value:
        def emit(*parts: ir.Value) -> ir.Value:
            return call_llvm(b, "llvm.aarch64.neon.smmla.v4i32.v16i8", ir.VectorType(I32, 4), *parts)

        return in_parts(b, 4, emit, acc, rows, x)


DOTS: dict[Isa, Dot] = {
    Isa.AVX512VNNI: Vnni(512),
    Isa.AVXVNNI: Vnni(256),
    Isa.AVX2: Avx2(),
    Isa.I8MM: I8mm(),
    Isa.NEON: Neon(),
    Isa.PORTABLE: Dot(),
}


def load_word(b: ir.IRBuilder, base: ir.Value, token: int, scalar: ir.Type = I32) -> ir.Value:
    """The 4 bytes of a token, from words side by side, in every lane."""
    return splat(b, b.load(pointer(b, b.add(base, I64(4 * token)), scalar), align=1), LANES)


def in_parts(b: ir.IRBuilder, parts: int, emit: Callable[..., Any], *vectors: ir.Value) -> ir.Value:
    """`emit` on each of so many equal parts of the vectors, and its results side by side."""
    made = [emit(*(_part(b, v, i, parts) for v in vectors)) for i in range(parts)]
    while len(made) > 1:
        pairs = zip(made[::2], made[1::2], strict=True)
        made = [shuffle(b, low, high, list(range(2 * low.type.count))) for low, high in pairs]
    return made[0]


def _part(b: ir.IRBuilder, v: ir.Value, index: int, parts: int) -> ir.Value:
    count = v.type.count // parts
    return _lanes(b, v, list(range(index * count, (index + 1) * count)))


def _lanes(b: ir.IRBuilder, v: ir.Value, indices: list[int]) -> ir.Value:
    return shuffle(b, v, ir.Constant(v.type, ir.Undefined), indices)


def _zipped(start: int, count: int, width: int) -> list[int]:
    """Indices of lanes start, start + 1, ... of two vectors in turn."""
    return [lane + which * width for lane in range(start, start + count) for which in (0, 1)]


def _load_two(b: ir.IRBuilder, base: ir.Value, token: int) -> ir.Value:
    """The words of a token and its neighbour."""
    return b.load(pointer(b, b.add(base, I64(4 * token)), ir.VectorType(I32, 2)), align=1)
