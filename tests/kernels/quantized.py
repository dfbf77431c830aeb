"""Quantised weights and activations for the kernels, made at random with the awkward values in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from puna.gguf import GGMLType, dequantize
from puna.kernels.layouts import F32, Layout
from puna.kernels.tiling import EXTRA_BLOCK, PANEL_BLOCK, TOKENS
from puna.models.conversion import convert
from puna.models.weights import layout_of
from tests.kernels import naive
from tests.kernels.running import Kernels, bounds, normal

TOKEN_BLOCK = PANEL_BLOCK + EXTRA_BLOCK  # bytes of one token's 32 columns

KINDS = tuple(kind for kind in GGMLType if layout_of(kind).quantized)
assert all(layout_of(kind) is F32 or layout_of(kind).block == 1 for kind in GGMLType if kind not in KINDS)

# Where the float16 of a block begin; the others have scales of their own kind.
_HALVES: dict[GGMLType, tuple[int, ...]] = {
    GGMLType.Q4_1: (0, 2), GGMLType.Q5_1: (0, 2), GGMLType.Q8_1: (0,), GGMLType.Q4_K: (0, 2), GGMLType.Q5_K: (0, 2),
    GGMLType.Q2_K: (80, 82), GGMLType.Q3_K: (108,), GGMLType.Q6_K: (208,), GGMLType.TQ1_0: (52,),
    GGMLType.TQ2_0: (64,), GGMLType.IQ1_M: (), GGMLType.MXFP4: (), GGMLType.NVFP4: (),
}  # fmt: skip


def columns(kind: GGMLType) -> int:
    """Columns in a block."""
    return max(kind.block_size, layout_of(kind).block)


def _halves(random: np.random.Generator, count: int) -> NDArray[np.uint8]:
    """Scales of both signs, zero, subnormal and large ones among them, as bytes."""
    scales = random.standard_normal(count).astype(np.float16)
    odd = random.random(count)
    scales[odd < 0.05] = np.float16(3e-7)
    scales[odd > 0.95] = 0
    scales[np.abs(odd - 0.5) < 0.01] = np.float16(-3000)
    return scales.view(np.uint8).reshape(-1, 2)


def random_blocks(kind: GGMLType, seed: int, rows: int, width: int, fill: int | None = None) -> NDArray[np.uint8]:
    """Rows of `width` columns as GGUF has them, (rows, bytes); `fill`: every byte that is not a scale is this."""
    random = np.random.default_rng(seed)
    raw = random.integers(0, 256, (rows * width // kind.block_size, kind.type_size)).astype(np.uint8)
    if fill is not None:
        raw[:] = fill
    for at in _HALVES.get(kind, (0,)):
        raw[:, at : at + 2] = _halves(random, len(raw)) if fill is None else np.ones(1, np.float16).view(np.uint8)
    if kind is GGMLType.MXFP4:
        raw[:, 0] = random.choice(np.array([0, 1, 2, 120, 127, 128, 129, 140], np.uint8), len(raw))
    if kind is GGMLType.NVFP4:  # its NaN counts as 0, its sign is ignored
        raw[: len(raw) // 2, :4] = random.choice(np.array([0, 1, 3, 5, 0x7F, 0xFF, 0x7E, 0x80], np.uint8))
    if kind is GGMLType.IQ1_M:  # the nibbles of d: around 1
        words = raw[:, 48:].copy().view("<u2")
        d = _halves(random, len(raw)).view("<u2")
        raw[:, 48:] = ((words & 0x0FFF) | ((d >> np.array([0, 4, 8, 12], np.uint16)) & 15) << 12).view(np.uint8)
    return raw.reshape(rows, -1)


def expected(kind: GGMLType, raw: NDArray[np.uint8], x: NDArray[np.float32]) -> naive.Bounded:
    """x W^T from the definitions of the types."""
    width = raw.shape[1] // kind.type_size * kind.block_size
    weights = dequantize(raw.reshape(-1), kind, (len(raw), width))
    return naive.matmul_quantized(weights, naive.quantize(x))


def packed(
    run: Kernels, kind: GGMLType, raw: NDArray[np.uint8], order: NDArray[np.int32] | None = None, threads: int = 1
) -> NDArray[np.uint8]:
    """The kernel's records."""
    layout = layout_of(kind)
    source = convert(raw.reshape(-1), kind)
    if order is None:
        order = np.arange(len(raw), dtype=np.int32)
    groups, blocks = -(-len(raw) // 16), records(kind, raw)
    target = np.zeros(groups * blocks * layout.record + 64, np.uint8)
    run.run(
        layout.pack, threads, source=source, order=order, target=target, rows=len(raw), groups=groups, blocks=blocks
    )
    assert not target[-64:].any(), "written beyond the records"
    return target[:-64]


def records(kind: GGMLType, raw: NDArray[np.uint8]) -> int:
    """Records in a row."""
    layout: Layout = layout_of(kind)
    return int(raw.shape[1]) // kind.type_size * kind.block_size // layout.block


def quantize(
    run: Kernels, x: NDArray[np.float32], threads: int = 1, rows: NDArray[np.int64] | None = None
) -> NDArray[np.uint8]:
    """Activations as the `quantize` kernel leaves them; rows: the bounds of their parts, by default one."""
    rows = bounds(len(x)) if rows is None else rows
    panels = np.full(x.size // 32 * TOKEN_BLOCK + 64, 77, np.uint8)
    run.run("quantize", threads, x=x, panels=panels, width=x.shape[1], bounds=rows, parts=len(rows) - 1)
    assert (panels[-64:] == 77).all(), "written beyond the panels"
    return panels[:-64]


def expected_panels(x: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The same from the definition."""
    return naive.panels(naive.quantize(x), TOKENS)


def multiply(
    run: Kernels, kind: GGMLType, raw: NDArray[np.uint8], x: NDArray[np.float32],
    y: NDArray[np.float32] | None = None, threads: int = 1,
) -> NDArray[np.float32]:  # fmt: skip
    """x W^T into new rows, or added to y, from GGUF's rows and float32 activations."""
    return multiply_packed(run, kind, raw, packed(run, kind, raw), x, y, threads)


def multiply_packed(
    run: Kernels, kind: GGMLType, raw: NDArray[np.uint8], w: NDArray[np.uint8], x: NDArray[np.float32],
    y: NDArray[np.float32] | None = None, threads: int = 1, rows: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:  # fmt: skip
    """The same of rows that are packed already; with `rows`, one matrix for each part, all of raw's shape."""
    groups = -(-len(raw) // 16)
    rows = bounds(len(x)) if rows is None else rows
    out = normal(9, len(x), groups * 16) if y is None else y.copy()
    run.run(
        layout_of(kind).matmul, threads, w=w, panels=quantize(run, x, threads, rows), y=out, groups=groups,
        blocks=records(kind, raw), y_stride=out.strides[0], bounds=rows, parts=len(rows) - 1,
        accumulate=int(y is not None),
    )  # fmt: skip
    return out
