"""Runs one instruction of `puna.simd` over whole arrays, 16 lanes at a time, compiled by Numba in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from puna.simd import load_f32, store_f32

LANES = 16


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Numba's compiled function; addresses and counts are int64."""
    made: Callable[..., Any] = njit(function, error_model="numpy", nogil=True)
    return made


def mapping(
    operation: Any, load: Any = load_f32, store: Any = store_f32
) -> Callable[[NDArray[Any], Any], NDArray[Any]]:
    """`f(x, dtype) -> operation(x)`, for an instruction on one vector; the length is padded to whole vectors."""

    def loop(source: int, target: int, vectors: int, size_in: int, size_out: int) -> None:
        for i in range(vectors):
            store(target + i * LANES * size_out, operation(load(source + i * LANES * size_in)))

    run = compiled(loop)

    def call(x: NDArray[Any], dtype: Any) -> NDArray[Any]:
        padded = np.concatenate([x, np.zeros(-len(x) % LANES, x.dtype)])
        out = np.zeros(len(padded), dtype)
        run(padded.ctypes.data, out.ctypes.data, len(padded) // LANES, x.itemsize, out.itemsize)
        return out[: len(x)]

    return call
