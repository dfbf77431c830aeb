"""Slow, obvious twins of every kernel, from the definitions: numpy, in float64 unless bits are the point.

A bound beside a result is what float32 rounding can make of it (Higham, Accuracy and Stability, ch. 3): a chain of n
roundings is off by at most n U times the sum of the magnitudes, to first order.
"""

from __future__ import annotations

import math
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
    value = wide(x) / np.sqrt((wide(x) ** 2).sum(-1, keepdims=True) / width + np.float32(epsilon)) * wide(weight)
    # A lane adds padded/16 squares, 4 more halvings; half of that error after the root; then 6 roundings.
    return Bounded(value, np.abs(value) * ((x.shape[-1] / 16 + 4) / 2 + 6) * U)


def layer_norm(x: Floats, weight: Floats, bias: Floats, width: int, epsilon: float) -> Bounded:
    """(x - mean) / sqrt(variance + epsilon) * weight + bias; padding columns are zero and do not count."""
    real = wide(x)[..., :width]
    mean, deviation = real.mean(-1, keepdims=True), np.sqrt(real.var(-1, keepdims=True) + np.float32(epsilon))
    value = np.zeros(x.shape)
    value[..., :width] = (real - mean) / deviation * wide(weight)[..., :width] + wide(bias)[..., :width]
    # The mean's error moves every number alike; the deviation's is relative, as in rms_norm.
    steps = x.shape[-1] / 16 + 4
    shift = (steps + 1) * U * np.abs(real).mean(-1, keepdims=True) + U * np.abs(x).max(-1, keepdims=True)
    relative = (steps / 2 + 8) * U + (shift / deviation) ** 2
    error = np.abs(wide(weight)) * (shift / deviation + np.abs(wide(x) - mean) / deviation * relative)
    return Bounded(value, error + 2 * U * (np.abs(value) + np.abs(wide(bias))))


def add_scaled(x: Floats, y: Floats, factor: float) -> Bounded:
    """x + factor y"""
    product = wide(y) * np.float32(factor)
    return Bounded(wide(x) + product, (np.abs(wide(x)) + 2 * np.abs(product)) * U)


def soft_cap(x: Floats, cap: float) -> Bounded:
    """cap tanh(x / cap), as cap (1 - 2 / (1 + e**2x/cap)): an error of some units of the cap, even near zero."""
    value = cap * np.tanh(wide(x) / cap)
    return Bounded(value, np.full(x.shape, cap * 8 * U) + np.abs(wide(x)) * 4 * U * (np.abs(x) < 20 * cap))


def silu(x: Floats) -> Bounded:
    """x / (1 + e**-x); the exponential is held at e**88, which leaves less than 1e-35 |x|."""
    value = wide(x) / (1 + np.exp(-wide(x)))
    return Bounded(value, np.abs(value) * (EXP + 4 * U) + np.abs(wide(x)) * 1e-35)


def gelu(x: Floats) -> Bounded:
    """x erfc(-x / sqrt 2) / 2; the kernel's erfc is good to 1.5e-7, and 1 - it to rounding."""
    erfc = np.vectorize(math.erfc, otypes=[np.float64])
    return Bounded(wide(x) * erfc(-wide(x) / math.sqrt(2)) / 2, np.abs(wide(x)) * (1.5e-7 / 2 + 8 * U))


def gelu_tanh(x: Floats) -> Bounded:
    """x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x**3))) / 2"""
    inner = math.sqrt(2 / math.pi) * (wide(x) + 0.044715 * wide(x) ** 3)
    value = wide(x) / (1 + np.exp(-2 * inner))
    return Bounded(value, np.abs(value) * (EXP + 6 * U + 2 * np.abs(inner) * 5 * U) + np.abs(wide(x)) * 1e-35)


