"""Quantising kernels against ggml's own functions, which llama.cpp's library exports: the same bits.

Numbers that models have, and such as try a search: empty groups, constant ones, one sign, huge spans.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest
import xllamacpp.xllamacpp
from numpy.typing import NDArray

from puna import kernels
from puna.gguf import GGMLType, dequantize, quantize
from puna.kernels import KernelLibrary
from puna.kernels.quantizers import SCRATCH, TILE_BLOCKS, WIDENING, quantizer, widener
from tests.kernels.running import Kernels

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

KINDS = (
    GGMLType.Q8_0, GGMLType.Q4_0, GGMLType.Q4_1, GGMLType.Q5_0, GGMLType.Q5_1, GGMLType.MXFP4, GGMLType.TQ1_0,
    GGMLType.TQ2_0, GGMLType.Q2_K, GGMLType.Q3_K, GGMLType.Q4_K, GGMLType.Q5_K, GGMLType.Q6_K, GGMLType.IQ4_NL,
    GGMLType.IQ4_XS,
)  # fmt: skip
# Those that search each in a way of its own; every other differs from one of them in sizes alone.
WEIGHTED = (GGMLType.Q4_0, GGMLType.Q5_1, GGMLType.Q3_K, GGMLType.Q4_K, GGMLType.Q6_K, GGMLType.IQ4_XS)
COLUMNS = 768


@pytest.fixture(scope="module")
def library() -> KernelLibrary:
    """All at once, since they compile side by side."""
    weighted = {quantizer(kind.name, weighted=True) for kind in WEIGHTED}
    return kernels.load(groups={WIDENING, *weighted, *(quantizer(kind.name) for kind in KINDS)})


@pytest.fixture(scope="module")
def run(library: KernelLibrary) -> Kernels:
    return Kernels(library)


@pytest.fixture(scope="module")
def ggml() -> Callable[[Floats, GGMLType, Floats | None], Bytes]:
    function = ctypes.CDLL(xllamacpp.xllamacpp.__file__).ggml_quantize_chunk
    function.restype = ctypes.c_size_t
    function.argtypes = [ctypes.c_int, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3, ctypes.c_void_p]

    def call(numbers: Floats, kind: GGMLType, columns: Floats | None) -> Bytes:
        out = np.zeros(kind.nbytes(numbers.shape), np.uint8)
        weights = None if columns is None else columns.ctypes.data
        function(kind, numbers.ctypes.data, out.ctypes.data, 0, *numbers.shape, weights)
        return out

    return call


def ours(run: Kernels, numbers: Floats, kind: GGMLType, columns: Floats | None, threads: int = 1) -> Bytes:
    blocks = numbers.size // kind.block_size
    target = np.zeros((blocks + TILE_BLOCKS) * kind.type_size, np.uint8)
    scratch = np.zeros(SCRATCH * threads, np.uint8)
    if columns is None:
        run.run(quantizer(kind.name), threads, source=numbers, target=target, blocks=blocks, scratch=scratch)
    else:
        row_blocks = numbers.shape[1] // kind.block_size
        run.run(
            quantizer(kind.name, weighted=True), threads, source=numbers, columns=columns, target=target, blocks=blocks,
            row_blocks=row_blocks, scratch=scratch,
        )  # fmt: skip
    return target[: blocks * kind.type_size]


def _numbers() -> Floats:
    """Rows of every sort; 41 of them, so that the last tile is not full."""
    random = np.random.default_rng(5)
    rows = random.normal(0, 0.02, (41, COLUMNS)).astype(np.float32)
    rows[8:12] = random.laplace(0, 0.1, (4, COLUMNS))
    rows[12:16] = np.exp(random.normal(0, 3, (4, COLUMNS))).clip(0, 500) * random.choice([-1, 1], (4, COLUMNS))
    rows[16:20] = np.exp2(random.integers(-20, 3, (4, COLUMNS))) * random.choice([-1, 1, 0.75], (4, COLUMNS))
    rows[20] = 0
    rows[21, :300] = 0
    rows[22], rows[23] = 0.5, -0.5
    rows[24], rows[25] = np.abs(rows[24]), -np.abs(rows[25])
    rows[26] *= 1e-7
    rows[27] *= 1e-13
    rows[28, ::16] *= 1000
    rows[29] = np.round(rows[29] * 50)
    rows[30:34] = (rows[30:34].view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)  # as BF16 has them
    return rows


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_bits_that_differ_from_ggml(
    kind: GGMLType, run: Kernels, ggml: Callable[[Floats, GGMLType, Floats | None], Bytes]
) -> None:
    numbers = _numbers()
    np.testing.assert_array_equal(ours(run, numbers, kind, None), ggml(numbers, kind, None))


@pytest.mark.parametrize("kind", WEIGHTED, ids=lambda kind: kind.name)
def test_bits_that_differ_from_ggml_by_importance(
    kind: GGMLType, run: Kernels, ggml: Callable[[Floats, GGMLType, Floats | None], Bytes]
) -> None:
    numbers = _numbers()
    columns = np.random.default_rng(6).gamma(0.5, 1, COLUMNS).astype(np.float32)
    np.testing.assert_array_equal(ours(run, numbers, kind, columns), ggml(numbers, kind, columns))


def test_scales_beside_a_power_of_two_are_rounded_as_log2f_rounds(
    run: Kernels, ggml: Callable[[Floats, GGMLType, Floats | None], Bytes]
) -> None:
    """MXFP4's scale is floor(log2f(largest)), and just below a power of two log2f gives a whole number."""
    tops = np.exp2(np.arange(-60, 12, dtype=np.float32)).view(np.uint32)
    numbers = np.zeros((len(tops), 63, 32), np.float32)
    numbers[:, :, 3] = (tops[:, None] - np.arange(-3, 60, dtype=np.int32).astype(np.uint32)).view(np.float32)
    numbers[:, :, 5] = -numbers[:, :, 3] / 3
    rows = numbers.reshape(-1, 32)
    np.testing.assert_array_equal(ours(run, rows, GGMLType.MXFP4, None), ggml(rows, GGMLType.MXFP4, None))


