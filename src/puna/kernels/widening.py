"""Weights of a source file to float32, and a look at all of them: how large they are, and whether they are numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from puna.kernels.kernel import Address, Int, helper, register
from puna.kernels.quantizers import WIDENING, widener
from puna.simd import (
    absolute,
    load_bf16,
    load_bytes,
    load_f16,
    load_f16_splat,
    load_f32,
    maximum,
    reduce_add,
    reduce_max,
    set_f32,
    splat_f32,
    store_f32,
)

f32 = np.float32


@helper
def _load_f32(source, i):
    return load_f32(source + i * 64)


@helper
def _load_f16(source, i):
    return load_f16(source + i * 32)


@helper
def _load_bf16(source, i):
    return load_bf16(source + i * 32)


@helper
def _load_q8_0(source, i):
    block = source + i // 2 * 34
    return load_bytes(block + 2 + i % 2 * 16) * load_f16_splat(block)


def _make(load: Any) -> Any:
    def widen(thread: int, threads: int, source: Address, target: Address, vectors: Int, largest: Address) -> None:
        """16 numbers to a vector; `largest` gets a float32 from each thread: the largest magnitude, NaN if any is one.

        Infinity counts as NaN.
        """
        top = spoilt = splat_f32(f32(0))
        for i in range(vectors * thread // threads, vectors * (thread + 1) // threads):
            v = load(source, i)
            store_f32(target + i * 64, v)
            top, spoilt = maximum(absolute(v), top), spoilt + (v - v)
        set_f32(largest + thread * 4, reduce_max(top) + reduce_add(spoilt))

    return widen


for _kind, _load in (("f32", _load_f32), ("f16", _load_f16), ("bf16", _load_bf16), ("q8_0", _load_q8_0)):
    register(_make(_load), widener(_kind), WIDENING)