def gelu_quick(x: Floats) -> Bounded:
    """x / (1 + e**-1.702x); what the exponential is held at leaves less than 1e-35 |x|."""
    value = wide(x) / (1 + np.exp(-1.702 * wide(x)))
    return Bounded(value, np.abs(value) * (EXP + (4 + 4 * np.abs(wide(x))) * U) + np.abs(wide(x)) * 1e-35)


def clamped_silu_gate(gate: Floats, up: Floats) -> Bounded:
    """g / (1 + e**-1.702g) (u + 1) with g = gate but at most 7, u = up between -7 and 7."""
    g, u = wide(np.minimum(gate, 7)), wide(np.clip(up, -7, 7))
    value = g / (1 + np.exp(-1.702 * g)) * (u + 1)
    return Bounded(value, np.abs(value) * (EXP + (8 + 8 * np.abs(g)) * U) + np.abs(g) * 1e-34)


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


def panels(q: Quantized, sizes: tuple[int, ...]) -> Bytes:
    """What `quantize` writes: tokens in panels of these sizes, each as often as there is room, down to 1.

    A panel of T tokens holds for each block of 32 columns 8 x T words of 4 int8, T float32 scales, and T int32 that
    are -8 times the token's sum; then for each block T float32 of scale times sum, -32 times the sums of the first
    and of the other 16 columns (2 x T int32), scale times these sums (2 x T float32).
    """
    tokens, pieces, first = len(q.quants), [], 0
    while first < tokens:
        width = next(size for size in sizes if first + size <= tokens)
        rows = slice(first, first + width)
        for block in range(q.scales.shape[1]):
            words = q.quants[rows, block * BLOCK : (block + 1) * BLOCK].reshape(width, 8, 4)
            pieces += [words.transpose(1, 0, 2), q.scales[rows, block], -8 * q.sums[rows, block]]
        for block in range(q.scales.shape[1]):
            scale, sums = q.scales[rows, block], q.sums[rows, block]
            halves = q.quants[rows, block * BLOCK : (block + 1) * BLOCK].reshape(width, 2, 16).sum(2, dtype=np.int32).T
            pieces += [scale * sums.astype(np.float32), -32 * halves, scale * halves.astype(np.float32)]
        first += width
    return np.concatenate([np.frombuffer(np.ascontiguousarray(piece).tobytes(), np.uint8) for piece in pieces])


# --- mixtures of experts ------------------------------------------------------------------------------


class Routed(NamedTuple):
    """Each row's experts, the best first, and their weights."""

    chosen: NDArray[np.int64]
    weights: Bounded


def _softmax(x: NDArray[np.float64]) -> NDArray[np.float64]:
    powers: NDArray[np.float64] = np.exp(x - x.max(1, keepdims=True))
    shares: NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
    return shares


def route(
    logits: Floats, bias: Floats | None, *, used: int, gating: int, groups: int = 1, groups_used: int = 1,
    best_of_group: int = 1, normalise: bool = False, scale: float = 1.0,
) -> Routed:  # fmt: skip
    """gating: 1 the softmax of all, 2 the sigmoid, 3 the softmax of those chosen. Equal scores: the first wins."""
    x = wide(logits)
    p = [_softmax(x), 1 / (1 + np.exp(-x)), x][gating - 1]
    scores = p + (0 if bias is None else wide(bias))
    by_group = scores.reshape(len(x), groups, -1)
    best_groups = np.sort(by_group, axis=2)[:, :, -best_of_group:].sum(axis=2)
    kept = np.argsort(-best_groups, axis=1, kind="stable")[:, :groups_used]
    masked = np.full_like(by_group, -np.inf)
    np.put_along_axis(masked, kept[:, :, None], np.take_along_axis(by_group, kept[:, :, None], axis=1), axis=1)
    chosen = np.argsort(-masked.reshape(scores.shape), axis=1, kind="stable")[:, :used]
    weights = np.take_along_axis(p, chosen, axis=1)
    if gating == 3:
        weights = _softmax(weights)
    if normalise:
        weights = weights / weights.sum(axis=1, keepdims=True)
    # The exponent is rounded before it is taken, a sum has as many roundings as a lane and the halvings, then a few.
    error = (np.abs(x).max() * 2 + EXP / U + logits.shape[1] / 16 + used + 12) * U
    return Routed(chosen, Bounded(weights * np.float32(scale), np.abs(weights * scale) * error + 1e-30))


