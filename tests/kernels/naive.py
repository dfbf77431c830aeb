"""Slow, obvious twins of every kernel, from the definitions: numpy, in float64 unless bits are the point.

A bound beside a result is what float32 rounding can make of it (Higham, Accuracy and Stability, ch. 3): a chain of n
roundings is off by at most n U times the sum of the magnitudes, to first order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

U = 2.0**-24  # the unit roundoff of float32
EXP = 4 * U  # the relative error of puna.simd.exp: 2 ulp
ROWS = 16  # rows that a layout interleaves
BLOCK = 32  # columns of a block of quants; positions of a KV block
CHUNK = 256  # positions between two looks at the running maximum of attention

Floats = NDArray[np.floating[Any]]
Bytes = NDArray[np.uint8]


class Bounded(NamedTuple):
    """A result and how far float32 arithmetic may be from it."""

    value: NDArray[np.float64]
    error: NDArray[np.float64]

    def check(self, got: Floats) -> None:
        """Fail if any number is farther off than its bound."""
        assert got.shape == self.value.shape
        assert np.isfinite(got).all()
        excess = np.abs(got - self.value) - self.error
        worst = np.unravel_index(np.argmax(excess), excess.shape)
        assert excess[worst] <= 0, f"at {worst}: {got[worst]!r}, not {self.value[worst]!r} +- {self.error[worst]:.3g}"


def wide(x: Floats) -> NDArray[np.float64]:
    return x.astype(np.float64)


# --- elementwise --------------------------------------------------------------------------------------


def rms_norm(x: Floats, weight: Floats, width: int, epsilon: float) -> Bounded:
    """x / sqrt(mean(x**2) + epsilon) * weight; padding columns are zero and do not count."""
    value = wide(x) / np.sqrt((wide(x) ** 2).sum(1, keepdims=True) / width + np.float32(epsilon)) * wide(weight)
    # A lane adds padded/16 squares, 4 more halvings; half of that error after the root; then 6 roundings.
    return Bounded(value, np.abs(value) * ((x.shape[1] / 16 + 4) / 2 + 6) * U)


def silu_gate(gate: Floats, up: Floats) -> Bounded:
    """gate / (1 + e**-gate) * up; the exponential is held at e**88, which leaves less than 1e-35 |gate up|."""
    value = wide(gate) / (1 + np.exp(-wide(gate))) * wide(up)
    return Bounded(value, np.abs(value) * (EXP + 4 * U) + np.abs(wide(gate) * wide(up)) * 1e-35)


class Quantized(NamedTuple):
    """int8 (rows, columns), float32 scales and int32 sums (rows, blocks of 32)."""

    quants: NDArray[np.int8]
    scales: NDArray[np.float32]
    sums: NDArray[np.int32]


def quantize(x: NDArray[np.float32]) -> Quantized:
    """q = round(x * (127 / max|x|)), ties to even; bit for bit, since each step is one IEEE operation."""
    blocks = x.reshape(len(x), -1, BLOCK)
    largest = np.abs(blocks).max(2)
    inverse = np.divide(np.float32(127), largest, out=np.zeros_like(largest), where=largest > 0)
    quants = np.rint(blocks * inverse[..., None]).astype(np.int8)
    return Quantized(quants.reshape(x.shape), largest / np.float32(127), quants.sum(2, dtype=np.int32))


def panels(q: Quantized, many: int, some: int) -> Bytes:
    """What `quantize` writes: tokens in panels of `many`, then `some`, then 1.

    A panel of T tokens holds for each block of 32 columns 8 x T words of 4 int8, T float32 scales, and T int32 that
    are -8 times the token's sum.
    """
    tokens, pieces, first = len(q.quants), [], 0
    while first < tokens:
        width = next(size for size in (many, some, 1) if first + size <= tokens)
        for block in range(q.scales.shape[1]):
            rows = slice(first, first + width)
            words = q.quants[rows, block * BLOCK : (block + 1) * BLOCK].reshape(width, 8, 4)
            pieces += [words.transpose(1, 0, 2), q.scales[rows, block], -8 * q.sums[rows, block]]
        first += width
    return np.concatenate([np.frombuffer(np.ascontiguousarray(piece).tobytes(), np.uint8) for piece in pieces])


# --- matrices -----------------------------------------------------------------------------------------


def matmul(w: Floats, x: Floats) -> Bounded:
    """x W^T: a chain of one multiply-add for each column (two roundings each where there is no FMA)."""
    magnitude = np.abs(wide(x)) @ np.abs(wide(w)).T
    return Bounded(wide(x) @ wide(w).T, magnitude * 2 * w.shape[1] * U)


def matmul_quantized(w: NDArray[np.integer[Any]], scales: Floats, x: Quantized) -> Bounded:
    """The sum over blocks of (exact integer dot product) * scale of the weights * scale of the activations."""
    rows, tokens = len(w), len(x.quants)
    w_blocks = w.astype(np.int64).reshape(rows, -1, BLOCK)
    x_blocks = x.quants.astype(np.int64).reshape(tokens, -1, BLOCK)
    terms = np.einsum("rbk,tbk->trb", w_blocks, x_blocks) * (wide(scales)[None] * wide(x.scales)[:, None])
    return Bounded(terms.sum(2), np.abs(terms).sum(2) * (2 * scales.shape[1] + 1) * U)


def q8_0(quants: NDArray[np.int8], scales: NDArray[np.float16]) -> Bytes:
    """GGUF's Q8_0 rows: for each 32 columns a float16 scale, then 32 int8."""
    rows = len(quants)
    parts = scales.view(np.uint8).reshape(rows, -1, 2), quants.view(np.uint8).reshape(rows, -1, 32)
    return np.concatenate(parts, 2)


