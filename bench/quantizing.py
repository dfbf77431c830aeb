"""`python -m bench quantize`: a matrix quantised on one core, by our kernels, by numpy and by ggml.

ggml is the library of llama.cpp (xllamacpp's), `gguf` its package in numpy. Both must give the kernels' bits. What the
package cannot write, our own in numpy does, which searches for scales in a way of its own. All begin with float16.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module, metadata
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

import gguf
from bench.process import ContestantError
from bench.results import Machine, Result, Round
from puna.conversion.rounding import Rounder, Rounding
from puna.gguf import GGMLType, Tensor, quantize

TYPES = ("Q8_0", "Q4_0", "Q4_K", "Q6_K", "IQ4_XS")
COLUMNS = 4096
SLICE = 64  # rows at a time: all contestants stay in the caches

Bytes: TypeAlias = NDArray[np.uint8]
Contestant: TypeAlias = Callable[[NDArray[np.float16]], Bytes]  # rows to their blocks


def run(type_name: str, rows: int, rounds: int) -> Result:
    """Measure one type; prints what it finds.

    rows: of 4096 numbers each.

    Raises:
        ContestantError: there is no such type, xllamacpp is missing, or two of them disagree about a bit.
    """
    kind = _kind(type_name)
    matrix = np.random.default_rng(1).normal(0, 0.02, (rows, COLUMNS)).astype(np.float16)
    numpy_name, by_numpy = _numpy(kind)
    contestants = {"puna": _puna(kind), numpy_name: by_numpy, "ggml": _ggml(kind)}
    expected = contestants["puna"](matrix[:SLICE])
    for name, contestant in contestants.items():
        if name != "numpy" and not np.array_equal(contestant(matrix[:SLICE]), expected):
            raise ContestantError(f"{name} gives other bits than puna for {type_name}")
    timed = [_round(contestants, matrix) for _ in range(rounds)]
    facts = {name: {"version": _version(name)} for name in contestants}
    result = Result("quantize", type_name, Machine.here(1), facts, {}, timed, kind.nbytes(matrix.shape))
    _tell(result)
    return result


def _round(contestants: dict[str, Contestant], matrix: NDArray[np.float16]) -> Round:
    measured: Round = {}
    for name, contestant in contestants.items():
        began = time.process_time()  # one thread each: what others take from the core does not count
        for rows in _slices(matrix):
            contestant(rows)
        measured[name] = {"numbers_per_second": matrix.size / (time.process_time() - began)}
    return measured


def _slices(matrix: NDArray[np.float16]) -> Iterator[NDArray[np.float16]]:
    for first in range(0, len(matrix), SLICE):
        yield matrix[first : first + SLICE]


def _tell(result: Result) -> None:
    ours = ("puna", "numbers_per_second")
    for name in result.facts:
        speed, ratio = result.median(name, ours[1]) or 0, result.ratio(ours, (name, ours[1])) or 0
        print(f"{result.model} {name:5} {speed / 1e6:8.1f} million numbers/s, puna {ratio:6.2f}x")


def _kind(name: str) -> GGMLType:
    if name not in GGMLType.__members__:
        raise ContestantError(f"{name} is no type of ggml's")
    return GGMLType[name]


def _puna(kind: GGMLType) -> Contestant:
    def read(first: int, last: int) -> Bytes:
        return current[first:last].reshape(-1).view(np.uint8)

    current = np.zeros((SLICE, COLUMNS), np.float16)
    rounding = Rounding(Tensor("matrix", current.shape, GGMLType.F16, read), kind)
    rounder = Rounder([rounding], 1, None)

    def contestant(rows: NDArray[np.float16]) -> Bytes:
        nonlocal current
        current = rows
        return rounder.round(rounding, 0, len(rows))

    return contestant


def _numpy(kind: GGMLType) -> tuple[str, Contestant]:
    """The gguf package's, or ours for what that one cannot write."""
    package = partial(gguf.quants.quantize, qtype=gguf.GGMLQuantizationType(int(kind)))
    with suppress(NotImplementedError):
        package(np.zeros((1, COLUMNS), np.float32))
        return "gguf", lambda rows: package(rows.astype(np.float32)).reshape(-1).view(np.uint8)
    return "numpy", lambda rows: quantize(rows.astype(np.float32), kind)


def _ggml(kind: GGMLType) -> Contestant:
    try:
        library = ctypes.CDLL(import_module("xllamacpp.xllamacpp").__file__)
    except ImportError as error:
        raise ContestantError(f"xllamacpp is not installed: {error}") from None
    function = library.ggml_quantize_chunk
    function.restype = ctypes.c_size_t
    function.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p]

    def contestant(rows: NDArray[np.float16]) -> Bytes:
        numbers, out = rows.astype(np.float32), np.zeros(kind.nbytes(rows.shape), np.uint8)
        function(int(kind), numbers.ctypes.data, out.ctypes.data, 0, *numbers.shape, None)
        return out

    return contestant


def _version(name: str) -> str:
    return metadata.version({"ggml": "xllamacpp"}.get(name, name))