def combine(y: Floats, weights: Floats, before: Floats) -> Bounded:
    """before + sum over j of weights[:, j] y[:, j]; y: (rows, used, width)."""
    terms = wide(y) * wide(weights)[:, :, None]
    value = wide(before) + terms.sum(axis=1)
    return Bounded(value, (np.abs(terms).sum(axis=1) * 2 * y.shape[1] + np.abs(value)) * U)


def gate_by_sigmoid(x: Floats, h: Floats, weight: Floats) -> Bounded:
    """x / (1 + e**-(weight h)), row by row."""
    value = wide(x) / (1 + np.exp(-(wide(h) @ wide(weight))))[:, None]
    exponent = (np.abs(wide(h)) @ np.abs(wide(weight)))[:, None] * (h.shape[1] + 2) * U
    return Bounded(value, np.abs(value) * (exponent + EXP + 4 * U))


# --- matrices -----------------------------------------------------------------------------------------


def matmul(w: Floats, x: Floats) -> Bounded:
    """x W^T: a chain of one multiply-add for each column (two roundings each where there is no FMA)."""
    magnitude = np.abs(wide(x)) @ np.abs(wide(w)).T
    return Bounded(wide(x) @ wide(w).T, magnitude * 2 * w.shape[1] * U)


def matmul_quantized(w: Floats, x: Quantized) -> Bounded:
    """x W^T for the numbers that quantised weights and activations stand for.

    A block adds at most 4 products of an exact sum, each rounded 3 times, to the chain; dequantised weights are
    rounded too. Where a minimum is taken off, the parts may be larger than the weights, but not than twice the
    largest of a block that has both ends of its range; 4 times, to be safe.
    """
    values = x.quants.astype(np.float64).reshape(len(x.quants), -1, BLOCK) * wide(x.scales)[:, :, None]
    largest = np.abs(wide(w)).reshape(len(w), -1, BLOCK).max(2)
    magnitude = np.abs(values).sum(2) @ largest.T
    product = values.reshape(len(values), -1) @ wide(w).T
    return Bounded(product, magnitude * 4 * (4 * x.scales.shape[1] + 8) * U)


def _groups(rows: NDArray[Any], order: NDArray[np.int32]) -> NDArray[Any]:
    """Rows in order, filled up with zeros, as (groups, 16, ...)."""
    chosen = rows[order]
    padding = np.zeros((-len(chosen) % ROWS, *chosen.shape[1:]), chosen.dtype)
    grouped: NDArray[Any] = np.concatenate([chosen, padding]).reshape(-1, ROWS, *chosen.shape[1:])
    return grouped


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


