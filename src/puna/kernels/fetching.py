"""How the quants of 16 rows x 32 columns are fetched from a record: one function for each way of storing them.

A block's 32 columns are 8 words of 4. `fetch(at, k)` gives words k and k + 4, for k from 0 to 3, as 64 bytes of 16
rows x 4 columns; nibbles lie so that one load holds both. Bits that do not fit into nibbles or pairs lie in planes
of their own, before the rest (read after it, they cost up to a third of the bandwidth): bit k of a byte belongs to word
k. Knows nothing of scales.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from puna.kernels.kernel import helper
from puna.simd import (
    add_bytes,
    add_narrow,
    bit_field,
    close_bytes,
    close_narrow,
    high_nibbles,
    level_table,
    load_i8,
    look_up,
    low_nibbles,
    open_bytes,
    open_narrow,
    signed_offset,
)


@dataclass(frozen=True, slots=True)
class Quants:
    """Quants of one kind. Signed ones are multiplied as int8, others as small unsigned numbers."""

    fetch: Any  # a helper of (address of a block, k)
    size: int  # bytes of a block
    offset: int  # what is to be taken off each quant
    signed: bool = False
    pairs: int = 4  # how many times two words may be added up before sums of 16 bits could overflow

    @property
    def sums(self) -> tuple[Any, Any, Any]:
        """The instructions that begin, continue and end a sum."""
        return (open_bytes, add_bytes, close_bytes) if self.signed else (open_narrow, add_narrow, close_narrow)


@helper
def _bytes(at, k):
    """8 bits: the words one after another, `signed_offset` added."""
    return load_i8(at + k * 64), load_i8(at + k * 64 + 256)


@helper
def _nibbles(at, k):
    """4 bits: words k and k + 4 share bytes."""
    both = load_i8(at + k * 64)
    return low_nibbles(both), high_nibbles(both)


@helper
def _five(at, k):
    """A plane of the fifth bits, then 4 bits."""
    plane = load_i8(at)
    low, high = _nibbles(at + 64, k)
    return low | bit_field(plane, k - 4, 0x10), high | bit_field(plane, k, 0x10)


@helper
def _six(at, k):
    """Two planes of pairs, one for words 0 to 3, one for 4 to 7; then 4 bits."""
    low, high = _nibbles(at + 128, k)
    shift = 2 * k - 4
    return low | bit_field(load_i8(at), shift, 0x30), high | bit_field(load_i8(at + 64), shift, 0x30)


@helper
def _two(at, k):
    """2 bits: words 0 to 3 in one plane of pairs, 4 to 7 in another."""
    return bit_field(load_i8(at), 2 * k, 3), bit_field(load_i8(at + 64), 2 * k, 3)


@helper
def _three(at, k):
    """A plane of the third bits, then 2 bits."""
    plane = load_i8(at)
    low, high = _two(at + 64, k)
    return low | bit_field(plane, k - 2, 4), high | bit_field(plane, k + 2, 4)


@cache
def _levels(values: tuple[int, ...]) -> Any:
    """4 bits that index 16 signed levels."""
    table = level_table(tuple(value + signed_offset() for value in values))

    @helper
    def fetch(at, k):
        low, high = _nibbles(at, k)
        levels = table()
        return look_up(levels, low), look_up(levels, high)

    return fetch


def nibbles(offset: int = 0) -> Quants:
    """0 to 15."""
    return Quants(_nibbles, 256, offset)


def two_bits() -> Quants:
    """0 to 3."""
    return Quants(_two, 128, 0)


def three_bits(offset: int) -> Quants:
    """0 to 7."""
    return Quants(_three, 192, offset)


def five_bits(offset: int = 0) -> Quants:
    """0 to 31."""
    return Quants(_five, 320, offset, pairs=2)


def six_bits(offset: int) -> Quants:
    """0 to 63."""
    return Quants(_six, 384, offset, pairs=1)


def signed_bytes() -> Quants:
    """-128 to 127."""
    return Quants(_bytes, 512, signed_offset(), signed=True)


def levels(*values: int) -> Quants:
    """Indices of up to 16 levels, -127 to 127."""
    return Quants(_levels(values), 256, signed_offset(), signed=True)


# Written out word by word: with k known, a bit field is one shift and one mask.


def make_sum(quants: Quants, count: int) -> Any:
    """A helper of (ints, block, words of `count` tokens): the integer products of a block's 32 columns added up."""
    return _make_sum(quants.fetch, quants.pairs, *quants.sums, count)


@cache  # compiled once for all layouts that have such quants
def _make_sum(fetch: Any, pairs: int, begin: Any, add: Any, end: Any, count: int) -> Any:

    @helper
    def pair(sums, at, x, k):
        low, high = fetch(at, k)
        return add(sums, low, x + k * count * 4, high, x + (k + 4) * count * 4)

    @helper
    def whole(ints, at, x):
        sums = pair(begin(ints), at, x, 0)
        if pairs == 1:
            ints = end(ints, sums)
            sums = begin(ints)
        sums = pair(sums, at, x, 1)
        if pairs <= 2:
            ints = end(ints, sums)
            sums = begin(ints)
        sums = pair(sums, at, x, 2)
        if pairs == 1:
            ints = end(ints, sums)
            sums = begin(ints)
        return end(ints, pair(sums, at, x, 3))

    return whole


def make_half_sum(quants: Quants, count: int, half: int) -> Any:
    """The same for the first 16 columns (half 0) or the other 16 (half 1)."""
    return _make_half_sum(quants.fetch, quants.pairs, *quants.sums, count, half)


@cache
def _make_half_sum(fetch: Any, pairs: int, begin: Any, add: Any, end: Any, count: int, half: int) -> Any:

    @helper
    def pair(sums, at, words, k):
        even, odd = fetch(at, k)[half], fetch(at, k + 1)[half]
        return add(sums, even, words + k * count * 4, odd, words + (k + 1) * count * 4)

    @helper
    def part(ints, at, x):
        words = x + half * count * 16
        sums = pair(begin(ints), at, words, 0)
        if pairs == 1:
            ints = end(ints, sums)
            sums = begin(ints)
        return end(ints, pair(sums, at, words, 2))

    return part
