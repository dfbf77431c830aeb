"""Whatever type a matrix is stored in, the kernels see the numbers that the type's definition gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from puna import kernels
from puna.gguf import GGMLType, GGUFWriter, dequantize, open_model
from puna.kernels import Tape, Team
from puna.kernels.tape import Argument
from puna.kernels.tiling import EXTRA_BLOCK, PANEL_BLOCK
from puna.models.conversion import convert
from puna.models.weights import LAYOUTS, Matrix, Weights, kernel_groups, layout_of
from tests.kernels.quantized import KINDS, random_blocks
from tests.kernels.running import bounds

ROWS, COLUMNS = 24, 256
FLOATS = (GGMLType.F32, GGMLType.F16, GGMLType.BF16, GGMLType.F64)


def _raw(kind: GGMLType) -> NDArray[np.uint8]:
    """A matrix of random numbers."""
    if kind in FLOATS:
        numbers = np.random.default_rng(kind).standard_normal((ROWS, COLUMNS))
        dtype = {GGMLType.F16: np.float16, GGMLType.F64: np.float64}.get(kind, np.float32)
        if kind is GGMLType.BF16:
            return (numbers.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(np.uint8).reshape(-1)
        return numbers.astype(dtype).view(np.uint8).reshape(-1)
    return random_blocks(kind, kind, ROWS, COLUMNS).reshape(-1)


def _column(matrix: Matrix, column: int, team: Team) -> NDArray[np.float32]:
    """One column of the packed matrix, by multiplying it with a unit vector."""
    library = kernels.load()
    x, out = np.zeros((1, COLUMNS), np.float32), np.zeros((1, matrix.groups * 16), np.float32)
    x[0, column] = 127.0  # quantised exactly: scale 1, integer 127
    tape = Tape(library)
    common: dict[str, Argument] = {"y_stride": out.nbytes, "bounds": bounds(1), "parts": 1, "accumulate": 0}
    if matrix.layout.quantized:
        panels = np.zeros((COLUMNS // 32, PANEL_BLOCK + EXTRA_BLOCK), np.uint8)
        tape.record("quantize", {"x": x, "panels": panels, "width": COLUMNS, "bounds": bounds(1), "parts": 1})
        shape: dict[str, Argument] = {"groups": matrix.groups, "blocks": matrix.blocks}
        tape.record(matrix.layout.matmul, {"w": matrix.data, "panels": panels, "y": out, **shape, **common})
    else:
        shape = {"groups": matrix.groups, "columns": matrix.columns, "x_stride": x.nbytes}
        tape.record(matrix.layout.matmul, {"w": matrix.data, "x": x, "y": out, **shape, **common})
    team.run(tape)
    return out[0, :ROWS] / np.float32(127)


@pytest.mark.parametrize("kind", [*KINDS, *FLOATS], ids=lambda kind: kind.name)
def test_no_weight_changes_on_its_way_to_the_kernel(kind: GGMLType, tmp_path: Path) -> None:
    raw = _raw(kind)
    writer = GGUFWriter("llama")
    writer.add_tensor("m.weight", (ROWS, COLUMNS), kind, raw)
    (path,) = writer.write(tmp_path / "m.gguf")
    expected, layout = dequantize(raw, kind, (ROWS, COLUMNS)), layout_of(kind)
    team = Team(kernels.load(), 1)
    with open_model(path) as file, Weights(file, kernels.load(), 2) as weights:
        assert kernel_groups(file) == {layout.name}
        matrix = weights.matrix("m.weight", (ROWS, COLUMNS))
        assert (len(weights.warnings()) == 1) == (kind not in LAYOUTS)
        assert weights.packed_bytes == 2 * COLUMNS // layout.block * layout.record
    # A minimum is taken off what may be much larger than the weight that is left.
    parts = np.abs(expected).max() if kind.name[-2:] in ("_1", "_K") or "TQ" in kind.name else 0.0
    for column in (0, 5, 17, 31, 100, 150, 255):
        np.testing.assert_allclose(_column(matrix, column, team), expected[:, column], rtol=4e-7, atol=1e-6 * parts)
    team.close()


def test_converted_blocks_of_codebooks_stand_for_the_same_numbers_to_the_bit() -> None:
    """unit x step x level, with the unit in float32: products of so few bits are exact."""
    for kind in (kind for kind in KINDS if layout_of(kind).name.startswith("iq") and kind not in LAYOUTS):
        raw = random_blocks(kind, 1, 40, 256)
        blocks = convert(raw.reshape(-1), kind).reshape(40, 148)
        unit, steps = blocks[:, :4].copy().view(np.float32), blocks[:, 4:20].astype(np.float32).repeat(16, axis=1)
        nibbles = blocks[:, 20:].reshape(40, 8, 16)
        index = np.concatenate([nibbles & 15, nibbles >> 4], axis=2).reshape(40, 256)
        levels = np.array(_levels(kind), np.float32)
        assert np.array_equal(unit * steps * levels[index], dequantize(raw.reshape(-1), kind, (40, 256))), kind


def _levels(kind: GGMLType) -> tuple[int, ...]:
    from puna.kernels import layouts

    name = {"IQ1": "IQ1_LEVELS", "IQ2": "IQ2_LEVELS"}.get(kind.name[:3], f"{kind.name}_LEVELS")
    found: tuple[int, ...] = getattr(layouts, name)
    return found