class KVBlocks:
    """A pool of one layer, as `puna.kernels.attention_blocks` lays it out: numpy views of its parts."""

    def __init__(self, kv_type: str, blocks: int, heads: int, key: int, value: int) -> None:
        self.kv_type, self.heads, self.key, self.value = kv_type, heads, key, value
        self.dtype = np.dtype({"f16": "f2", "f32": "f4", "q8_0": "i1"}[kv_type])
        size = self._bytes(key) + self._bytes(value)
        self.data = np.zeros((blocks, heads, size), np.uint8)

    def _bytes(self, width: int) -> int:
        return BLOCK * width // 32 * 36 if self.kv_type == "q8_0" else BLOCK * width * self.dtype.itemsize

    def store(self, block_table: NDArray[np.int64], position: int, k: Floats, v: Floats) -> None:
        """One token's k (heads, key) and v (heads, value)."""
        block, slot = block_table[position // BLOCK], position % BLOCK
        for head in range(self.heads):
            kv = self.data[block, head]
            keys, values = kv[: self._bytes(self.key)], kv[self._bytes(self.key) :]
            if self.kv_type == "q8_0":
                self._store_q8_0(keys, values, slot, k[head], v[head])
            else:
                keys.view(self.dtype).reshape(2, self.key, 16)[slot // 16, :, slot % 16] = self._rounded(k[head])
                values.view(self.dtype).reshape(BLOCK, self.value)[slot] = self._rounded(v[head])

    def _store_q8_0(self, keys: Bytes, values: Bytes, slot: int, k: Floats, v: Floats) -> None:
        group = keys.reshape(2, self.key // 32, 576)[slot // 16]
        scales, ints = q8_0(k)
        group[:, :64].view(np.float32)[:, slot % 16] = scales
        group[:, 64:].view(np.int8).reshape(-1, 32, 16)[:, :, slot % 16] = ints
        row = values.reshape(BLOCK, self.value // 32, 36)[slot]
        scales, ints = q8_0(v)
        row[:, :4] = scales[:, None].view(np.uint8)
        row[:, 4:] = ints.view(np.uint8)

    def _rounded(self, x: Floats) -> Floats:
        return x if self.kv_type == "f32" else np.clip(x, -65504, 65504).astype(np.float16)

    def held(self, x: Floats) -> Floats:
        """What the cache makes of numbers."""
        if self.kv_type != "q8_0":
            return self._rounded(x)
        rows = [q8_0(row) for row in x.reshape(-1, x.shape[-1])]
        return np.array([(scales[:, None] * ints).reshape(-1) for scales, ints in rows], np.float32).reshape(x.shape)


def q8_0(x: Floats) -> tuple[Floats, NDArray[np.int8]]:
    """Scales and integers (n / 32, 32) of float32."""
    groups = x.astype(np.float32).reshape(-1, 32)
    largest = np.abs(groups).max(1)
    inverse = np.float32(127) / np.where(largest > 1e-30, largest, np.float32(np.inf))
    return largest / np.float32(127), np.rint(groups * inverse[:, None]).astype(np.int8)


def attention(q: Floats, k: Floats, v: Floats, scale: float, *, softcap: float = 0.0, sinks: Floats) -> Bounded:
    """softmax(q k scale) v of one token: q (q_heads, key) over the k (positions, heads, key) it sees, and v likewise.

    Query head h reads KV head h // (q_heads / heads). A head's sink is one more score, whose value is 0.
    """
    group = q.shape[0] // k.shape[1]
    n, key = k.shape[0], k.shape[2]
    keys, values = wide(k).repeat(group, 1), wide(v).repeat(group, 1)
    scores = np.einsum("hd,nhd->hn", wide(q), keys) * scale
    magnitude = np.einsum("hd,nhd->hn", np.abs(wide(q)), np.abs(keys)).max(1) * scale
    if softcap:
        scores = softcap * np.tanh(scores / softcap)
    top = np.maximum(scores.max(1, keepdims=True), wide(sinks)[:, None])
    weights = np.exp(scores - top)
    p = weights / (weights.sum(1, keepdims=True) + np.exp(wide(sinks)[:, None] - top))
    # A score is a chain of `key` multiply-adds on a scaled q; its error, and that of the shift by the maximum, go
    # into the exponent. Merging costs an exp and a product for each chunk; sums cost a rounding a position.
    exponent = (
        2 * (2 * key + 6) * U * magnitude
        + 8 * U * (np.abs(scores).max(1) + np.abs(sinks).clip(max=100))
        + 40 * U * softcap
    )
    chunks = n // CHUNK + 1
    relative = 2 * np.expm1(exponent) + 2 * EXP + (chunks * 12 + 2 * n + 40) * U
    return Bounded(np.einsum("hn,nhd->hd", p, values), np.einsum("hn,nhd->hd", p, np.abs(values)) * relative[:, None])
