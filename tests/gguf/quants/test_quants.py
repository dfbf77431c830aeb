"""Quantised types against the `gguf` package, and the few it does not have against their definition."""

from __future__ import annotations

import struct
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import gguf as oracle
from puna.errors import InvalidGGUF, UnsupportedModel
from puna.gguf import QUANTIZABLE, GGMLType, dequantize, quantize

# Types of which the gguf package knows the size but no numbers.
WITHOUT_ORACLE = {GGMLType[name] for name in ("I8", "I16", "I32", "I64", "F64", "Q8_1", "Q8_K", "Q1_0")}
WITH_ORACLE = [kind for kind in GGMLType if kind not in WITHOUT_ORACLE]

# Halves with trouble in them: zeros, denormals, the largest, infinities, NaN.
AWKWARD_HALVES = np.array([0, 0x8000, 1, 0x83FF, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E01], "<u2")


def oracle_dequantize(blocks: NDArray[np.uint8], kind: GGMLType) -> NDArray[np.float32]:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result: NDArray[np.float32] = oracle.quants.dequantize(blocks, oracle.GGMLQuantizationType(kind))
    return result


def oracle_quantize(array: NDArray[np.float32], kind: GGMLType) -> NDArray[np.uint8]:
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = oracle.quants.quantize(array, oracle.GGMLQuantizationType(kind))
    return np.ascontiguousarray(result).view(np.uint8).reshape(-1)


