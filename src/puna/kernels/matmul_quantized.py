"""y = W x for quantised weights: tiles put together from how quants are fetched and how scales are made.

Integer sums are exact; floats are added block by block in one order for each (row, token): the result is the same
whatever the tile, the batch or the number of threads. Knows of a layout what `layouts` says; of GGUF nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from puna.kernels import layouts
from puna.kernels.fetching import (
    Quants,
    five_bits,
    levels,
    make_half_sum,
    make_sum,
    nibbles,
    signed_bytes,
    six_bits,
    three_bits,
    two_bits,
)
from puna.kernels.kernel import Address, Int, by_tiles, helper, register
from puna.kernels.layouts import Layout
from puna.kernels.sharing import begun, groups_at_once, matmul_work, part_of_rows
from puna.kernels.tiling import AHEAD, AHEAD_FEW, EXTRA_BLOCK, PANEL_BLOCK, TOKENS
from puna.simd import (
    add_tile,
    f32_tile,
    field,
    fma_tile,
    load_e8m0,
    load_f16,
    load_f32,
    prefetch,
    scale_tile,
    start_tile,
    store_tile,
    to_f32,
    widen_i8,
    widen_u8,
)

# --- scales: float32 of 16 rows, for block b (32 columns) of a record -------------------------------


@helper
def _half(record, _b):
    """A float16."""
    return load_f16(record)


@helper
def _half_and_minimum(record, _b):
    """A float16, and one of what is to be added."""
    return load_f16(record), load_f16(record + 32)


@helper
def _power(record, _b):
    """A byte's power of two (MXFP4)."""
    return load_e8m0(record)


@helper
def _bytes_and_minima(record, b):
    """d times a byte, dmin times another (Q4_K, Q5_K; dmin is stored negative)."""
    at = record + 64 + b * 16
    return load_f16(record) * to_f32(widen_u8(at)), load_f16(record + 32) * to_f32(widen_u8(at + 128))


@helper
def _byte(record, b):
    """d times a signed byte (IQ4_XS)."""
    return load_f16(record) * to_f32(widen_i8(record + 32 + b * 16))


@helper
def _halves(record, b):
    """A float16 for each 16 columns (NVFP4)."""
    return load_f16(record + b * 64), load_f16(record + b * 64 + 32)


@helper
def _byte_each(record, b):
    """d times a signed byte for each 16 columns (Q3_K, Q6_K)."""
    d, at = load_f16(record), record + 32 + b * 32
    return d * to_f32(widen_i8(at)), d * to_f32(widen_i8(at + 16))


@helper
def _byte_each_of_f32(record, b):
    """The same with d in float32 (codebooks)."""
    d, at = load_f32(record), record + 64 + b * 32
    return d * to_f32(widen_i8(at)), d * to_f32(widen_i8(at + 16))


@helper
def _nibble_each(record, b):
    """d and dmin (stored negative) times the halves of a byte for each 16 columns (Q2_K)."""
    d, dmin, at = load_f16(record), load_f16(record + 32), record + 64 + b * 32
    first, second = widen_u8(at), widen_u8(at + 16)
    scales = d * to_f32(field(first, 0, 15)), d * to_f32(field(second, 0, 15))
    return scales[0], scales[1], dmin * to_f32(field(first, 4, 15)), dmin * to_f32(field(second, 4, 15))


# --- a block of 32 columns: one scale, or one for each half; with a minimum, or without ----------------


def _one_scale(quants: Quants, scale: Any, count: int) -> Any:
    add_up, start = make_sum(quants, count), start_tile(quants.offset, 8)

    @helper
    def step(acc, record, b, at, x, _extra):
        return scale_tile(acc, add_up(start(count, x + count * 36), at, x), scale(record, b), x + count * 32)

    return step


def _scale_and_minimum(quants: Quants, scale: Any, count: int) -> Any:
    add_up, start = make_sum(quants, count), start_tile(quants.offset, 8)

    @helper
    def step(acc, record, b, at, x, extra):
        d, minimum = scale(record, b)
        acc = scale_tile(acc, add_up(start(count, x + count * 36), at, x), d, x + count * 32)
        return fma_tile(acc, minimum, extra, 4)

    return step


def _two_scales(quants: Quants, scale: Any, count: int) -> Any:
    first, second = make_half_sum(quants, count, 0), make_half_sum(quants, count, 1)
    start = start_tile(quants.offset, 32)

    @helper
    def step(acc, record, b, at, x, extra):
        d, e = scale(record, b)
        acc = scale_tile(acc, first(start(count, extra + count * 4), at, x), d, x + count * 32)
        return scale_tile(acc, second(start(count, extra + count * 8), at, x), e, x + count * 32)

    return step


def _two_scales_and_minima(quants: Quants, scale: Any, count: int) -> Any:
    first, second = make_half_sum(quants, count, 0), make_half_sum(quants, count, 1)
    start = start_tile(quants.offset, 32)

    @helper
    def step(acc, record, b, at, x, extra):
        d, e, minimum, other = scale(record, b)
        acc = scale_tile(acc, first(start(count, extra + count * 4), at, x), d, x + count * 32)
        acc = scale_tile(acc, second(start(count, extra + count * 8), at, x), e, x + count * 32)
        return fma_tile(fma_tile(acc, minimum, extra + count * 12, 4), other, extra + count * 16, 4)

    return step