@pytest.mark.parametrize("weighted", [False, True])
def test_threads_that_write_over_each_other(run: Kernels, weighted: bool) -> None:
    numbers = _numbers()
    columns = np.ones(COLUMNS, np.float32) if weighted else None
    alone = ours(run, numbers, GGMLType.Q4_K, columns)
    np.testing.assert_array_equal(ours(run, numbers, GGMLType.Q4_K, columns, threads=3), alone)


@pytest.mark.parametrize(
    "kind", [k for k in KINDS if k.name[0] != "I" and not k.name.endswith("K")], ids=lambda k: k.name
)
def test_bits_that_differ_from_numpy(kind: GGMLType, run: Kernels) -> None:
    """Whose own are those of the gguf package."""
    numbers = _numbers()
    np.testing.assert_array_equal(ours(run, numbers, kind, None), quantize(numbers, kind))


@pytest.mark.parametrize("kind", [GGMLType.F32, GGMLType.F16, GGMLType.BF16, GGMLType.Q8_0], ids=lambda kind: kind.name)
@pytest.mark.parametrize("threads", [1, 3])
def test_weights_that_change_when_they_are_widened(kind: GGMLType, threads: int, run: Kernels) -> None:
    raw = quantize(_numbers(), kind)
    numbers = dequantize(raw, kind, (41, COLUMNS))
    target, largest = np.zeros_like(numbers), np.zeros(threads, np.float32)
    run.run(widener(kind.name), threads, source=raw, target=target, vectors=numbers.size // 16, largest=largest)
    np.testing.assert_array_equal(target, numbers)
    assert largest.max() == np.abs(numbers).max()


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_no_number_goes_unseen(odd: float, run: Kernels) -> None:
    numbers = _numbers()
    numbers[3, 700] = odd
    largest = np.zeros(1, np.float32)
    target = np.zeros_like(numbers)
    run.run(widener("F32"), source=numbers, target=target, vectors=numbers.size // 16, largest=largest)
    assert np.isnan(largest[0])