def q4_0(quants: NDArray[np.integer[Any]], scales: NDArray[np.float16]) -> Bytes:
    """GGUF's Q4_0 rows: for each 32 columns a float16 scale, then 16 bytes: column j below, column j + 16 above."""
    rows = len(quants)
    nibbles = (quants + 8).astype(np.uint8).reshape(rows, -1, 2, 16)
    parts = scales.view(np.uint8).reshape(rows, -1, 2), nibbles[:, :, 0] | nibbles[:, :, 1] << 4
    return np.concatenate(parts, 2)


def _groups(rows: NDArray[Any], order: NDArray[np.int32]) -> NDArray[Any]:
    """Rows in order, filled up with zeros, as (groups, 16, ...)."""
    chosen = rows[order]
    padding = np.zeros((-len(chosen) % ROWS, *chosen.shape[1:]), chosen.dtype)
    grouped: NDArray[Any] = np.concatenate([chosen, padding]).reshape(-1, ROWS, *chosen.shape[1:])
    return grouped


def pack_quantized(blocks: Bytes, order: NDArray[np.int32]) -> Bytes:
    """Rows of GGUF blocks to records: the 16 rows' 4-byte words side by side, then their scales."""
    grouped = _groups(blocks, order).transpose(0, 2, 1, 3)  # (groups, blocks, 16, bytes)
    words = grouped[..., 2:].reshape(*grouped.shape[:3], -1, 4).transpose(0, 1, 3, 2, 4)
    records = words.reshape(*grouped.shape[:2], -1), grouped[..., :2].reshape(*grouped.shape[:2], -1)
    packed: Bytes = np.concatenate(records, 2).reshape(-1)
    return packed


def pack_plain(rows: NDArray[Any], order: NDArray[np.int32]) -> NDArray[Any]:
    """Rows of numbers: column k holds the 16 rows' values side by side."""
    return np.ascontiguousarray(_groups(rows, order).transpose(0, 2, 1)).reshape(-1)


# --- attention ----------------------------------------------------------------------------------------


def rope(x: Floats, cos_sin: Floats, rotated: int) -> Bounded:
    """Pairs (i, i + half) of each head's first `rotated` numbers; x (rows, heads, size), cos_sin (rows, rotated)."""
    half = rotated // 2
    cos, sin = wide(cos_sin)[:, None, :half], wide(cos_sin)[:, None, half:]
    a, b = wide(x)[:, :, :half], wide(x)[:, :, half:rotated]
    value, error = wide(x), np.zeros(x.shape)
    value[:, :, :half], value[:, :, half:rotated] = a * cos - b * sin, a * sin + b * cos
    error[:, :, :half] = (np.abs(a * cos) + np.abs(b * sin)) * 2 * U
    error[:, :, half:rotated] = (np.abs(a * sin) + np.abs(b * cos)) * 2 * U
    return Bounded(value, error)


def store_kv(pool: Floats, block_table: NDArray[np.int64], position: int, k: Floats, v: Floats) -> None:
    """One token's k (heads, key) and v (heads, value) into a pool of (blocks, heads, 32 (key + value)).

    A block holds keys as [2][key][16 positions], then values as [32 positions][value].
    """
    key, value = k.shape[1], v.shape[1]
    block, slot = block_table[position // BLOCK], position % BLOCK
    for head in range(len(k)):
        kv = pool[block, head]
        kv[: BLOCK * key].reshape(2, key, 16)[slot // 16, :, slot % 16] = to_pool(k[head], pool.dtype)
        kv[BLOCK * key :].reshape(BLOCK, value)[slot] = to_pool(v[head], pool.dtype)


def to_pool(x: Floats, dtype: Any) -> Floats:
    """Rounded to the cache's type; float16 is held within its finite range."""
    return x if dtype == np.float32 else np.clip(x, -65504, 65504).astype(np.float16)


def attention(q: Floats, k: Floats, v: Floats, scale: float) -> Bounded:
    """softmax(q k scale) v of one token: q (q_heads, key) over its k (positions, heads, key) and v likewise.

    Query head h reads KV head h // (q_heads / heads).
    """
    group = q.shape[0] // k.shape[1]
    keys, values = wide(k).repeat(group, 1), wide(v).repeat(group, 1)
    n, key = keys.shape[0], keys.shape[2]
    scores = np.einsum("hd,nhd->hn", wide(q), keys) * scale
    weights = np.exp(scores - scores.max(1, keepdims=True))
    p = weights / weights.sum(1, keepdims=True)
    # A score is a chain of `key` multiply-adds on a scaled q; its error, and that of the shift by the maximum, go
    # into the exponent. Rescaling costs an exp and a product for each chunk; sums cost a rounding a position.
    magnitude = np.einsum("hd,nhd->hn", np.abs(wide(q)), np.abs(keys)).max(1) * scale
    exponent = 2 * (2 * key + 3) * U * magnitude + 4 * U * np.abs(scores).max(1)
    chunks = n // CHUNK + 1
    relative = 2 * np.expm1(exponent) + 2 * EXP + (chunks * 8 + 2 * n + 40) * U
    return Bounded(np.einsum("hn,nhd->hd", p, values), np.einsum("hn,nhd->hd", p, np.abs(values)) * relative[:, None])