def assert_same_bits(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> None:
    """Equal to the sign of zero; any NaN equals any other (a product's NaN has no defined payload)."""
    same = (ours.view(np.uint32) == theirs.view(np.uint32)) | (np.isnan(ours) & np.isnan(theirs))
    assert same.all(), f"{(~same).sum()} of {same.size} differ"


@pytest.mark.parametrize("kind", GGMLType)
def test_block_sizes_are_ggmls(kind: GGMLType) -> None:
    if kind is GGMLType.Q8_1:  # the package still has the f32 scales of 2023
        assert (kind.block_size, kind.type_size) == (32, 36)
    else:
        assert (kind.block_size, kind.type_size) == oracle.GGML_QUANT_SIZES[oracle.GGMLQuantizationType(kind)]


def test_no_tensor_type_of_the_gguf_package_is_missing() -> None:
    assert {kind.name: kind.value for kind in oracle.GGMLQuantizationType} == {
        kind.name: kind.value for kind in GGMLType
    }


@pytest.mark.parametrize("kind", WITH_ORACLE)
def test_dequantised_random_blocks_equal_the_gguf_packages_bit_for_bit(kind: GGMLType) -> None:
    blocks = np.random.default_rng(kind).integers(0, 256, (2000, kind.type_size), np.uint8)
    ours = dequantize(blocks.reshape(-1), kind, (2000, kind.block_size))
    assert_same_bits(ours, oracle_dequantize(blocks, kind).reshape(ours.shape))


@pytest.mark.parametrize("kind", [kind for kind in WITH_ORACLE if kind.type_size > 4])
def test_awkward_scales_wherever_a_scale_may_lie_equal_the_gguf_packages(kind: GGMLType) -> None:
    rng = np.random.default_rng(kind)
    places = [at for at in (0, 2, kind.type_size - 4, kind.type_size - 2) if at >= 0]
    for scale in AWKWARD_HALVES:
        blocks = rng.integers(0, 256, (len(places), kind.type_size), np.uint8)
        for row, at in enumerate(places):
            blocks[row, at : at + 2] = np.frombuffer(scale.tobytes(), np.uint8)
        ours = dequantize(blocks.reshape(-1), kind, (len(places), kind.block_size))
        assert_same_bits(ours, oracle_dequantize(blocks, kind).reshape(ours.shape))


@pytest.mark.parametrize("kind", [GGMLType.IQ1_M, GGMLType.MXFP4, GGMLType.NVFP4])
def test_every_value_of_a_scale_in_one_byte_equals_the_gguf_packages(kind: GGMLType) -> None:
    blocks = np.random.default_rng(kind).integers(0, 256, (256, kind.type_size), np.uint8)
    for at in (0, 1, 2, 3, kind.type_size - 1):
        blocks[:, at] = np.arange(256)
        ours = dequantize(blocks.reshape(-1), kind, (256, kind.block_size))
        assert_same_bits(ours, oracle_dequantize(blocks, kind).reshape(ours.shape))


def test_q8_1_is_scale_times_signed_bytes() -> None:
    numbers = np.arange(-16, 16, dtype=np.int8)
    block = np.frombuffer(struct.pack("<ee", 0.5, 99) + numbers.tobytes(), np.uint8)
    assert dequantize(block, GGMLType.Q8_1, (32,)).tolist() == (numbers * 0.5).tolist()


def test_q8_k_is_scale_times_signed_bytes() -> None:
    numbers = np.arange(-128, 128).astype(np.int8)
    block = np.frombuffer(struct.pack("<f", 1.5) + numbers.tobytes() + bytes(32), np.uint8)
    assert dequantize(block, GGMLType.Q8_K, (256,)).tolist() == (numbers * np.float32(1.5)).tolist()


def test_q1_0_takes_the_sign_of_each_bit_lowest_first() -> None:
    block = np.frombuffer(struct.pack("<e", 2.0) + b"\x05" + bytes(14) + b"\x80", np.uint8)
    expected = np.full(128, -2.0)
    expected[[0, 2, 127]] = 2.0
    assert dequantize(block, GGMLType.Q1_0, (128,)).tolist() == expected.tolist()


@pytest.mark.parametrize(
    ("kind", "code"), [("I8", "i1"), ("I16", "<i2"), ("I32", "<i4"), ("I64", "<i8"), ("F64", "<f8")]
)
def test_wide_and_whole_numbers_become_the_nearest_float32(kind: str, code: str) -> None:
    numbers = np.array([-128, -1, 0, 1, 127] if code == "i1" else [-32768, -1, 0, 7, 32767], code)
    result = dequantize(numbers.view(np.uint8), GGMLType[kind], (5,))
    assert result.dtype == np.float32
    assert result.tolist() == numbers.tolist()


def test_the_matrix_keeps_its_shape_and_the_input_is_not_changed() -> None:
    array = np.random.default_rng(0).standard_normal((3, 5, 64)).astype(np.float32)
    data = quantize(array, GGMLType.Q8_0)
    before = data.copy()
    assert dequantize(data, GGMLType.Q8_0, (3, 5, 64)).shape == (3, 5, 64)
    assert np.array_equal(data, before)


@pytest.mark.parametrize(
    ("data", "kind", "shape"),
    [
        (np.zeros(33, np.uint8), GGMLType.Q8_0, (1, 32)),
        (np.zeros(35, np.uint8), GGMLType.Q8_0, (1, 32)),
        (np.zeros(34, np.uint8), GGMLType.Q8_0, (2, 16)),
        (np.zeros(4, np.int8), GGMLType.F32, (1,)),
        (np.zeros(0, np.uint8), GGMLType.F32, (1,)),
    ],
)
def test_bytes_that_do_not_make_the_tensor_are_refused(
    data: NDArray[np.uint8], kind: GGMLType, shape: tuple[int, ...]
) -> None:
    with pytest.raises(InvalidGGUF):
        dequantize(data, kind, shape)


def test_a_large_tensor_is_decoded_in_little_memory_beside_its_result() -> None:
    data = np.random.default_rng(0).integers(0, 256, 210 * 8192, np.uint8)
    tracemalloc.start()
    result = dequantize(data, GGMLType.Q6_K, (8192, 256))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < result.nbytes + 6_000_000


SAMPLES = {
    "gaussian": lambda rng: rng.standard_normal((64, 512)),
    "of all magnitudes": lambda rng: rng.standard_normal((64, 512)) * 10.0 ** rng.integers(-44, 38, (64, 512)),
    "rows of all magnitudes": lambda rng: rng.standard_normal((64, 512)) * 10.0 ** rng.integers(-44, 38, (64, 1)),
    "zeros": lambda rng: rng.integers(0, 1, (2, 512)) * -1.0,
    "ties": lambda rng: rng.integers(-7, 8, (64, 512)) / 2,
    "denormal": lambda rng: rng.standard_normal((64, 512)) * 1e-42,
    "all alike": lambda rng: np.full((2, 512), -3.7) + 0 * rng.random(),
}


SEARCHED = {GGMLType[name] for name in ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS")}


@pytest.mark.parametrize("sample", SAMPLES)
@pytest.mark.parametrize("kind", sorted(QUANTIZABLE - SEARCHED))
def test_quantised_numbers_equal_the_gguf_packages_bit_for_bit(kind: GGMLType, sample: str) -> None:
    array = SAMPLES[sample](np.random.default_rng(kind)).astype(np.float32)
    assert np.array_equal(quantize(array, kind), oracle_quantize(array, kind))


# The root mean square error of llama.cpp's quantisers (`quantize_q4_K` of libggml-base 0.25.3 and the like, without
# an importance matrix) on these numbers, as a fraction of their own root mean square.
@pytest.mark.parametrize(
    ("kind", "theirs"),
    [
        (GGMLType.Q2_K, 0.34562),
        (GGMLType.Q3_K, 0.17572),
        (GGMLType.Q4_K, 0.08453),
        (GGMLType.Q5_K, 0.04298),
        (GGMLType.Q6_K, 0.02179),
        (GGMLType.IQ4_NL, 0.08817),
        (GGMLType.IQ4_XS, 0.08887),
    ],
)
def test_searched_scales_serve_as_well_as_llama_cpps(kind: GGMLType, theirs: float) -> None:
    array = np.random.default_rng(0).laplace(size=(32, 1024)).astype(np.float32)
    again = dequantize(quantize(array, kind), kind, array.shape)
    assert np.square(again - array).mean() / np.square(array).mean() < (1.01 * theirs) ** 2


@pytest.mark.parametrize("sample", ["gaussian", "zeros", "ties", "all alike", "rows of all magnitudes"])
@pytest.mark.parametrize("kind", sorted(SEARCHED))
def test_searched_scales_bear_awkward_numbers(kind: GGMLType, sample: str) -> None:
    array = SAMPLES[sample](np.random.default_rng(kind)).astype(np.float32)
    rows = np.abs(array).max(axis=1)
    array = array[(rows == 0) | ((rows > 1) & (rows < 60000))]  # whose scales f16 can hold
    again = dequantize(quantize(array, kind), kind, array.shape)
    largest = np.abs(array).max(axis=1, keepdims=True)
    assert (np.abs(again - array) <= (ERRORS[kind] + 2**-8) * largest).all()


def test_all_that_the_gguf_package_can_quantise_can_be_quantised() -> None:
    for kind in oracle.GGMLQuantizationType:
        try:
            oracle_quantize(np.ones((1, 256), np.float32), GGMLType(kind))
        except (NotImplementedError, ValueError):
            continue
        assert GGMLType(kind) in QUANTIZABLE


def test_nan_stays_nan_and_infinity_infinity_in_bf16_and_f16() -> None:
    array = np.array([np.nan, -np.nan, np.inf, -np.inf, 3.4e38], np.float32)
    array[1:2].view(np.uint32)[:] = 0xFF800001  # a NaN whose payload is all in the lower half
    for kind in (GGMLType.BF16, GGMLType.F16):
        again = dequantize(quantize(array, kind), kind, (5,))
        assert np.isnan(again[:2]).all()
        assert again[2:].tolist() == [np.inf, -np.inf, np.inf]


# The largest error as a fraction of the largest number: half a step; a step where one end is cut.
ERRORS = {
    GGMLType.F32: 0.0,
    GGMLType.F16: 2**-11,
    GGMLType.BF16: 2**-8,
    GGMLType.Q8_0: 1 / 254,
    GGMLType.Q4_0: 1 / 8,
    GGMLType.Q4_1: 1 / 15,
    GGMLType.Q5_0: 1 / 16,
    GGMLType.Q5_1: 1 / 31,
    GGMLType.Q2_K: 1 / 2,
    GGMLType.Q3_K: 1 / 4,
    GGMLType.Q4_K: 1 / 8,
    GGMLType.Q5_K: 1 / 16,
    GGMLType.Q6_K: 1 / 32,
    GGMLType.IQ4_NL: 1 / 8,
    GGMLType.IQ4_XS: 1 / 8,
    GGMLType.TQ1_0: 1 / 2,
    GGMLType.TQ2_0: 1 / 2,
    GGMLType.MXFP4: 1 / 4,
}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(QUANTIZABLE)), st.integers(0, 2**32), st.integers(-8, 12))
def test_what_comes_back_is_as_near_as_the_type_allows(kind: GGMLType, seed: int, magnitude: int) -> None:
    array = (np.random.default_rng(seed).standard_normal((4, 256)) * 2.0**magnitude).astype(np.float32)
    again = dequantize(quantize(array, kind), kind, array.shape)
    largest = np.abs(array).max()
    rounding_of_scales = 0.0 if kind in (GGMLType.F32, GGMLType.F16, GGMLType.BF16) else 2**-9 * largest
    assert np.abs(again - array).max() <= ERRORS[kind] * largest + rounding_of_scales


@pytest.mark.parametrize("kind", [kind for kind in GGMLType if kind not in QUANTIZABLE])
def test_a_type_that_can_only_be_read_is_refused_by_name(kind: GGMLType) -> None:
    with pytest.raises(UnsupportedModel, match=kind.name):
        quantize(np.zeros((1, 256), np.float32), kind)


def test_what_cannot_be_quantised_is_refused() -> None:
    with pytest.raises(ValueError, match="float32"):
        quantize(np.zeros((1, 32)), GGMLType.Q8_0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="blocks of 32"):
        quantize(np.zeros((2, 16), np.float32), GGMLType.Q8_0)
    with pytest.raises(ValueError, match="NaN"):
        quantize(np.full((1, 32), np.nan, np.float32), GGMLType.Q8_0)
