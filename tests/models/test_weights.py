"""Types without a kernel of their own are widened without losing a value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from puna import kernels
from puna.gguf import GGMLType, GGUFWriter, dequantize, open_model
from puna.kernels import Tape, Team
from puna.kernels.tape import Argument
from puna.models.weights import LAYOUTS, Weights

ROWS, COLUMNS = 24, 256


def _random_blocks(kind: GGMLType, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Random bytes as blocks whose scales are ordinary numbers."""
    raw = rng.integers(0, 256, (ROWS * COLUMNS // kind.block_size, kind.type_size), np.uint8)
    scales = rng.normal(size=len(raw)).astype(np.float16)
    if kind in (GGMLType.Q5_0, GGMLType.IQ4_NL, GGMLType.Q4_1):
        raw[:, :2] = scales.view(np.uint8).reshape(-1, 2)
    if kind is GGMLType.Q4_1:
        raw[:, 2:4] = scales[::-1].copy().view(np.uint8).reshape(-1, 2)
    if kind is GGMLType.Q6_K:
        raw[:, -2:] = scales.view(np.uint8).reshape(-1, 2)
    return raw.reshape(-1)


def _column(weights: Weights, column: int, team: Team) -> NDArray[np.float32]:
    """One column of the packed matrix, by multiplying it with a unit vector."""
    matrix = weights.matrix("m.weight", ROWS, COLUMNS)
    library, tokens = kernels.load(), np.ones(1, np.int64)
    x, out = np.zeros((1, COLUMNS), np.float32), np.zeros((1, matrix.groups * 16), np.float32)
    x[0, column] = 127.0  # quantised exactly: scale 1, integer 127
    tape = Tape(library)
    common: dict[str, Argument] = {"y_stride": out.nbytes, "tokens": tokens, "accumulate": 0}
    if matrix.layout.quantized:
        panels = np.zeros((matrix.blocks, 40), np.uint8)
        tape.record("quantize", {"x": x, "panels": panels, "width": COLUMNS, "rows": tokens})
        shape: dict[str, Argument] = {"groups": matrix.groups, "blocks": matrix.blocks}
        tape.record(matrix.layout.matmul, {"w": matrix.data, "panels": panels, "y": out, **shape, **common})
    else:
        shape = {"groups": matrix.groups, "columns": matrix.columns, "x_stride": x.nbytes}
        tape.record(matrix.layout.matmul, {"w": matrix.data, "x": x, "y": out, **shape, **common})
    team.run(tape)
    return out[0, :ROWS] / np.float32(127)


@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        (GGMLType.Q5_0, GGMLType.Q8_0),
        (GGMLType.IQ4_NL, GGMLType.Q8_0),
        (GGMLType.Q4_1, GGMLType.F32),
        (GGMLType.Q6_K, GGMLType.F32),
    ],
)
def test_widening_a_type_changes_no_weight(kind: GGMLType, layout: GGMLType, tmp_path: Path) -> None:
    raw = _random_blocks(kind, np.random.default_rng(kind))
    writer = GGUFWriter("llama")
    writer.add_tensor("m.weight", (ROWS, COLUMNS), kind, raw)
    (path,) = writer.write(tmp_path / "m.gguf")
    expected = dequantize(raw, kind, (ROWS, COLUMNS))
    team = Team(kernels.load(), 1)
    for column in (0, 17, 100, COLUMNS - 1):
        weights = Weights(open_model(path), kernels.load(), team)
        np.testing.assert_allclose(_column(weights, column, team), expected[:, column], rtol=3e-7)
    assert (len(weights.warnings()) == 1) == (layout is GGMLType.F32)
    assert weights.packed_bytes == 32 * COLUMNS // LAYOUTS[layout].block * LAYOUTS[layout].record // 16
    team.close()
