"""Quantised weights and activations for the kernels, made at random with the awkward values in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from puna.kernels.tiling import TOKENS_MANY, TOKENS_SOME
from tests.kernels import naive
from tests.kernels.running import Kernels, live, normal

TOKEN_BLOCK = 40  # bytes of one token's 32 quants, scale and sum


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of weights: the least and largest quant, and GGUF's block."""

    name: str
    least: int
    most: int

    def blocks(self, quants: NDArray[Any], scales: NDArray[np.float16]) -> NDArray[np.uint8]:
        """Rows as GGUF has them."""
        return naive.q8_0(quants.astype(np.int8), scales) if self.name == "q8_0" else naive.q4_0(quants, scales)

    def random(self, seed: int, rows: int, blocks: int) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """Quants from end to end of the range, and scales of both signs, zero and subnormal ones among them."""
        random = np.random.default_rng(seed)
        quants = random.integers(self.least, self.most + 1, (rows, blocks * 32))
        quants[random.random(quants.shape) < 0.1] = self.least
        scales = random.standard_normal((rows, blocks)).astype(np.float16)
        scales[random.random(scales.shape) < 0.05] = np.float16(3e-7)
        return quants, scales


Q8_0, Q4_0 = Kind("q8_0", -128, 127), Kind("q4_0", -8, 7)
KINDS = (Q8_0, Q4_0)


def quantize(run: Kernels, x: NDArray[np.float32], threads: int = 1) -> NDArray[np.uint8]:
    """Activations as the `quantize` kernel leaves them."""
    panels = np.full(x.size // 32 * TOKEN_BLOCK + 64, 77, np.uint8)
    run.run("quantize", threads, x=x, panels=panels, width=x.shape[1], rows=live(len(x)))
    assert (panels[-64:] == 77).all(), "written beyond the panels"
    return panels[:-64]


def expected_panels(x: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The same from the definition."""
    return naive.panels(naive.quantize(x), TOKENS_MANY, TOKENS_SOME)


def multiply(
    run: Kernels, kind: Kind, blocks: NDArray[np.uint8], x: NDArray[np.float32],
    y: NDArray[np.float32] | None = None, threads: int = 1,
) -> NDArray[np.float32]:  # fmt: skip
    """x W^T into new rows, or added to y, from GGUF's rows and float32 activations."""
    groups = -(-len(blocks) // 16)
    out = normal(9, len(x), groups * 16) if y is None else y.copy()
    run.run(
        f"matmul_{kind.name}", threads, w=naive.pack_quantized(blocks, np.arange(len(blocks), dtype=np.int32)),
        panels=quantize(run, x, threads), y=out, groups=groups, blocks=blocks.shape[1], y_stride=out.strides[0],
        tokens=live(len(x)), accumulate=int(y is not None),
    )  # fmt: skip
    return out