# --- products ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the tiles of a layout are made of."""

    layout: Layout
    quants: Quants
    scale: Any  # a helper of (record, block in it)
    make_step: Any  # one of those above


def _make_tile(parts: _Parts, count: int) -> Any:
    step, size = parts.make_step(parts.quants, parts.scale, count), parts.quants.size
    head, record, blocks_in_record = parts.layout.head, parts.layout.record, parts.layout.block // 32

    @helper
    def tile(w, panel, records):
        acc = f32_tile(count)
        x, extra = panel, panel + records * blocks_in_record * count * PANEL_BLOCK
        for r in range(records):
            at = w + r * record
            _prefetch(at, record, count)
            for b in range(blocks_in_record):
                acc = step(acc, at, b, at + head + b * size, x, extra)
                x += count * PANEL_BLOCK
                extra += count * EXTRA_BLOCK
        return acc

    return tile


@helper
def _prefetch(record, size, count):
    """Ask for what comes next, where it comes from memory: the largest tiles find nearly all weights in the cache."""
    ahead = AHEAD if count == 1 else AHEAD_FEW
    if count < TOKENS[0] and ahead:
        for line in range(0, size, 64):
            prefetch(record + ahead + line)


def _make_matmul(parts: _Parts) -> Any:
    """The kernel over all tokens and one thread's row groups."""
    record, columns = parts.layout.record, parts.layout.block

    def make(count: int) -> Any:
        tile = _make_tile(parts, count)

        @helper
        def product(token, w, groups, panels, y, records, y_stride, accumulate):
            panel = panels + token * (records * columns // 32) * (PANEL_BLOCK + EXTRA_BLOCK)
            for g in range(groups):
                out = y + token * y_stride + g * 64
                acc = tile(w + g * records * record, panel, records)
                if accumulate:
                    acc = add_tile(acc, out, y_stride)
                store_tile(acc, out, y_stride)

        return product

    products = by_tiles(make, TOKENS)

    def matmul(
        thread: int, threads: int, w: Address, panels: Address, y: Address, groups: Int, blocks: Int, y_stride: Int,
        bounds: Address, parts: Int, accumulate: Int,
    ) -> None:  # fmt: skip
        """y[t, 16 groups] (+)= W[16 groups, records] x[t], each part of the rows by a matrix of its own.

        x as `quantize` leaves it; bounds: int64, the first row of each part, then the number of rows; y_stride in
        bytes. The matrices lie one after another.
        """
        work, start, at_once = matmul_work(bounds, parts, groups), 0, groups_at_once(blocks * record)
        for part in range(parts):
            first, tokens, weight = part_of_rows(bounds, part)
            if tokens == 0:
                continue
            begin = begun(work, thread, threads, start, weight, groups)
            end = begun(work, thread + 1, threads, start, weight, groups)
            start += weight * groups
            x = panels + first * (blocks * columns // 32) * (PANEL_BLOCK + EXTRA_BLOCK)
            for g in range(begin, end, at_once):
                at, count = w + (part * groups + g) * blocks * record, min(at_once, end - g)
                products(0, tokens, at, count, x, y + first * y_stride + g * 64, blocks, y_stride, accumulate)

    return matmul


_DOUBLED_E2M1 = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)

_ALL = (
    _Parts(layouts.Q4_0, nibbles(8), _half, _one_scale),
    _Parts(layouts.Q4_1, nibbles(), _half_and_minimum, _scale_and_minimum),
    _Parts(layouts.Q5_0, five_bits(16), _half, _one_scale),
    _Parts(layouts.Q5_1, five_bits(), _half_and_minimum, _scale_and_minimum),
    _Parts(layouts.Q8_0, signed_bytes(), _half, _one_scale),
    _Parts(layouts.IQ4_NL, levels(*layouts.IQ4_LEVELS), _half, _one_scale),
    _Parts(layouts.MXFP4, levels(*_DOUBLED_E2M1), _power, _one_scale),
    _Parts(layouts.NVFP4, levels(*_DOUBLED_E2M1), _halves, _two_scales),
    _Parts(layouts.Q2_K, two_bits(), _nibble_each, _two_scales_and_minima),
    _Parts(layouts.Q3_K, three_bits(4), _byte_each, _two_scales),
    _Parts(layouts.Q4_K, nibbles(), _bytes_and_minima, _scale_and_minimum),
    _Parts(layouts.Q5_K, five_bits(), _bytes_and_minima, _scale_and_minimum),
    _Parts(layouts.Q6_K, six_bits(32), _byte_each, _two_scales),
    _Parts(layouts.IQ4_XS, levels(*layouts.IQ4_LEVELS), _byte, _one_scale),
    _Parts(layouts.IQ1, levels(*layouts.IQ1_LEVELS), _byte_each_of_f32, _two_scales),
    _Parts(layouts.IQ2, levels(*layouts.IQ2_LEVELS), _byte_each_of_f32, _two_scales),
    _Parts(layouts.IQ3_XXS, levels(*layouts.IQ3_XXS_LEVELS), _byte_each_of_f32, _two_scales),
    _Parts(layouts.IQ3_S, levels(*layouts.IQ3_S_LEVELS), _byte_each_of_f32, _two_scales),
)

for _parts in _ALL:
    assert _parts.quants.size * _parts.layout.block // 32 == _parts.layout.quants, _parts.layout.name
    register(_make_matmul(_parts), _parts.layout.matmul, _parts.layout.name)
